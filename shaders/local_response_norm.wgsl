//! local_response_norm
//!
//! output[n][c][i] = input[n][c][i] * (k + scale * sum_d input[n][d][i]^2)^-beta,  c - before <= d <= c + after
//!
//! Krizhevsky, Sutskever and Hinton (2012), as torch.nn.functional.local_response_norm defines it: the window has
//! `size` channels, size/2 of them before and (size-1)/2 after, those outside count as 0, and scale is alpha / size.
//! Channels are the middle dimension of [n][channels][inner].
//! LANES invocations make up to LANES * STEPS neighbours of one plane. `narrow` gives a run to one invocation, for
//! software adapters and for planes of few elements; `wide` gives a workgroup neighbouring elements, with one window
//! for all of it. Each element sums its own window: a sum that slides from channel to channel would carry the rounding
//! errors of large channels into small ones.
//!
//! uses: grid, numeric, plane
//! variants:
//!   narrow   THREADS=64 LANES=1 STEPS=32
//!   wide     THREADS=64 LANES=64 STEPS=8

override THREADS: u32 = 64u;
override LANES: u32 = 1u;
override STEPS: u32 = 32u;

struct Params {
    planes: u32,
    channels: u32,
    inner: u32,
    runs_per_plane: u32,
    before: u32,
    after: u32,
    k: f32,
    scale: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let run = plane_run(flat_workgroup(group, groups), thread, params.runs_per_plane);
    if (run.plane >= params.planes) {
        return;
    }
    let c = run.plane % params.channels;
    let first_plane = run.plane / params.channels * params.channels;
    let first = first_plane + u32(max(0, i32(c) - i32(params.before)));
    let last = first_plane + min(c + params.after + 1u, params.channels);
    let end = min(run.end, params.inner);
    for (var i = run.start; i < end; i += LANES) {
        var squares = 0.0;
        for (var plane = first; plane < last; plane++) {
            let x = input[plane * params.inner + i];
            squares += x * x;
        }
        let at = run.plane * params.inner + i;
        let base = params.k + params.scale * squares;
        // pow drops NaN on some drivers.
        output[at] = input[at] * select(pow(base, -params.beta), base, is_nan(base));
    }
}
