//! batch_norm_grad
//!
//! output[n][c][i] = weight[c] * r * (grad[n][c][i] - bias_grad[c] / m - z * weight_grad[c] / m)
//!   z = (input[n][c][i] - mean[c]) * r,  r = 1 / sqrt(variance[c] + epsilon)
//!
//! where RELU is not 0 with 0 in place of each grad[n][c][i] whose z * weight[c] + bias[c] is not above 0. That is the
//! gradient of a batch normalisation, and of the relu behind it, by its input where mean and variance are those of the
//! very input, over m elements a channel: bias_grad is the sum of grad over them, and weight_grad that of grad * z
//! (Ioffe and Szegedy, 2015). `share` is 1 / m. Channels are the middle dimension of [n][channels][inner]; moments are
//! [2][channels], means before variances, the other tensors of one number a channel [channels]. `inner` counts LOADs:
//! four numbers each where planes are made of whole vectors. LANES invocations make up to LANES * STEPS neighbours of
//! one plane. `narrow` gives a run to one invocation, for software adapters and for planes of few elements; `wide`
//! gives a workgroup neighbouring elements, with one channel for all of it. Where planes are single elements and the
//! channels make whole vectors, `across` takes four channels as one. A load has WIDTH elements of each of CHANNELS
//! channels.
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
    share: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<LOAD>;
@group(0) @binding(2) var<storage, read> input: array<LOAD>;
@group(0) @binding(3) var<storage, read> moments: array<CHANNEL>;
@group(0) @binding(4) var<storage, read> weight: array<CHANNEL>;
@group(0) @binding(5) var<storage, read> bias: array<CHANNEL>;
@group(0) @binding(6) var<storage, read> bias_grad: array<CHANNEL>;
@group(0) @binding(7) var<storage, read> weight_grad: array<CHANNEL>;
@group(0) @binding(8) var<storage, read_write> output: array<LOAD>;

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
    let centre = moments[c];
    let r = inverseSqrt(moments[params.channels + c] + params.epsilon);
    let scale = r * weight[c];
    var shift = CHANNEL();
    if (RELU == 1u) {
        shift = bias[c];
    }
    let level = bias_grad[c] * params.share;
    let slope = weight_grad[c] * params.share * r;
    let base = run.plane * params.inner;
    let end = min(run.end, params.inner);
    for (var i = run.start; i < end; i += LANES) {
        let d = input[base + i] - centre;
        var g = grad[base + i];
        if (RELU == 1u) {
            g = select(g, LOAD(), d * scale + shift <= LOAD());
        }
        output[base + i] = ((g - level) - d * slope) * scale;
    }
}
