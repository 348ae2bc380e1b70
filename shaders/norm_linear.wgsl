//! norm_linear
//!
//! output[col] = act(sum_k x[k] * weight[k][col]),  x[k] = row[k] / sqrt(mean_c row[c]^2 + epsilon) * norm[k]
//! or with GATED = 1: output[col] = act(sum_k x[k] * weight[k][col]) * sum_k x[k] * weight[k][width + col]
//!
//! RMS norm, linear layer and activation or gate of a decoder's step for one row: rms_norm_row, matmul_flat and gated in one,
//! for software adapters whose subgroups are of eight, where every kernel that need not be started counts. weight is packed
//! as for matmul_flat. 32 divides depth, 8 width.
//!
//! An invocation makes eight columns of the output, a workgroup 64. Workgroups: ceil(width / 64).
//!
//! With ADDENDS the row comes in parts (lib/row_parts), and their sum, [depth], follows the width columns of the output.
//!
//! uses: activation, eight, grid, half, row_parts, row_product
//! subgroups: 8
//! variants:
//!   one          GATED=0 WORD=u32 BITS=32
//!   gated        GATED=1 WORD=u32 BITS=32
//!   one_wide     GATED=0 WORD=u64 BITS=64
//!   gated_wide   GATED=1 WORD=u64 BITS=64

override ACTIVATION: u32 = 0u;
override HALF: u32 = 0u;
override ADDENDS: u32 = 0u;
const THREADS: u32 = 8u;
const GATED: u32 = 0u;
const BITS: u32 = 32u;
alias WORD = u32;

struct Params {
    depth: u32,
    width: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> parts: array<vec4<WORD>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

fn activate_four(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(activate(ACTIVATION, x.x), activate(ACTIVATION, x.y), activate(ACTIVATION, x.z), activate(ACTIVATION, x.w));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = flat_workgroup(group, groups);
    let panel = index * THREADS + thread;
    let panels = params.width / 8u;
    add_parts(thread, index, params.width / 4u);
    // An invocation past the last panel makes that one again: the others need what it reads of the row.
    let present = min(panel, u32(i32(panels) - 1));
    let made = row_product(lane, present);
    var first = activate_four(made[0]);
    var second = activate_four(made[1]);
    if (GATED == 1u) {
        let values = row_product(lane, panels + present);
        first *= values[0];
        second *= values[1];
    }
    if (panel < panels) {
        output[panel * 2u] = first;
        output[panel * 2u + 1u] = second;
    }
}
