//! prelu
//!
//! output[n][c][i] = input[n][c][i] if that is above 0, else weight[c] * input[n][c][i]
//!
//! torch.nn.functional.prelu over [n][channels][inner], weight[channels]; one weight for all is a single channel.
//! LANES invocations make up to LANES * STEPS neighbours of one plane. `narrow` gives a run to one invocation, for
//! software adapters and for planes of few elements; `wide` gives a workgroup neighbouring elements, with one channel
//! for all of it. NaN passes through.
//!
//! uses: grid, plane
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

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
    let slope = weight[run.plane % params.channels];
    let base = run.plane * params.inner;
    let end = min(run.end, params.inner);
    for (var i = run.start; i < end; i += LANES) {
        let x = input[base + i];
        output[base + i] = select(slope * x, x, x > 0.0);
    }
}
