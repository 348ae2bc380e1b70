//! unary
//!
//! output[i] = op(input[i])
//!
//! OP 0 to 6 are the kinds of lib/activation.wgsl; 7 neg, 8 exp, 9 log, 10 sqrt, 11 rsqrt, 12 abs.
//! One invocation makes one element, a workgroup THREADS neighbours. OP is an override, so the driver keeps one
//! branch.
//!
//! uses: grid, activation
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override OP: u32 = 0u;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn apply(x: f32) -> f32 {
    switch OP {
        case 7u: { return -x; }
        case 8u: { return exp(x); }
        case 9u: { return log(x); }
        case 10u: { return sqrt(x); }
        case 11u: { return inverseSqrt(x); }
        case 12u: { return abs(x); }
        default: { return activate(OP, x); }
    }
}

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
    output[index] = apply(input[index]);
}
