//! binary
//!
//! output[i] = op(lhs[i], rhs[i]), each side broadcast by strides of 0
//!
//! OP: 0 add, 1 sub, 2 mul, 3 div, 4 maximum, 5 minimum (NaN wins, as in PyTorch),
//! 6 greater, 7 equal (1 or 0).
//! The output is contiguous; up to eight dimensions, the fastest first; strides count elements.
//! One invocation makes one element, a workgroup THREADS neighbours.
//!
//! uses: grid, strided, numeric
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override OP: u32 = 0u;

struct Params {
    count: u32,
    rank: u32,
    shape_low: vec4<u32>,
    shape_high: vec4<u32>,
    lhs_low: vec4<u32>,
    lhs_high: vec4<u32>,
    rhs_low: vec4<u32>,
    rhs_high: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

fn apply(a: f32, b: f32) -> f32 {
    switch OP {
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        case 3u: { return a / b; }
        case 4u: { return max_nan(a, b); }
        case 5u: { return min_nan(a, b); }
        case 6u: { return select(0.0, 1.0, a > b); }
        case 7u: { return select(0.0, 1.0, a == b); }
        default: { return a + b; }
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
    var rest = index;
    var left = 0u;
    var right = 0u;
    for (var a = 0u; a < params.rank; a++) {
        let extent = axis(params.shape_low, params.shape_high, a);
        let i = rest % extent;
        rest = rest / extent;
        left += i * axis(params.lhs_low, params.lhs_high, a);
        right += i * axis(params.rhs_low, params.rhs_high, a);
    }
    output[index] = apply(lhs[left], rhs[right]);
}
