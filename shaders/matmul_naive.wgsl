//! matmul_naive
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! Both sides are read through strides (in elements), so either may be transposed or shared by the batch (stride
//! 0). The bound piece of rhs holds columns [col_start, col_start + piece_cols) and starts at its first one.
//! output and residual are [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual;
//! a buffer whose bit is clear is bound but never read.
//!
//! One invocation makes one output element, a workgroup THREADS neighbours of [batch][rows][piece_cols]. It is
//! the yardstick that the other kernels are measured against, and the fallback for any shape.
//!
//! uses: activation, grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override ACTIVATION: u32 = 0u;

struct Params {
    rows: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    lhs_batch_stride: u32,
    lhs_row_stride: u32,
    lhs_k_stride: u32,
    rhs_batch_stride: u32,
    rhs_k_stride: u32,
    rhs_col_stride: u32,
    col_start: u32,
    piece_cols: u32,
    output_cols: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let element = flat_workgroup(group, groups) * THREADS + thread;
    let piece_col = element % params.piece_cols;
    let row = (element / params.piece_cols) % params.rows;
    let b = element / params.piece_cols / params.rows;
    let col = params.col_start + piece_col;
    // Bounds that depend on the invocation, where params alone would do: see matmul_register.
    let depth = select(0u, params.depth, col < params.cols);
    let bias_end = params.cols * (params.flags & 1u);
    let residual_end = params.cols * ((params.flags / 2u) & 1u);
    if (b >= params.batch || col >= params.cols) {
        return;
    }
    let lhs_row = b * params.lhs_batch_stride + row * params.lhs_row_stride;
    let rhs_col = b * params.rhs_batch_stride + piece_col * params.rhs_col_stride;
    var sum = 0.0;
    for (var k = 0u; k < depth; k++) {
        sum += lhs[lhs_row + k * params.lhs_k_stride] * rhs[rhs_col + k * params.rhs_k_stride];
    }
    if (col < bias_end) {
        sum += bias[col];
    }
    let at = (b * params.rows + row) * params.output_cols + col;
    var result = activate(ACTIVATION, sum);
    if (col < residual_end) {
        result += residual[at];
    }
    output[at] = result;
}
