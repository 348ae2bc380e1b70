//! binary_flat
//!
//! output[i] = op(lhs[i], rhs[i]), four elements at a time; either side may be one number for all
//!
//! For shapes that are walked as one dimension: both sides of the output's shape, or one of them a single element. OP as
//! in binary. The count is a multiple of four.
//! One invocation makes four neighbours, a workgroup THREADS of these. On lavapipe, where a load costs the same whatever
//! its width, five times as fast as one element an invocation.
//!
//! uses: grid, numeric
//! variants:
//!   both    THREADS=64
//!   left    THREADS=64 Lhs=f32
//!   right   THREADS=64 Rhs=f32

override THREADS: u32 = 64u;
override OP: u32 = 0u;

alias Lhs = vec4<f32>;
alias Rhs = vec4<f32>;

struct Params {
    // Vectors of the output.
    count: u32,
    // How far each side moves from vector to vector: 1, or 0 for a single number.
    lhs_step: u32,
    rhs_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<Lhs>;
@group(0) @binding(2) var<storage, read> rhs: array<Rhs>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<f32>>;

fn apply_one(a: f32, b: f32) -> f32 {
    if (OP == 4u) {
        return max_nan(a, b);
    }
    return min_nan(a, b);
}

fn apply(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    switch OP {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        case 3u: { return a / b; }
        case 6u: { return select(vec4<f32>(0.0), vec4<f32>(1.0), a > b); }
        case 7u: { return select(vec4<f32>(0.0), vec4<f32>(1.0), a == b); }
        default: {
            return vec4<f32>(apply_one(a.x, b.x), apply_one(a.y, b.y), apply_one(a.z, b.z), apply_one(a.w, b.w));
        }
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
    output[index] = apply(vec4<f32>(lhs[index * params.lhs_step]), vec4<f32>(rhs[index * params.rhs_step]));
}
