//! join_parts
//!
//! output[i] = act(sum_p parts[p][start + i] + bias[(start + i) / inner % channels]) + residual[i]
//!
//! parts is [parts][stride], and output and residual are the `count` elements of it from `start` on; bias has a number for
//! each of `channels`, which change every `inner` elements. flags: 1 bias, 2 residual; a buffer whose bit is clear is bound
//! but never read. The parts are added in their order. An invocation makes one element, neighbours make neighbours.
//!
//! uses: activation, grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override ACTIVATION: u32 = 0u;

struct Params {
    count: u32,
    start: u32,
    parts: u32,
    stride: u32,
    inner: u32,
    channels: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.count) {
        return;
    }
    let at = params.start + index;
    var sum = 0.0;
    for (var p = 0u; p < params.parts; p++) {
        sum += parts[p * params.stride + at];
    }
    if ((params.flags & 1u) > 0u) {
        sum += bias[at / params.inner % params.channels];
    }
    sum = activate(ACTIVATION, sum);
    if ((params.flags & 2u) > 0u) {
        sum += residual[index];
    }
    output[index] = sum;
}
