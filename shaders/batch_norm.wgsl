//! batch_norm
//!
//! output[n][c][i] = (input[n][c][i] - mean[c]) / sqrt(variance[c] + epsilon) * weight[c] + bias[c]
//!
//! or 0 in place of what is below it, where RELU is not 0. Batch normalisation, torch.nn.functional.batch_norm, by
//! whatever statistics it is given. Channels are the middle dimension of [n][channels][inner]; the tensors of one
//! number a channel are [channels], and the variances are those from `variances` on. `inner` counts LOADs: four numbers
//! each where planes are made of whole vectors, since a load costs the same whatever its width. NaN passes through.
//! LANES invocations make up to LANES * STEPS neighbours of one plane. `narrow` gives a run to one invocation, for
//! software adapters and for planes of few elements; `wide` gives a workgroup neighbouring elements, with one channel
//! for all of it. Where planes are single elements and the channels make whole vectors, `across` takes four channels as
//! one. A load has WIDTH elements of each of CHANNELS channels.
//!
//! uses: grid, plane
//! variants:
//!   narrow          THREADS=64 LANES=1 STEPS=32 LOAD=f32 CHANNEL=f32 WIDTH=1 CHANNELS=1
//!   narrow_vector   THREADS=64 LANES=1 STEPS=32 LOAD=vec4<f32> CHANNEL=f32 WIDTH=4 CHANNELS=1
//!   wide            THREADS=64 LANES=64 STEPS=8 LOAD=f32 CHANNEL=f32 WIDTH=1 CHANNELS=1
//!   wide_vector     THREADS=64 LANES=64 STEPS=4 LOAD=vec4<f32> CHANNEL=f32 WIDTH=4 CHANNELS=1
//!   across          THREADS=64 LANES=1 STEPS=1 LOAD=vec4<f32> CHANNEL=vec4<f32> WIDTH=1 CHANNELS=4

alias LOAD = f32;
alias CHANNEL = f32;
const WIDTH: u32 = 1u;
const CHANNELS: u32 = 1u;
override THREADS: u32 = 64u;
override LANES: u32 = 1u;
override STEPS: u32 = 32u;
override RELU: u32 = 0u;

struct Params {
    planes: u32,
    channels: u32,
    inner: u32,
    runs_per_plane: u32,
    variances: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<LOAD>;
@group(0) @binding(2) var<storage, read> mean: array<CHANNEL>;
@group(0) @binding(3) var<storage, read> variance: array<CHANNEL>;
@group(0) @binding(4) var<storage, read> weight: array<CHANNEL>;
@group(0) @binding(5) var<storage, read> bias: array<CHANNEL>;
@group(0) @binding(6) var<storage, read_write> output: array<LOAD>;

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
    let scale = inverseSqrt(variance[params.variances + c] + params.epsilon) * weight[c];
    let shift = bias[c];
    let base = run.plane * params.inner;
    let end = min(run.end, params.inner);
    for (var i = run.start; i < end; i += LANES) {
        let y = (input[base + i] - centre) * scale + shift;
        if (RELU == 1u) {
            output[base + i] = select(y, LOAD(), y < LOAD());
        } else {
            output[base + i] = y;
        }
    }
}
