//! batch_norm
//!
//! output[n][c][i] = (input[n][c][i] - mean[c]) / sqrt(variance[c] + epsilon) * weight[c] + bias[c]
//!
//! Batch normalisation by running statistics: torch.nn.functional.batch_norm with training=False. Channels are the
//! middle dimension of [n][channels][inner]; the five tensors of one number a channel are [channels].
//! LANES invocations make up to LANES * STEPS neighbours of one plane. `narrow` gives a run to one invocation, for
//! software adapters and for planes of few elements; `wide` gives a workgroup neighbouring elements, with one channel
//! for all of it.
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
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

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
    let centre = mean[c];
    let scale = inverseSqrt(variance[c] + params.epsilon) * weight[c];
    let shift = bias[c];
    let base = run.plane * params.inner;
    let end = min(run.end, params.inner);
    for (var i = run.start; i < end; i += LANES) {
        output[base + i] = (input[base + i] - centre) * scale + shift;
    }
}
