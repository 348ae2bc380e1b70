//! batch_norm_grad_flat
//!
//! output[n][c][i] = weight[c] * r * (grad[n][c][i] - bias_grad[c] / m - z * weight_grad[c] / m)
//!   z = (input[n][c][i] - mean[c]) * r,  r = 1 / sqrt(variance[c] + epsilon)
//!
//! where RELU is not 0 with 0 in place of each grad[n][c][i] whose z * weight[c] + bias[c] is not above 0:
//! batch_norm_grad for software adapters, by eights. Channels are the middle dimension of [n][channels][inner], where
//! `inner` counts fours; moments are [2][channels], means before variances, the other tensors of one number a channel
//! [channels].
//!
//! Loads and stores are what such an adapter is slow at, and those of 32 bytes take little longer than those of 16, so
//! the tensor is walked as `eights` without regard to planes: one invocation makes `run` neighbours of them, a
//! workgroup THREADS such runs. A run is no longer than a plane, so it meets two of them at most, and a half of an
//! eight lies in one.
//!
//! uses: eight, eight_out, grid
//! variants:
//!   wide    WORD=u64 BITS=64
//!   plain   WORD=u32 BITS=32

alias WORD = u64;
const BITS: u32 = 64u;
const THREADS: u32 = 64u;
override RELU: u32 = 0u;

struct Params {
    eights: u32,
    run: u32,
    channels: u32,
    inner: u32,
    share: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read> input: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> moments: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> bias_grad: array<f32>;
@group(0) @binding(7) var<storage, read> weight_grad: array<f32>;
@group(0) @binding(8) var<storage, read_write> output: array<vec4<WORD>>;

// What a channel makes of its numbers.
struct Channel {
    centre: f32,
    scale: f32,
    shift: f32,
    level: f32,
    slope: f32,
}

fn channel(c: u32) -> Channel {
    let r = inverseSqrt(moments[params.channels + c] + params.epsilon);
    var shift = 0.0;
    if (RELU == 1u) {
        shift = bias[c];
    }
    let slope = weight_grad[c] * params.share * r;
    return Channel(moments[c], r * weight[c], shift, bias_grad[c] * params.share, slope);
}

fn pick(a: Channel, b: Channel, first: bool) -> Channel {
    return Channel(
        select(b.centre, a.centre, first),
        select(b.scale, a.scale, first),
        select(b.shift, a.shift, first),
        select(b.level, a.level, first),
        select(b.slope, a.slope, first),
    );
}

fn differentiate(grad: vec4<f32>, x: vec4<f32>, by: Channel) -> vec4<f32> {
    let d = x - by.centre;
    var g = grad;
    if (RELU == 1u) {
        g = select(g, vec4<f32>(), d * by.scale + by.shift <= vec4<f32>());
    }
    return ((g - by.level) - d * by.slope) * by.scale;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let start = (flat_workgroup(group, groups) * THREADS + thread) * params.run;
    if (start >= params.eights) {
        return;
    }
    let end = min(start + params.run, params.eights);
    let plane = 2u * start / params.inner;
    let turn = (plane + 1u) * params.inner;
    let before = channel(plane % params.channels);
    let behind = channel((plane + 1u) % params.channels);
    for (var i = start; i < end; i++) {
        let g = eight(grad[i * STEP], grad[i * STEP + LAST]);
        let x = eight(input[i * STEP], input[i * STEP + LAST]);
        let y = mat2x4<f32>(
            differentiate(g[0], x[0], pick(before, behind, 2u * i < turn)),
            differentiate(g[1], x[1], pick(before, behind, 2u * i + 1u < turn)),
        );
        output[i * STEP] = first_words(y);
        if (BITS == 32u) {
            output[i * STEP + LAST] = second_words(y);
        }
    }
}
