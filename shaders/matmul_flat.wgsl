//! matmul_flat
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! matmul_register for few rows, on software adapters: a decoder's step, which reads each weight once and is bound by that.
//! lhs is read in eights along k, so it lies [row][k], with strides in elements; 8 divides these, depth and the binding's
//! offset. rhs is packed by matmul_pack: [batch][panel][k][8]; with HALF by matmul_pack_half. It is zero past the last
//! column; rhs_batch_stride counts k (0: shared) and the bound piece holds `panels` panels, the first of which starts at
//! column col_start. output and residual are [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2
//! residual; a buffer whose bit is clear is bound but never read.
//!
//! An invocation makes ROWS x 8 outputs in registers, a workgroup eight panels of them. Workgroups: batch *
//! ceil(panels / 8) * row_tiles, row_tiles = ceil(rows / ROWS). Tiles are narrow, so that small matrices fill all cores:
//! loads of lhs are one in nine for a row, and cost less than a core that waits.
//!
//! Loops, loads and the epilogue are shaped as in matmul_register, which says why.
//! History, CPU time on lavapipe, one row of 4096 x 4096: with vectors of 32-bit words 1, of 64-bit words 0.74; so with
//! two panels an invocation, and with the row shared by shuffles instead of loads. For 2 to 4 rows see matmul_lanes.
//!
//! uses: activation, eight, grid, half, panel, rhs_panel
//! variants:
//!   one        ROWS=1 WORD=u32 BITS=32
//!   four       ROWS=4 WORD=u32 BITS=32
//!   one_wide   ROWS=1 WORD=u64 BITS=64
//!   four_wide  ROWS=4 WORD=u64 BITS=64

override ACTIVATION: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;
const ROWS: u32 = 1u;
const BITS: u32 = 64u;
alias WORD = u64;

struct Params {
    rows: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    lhs_batch_stride: u32,
    lhs_row_stride: u32,
    rhs_batch_stride: u32,
    col_start: u32,
    panels: u32,
    output_cols: u32,
    row_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let panel_tiles = (params.panels + (THREADS - 1u)) / THREADS;
    let b = tile / params.row_tiles / panel_tiles;
    if (b >= params.batch) {
        return;
    }
    let row_first = tile % params.row_tiles * ROWS;
    let panel = tile / params.row_tiles % panel_tiles * THREADS + thread;
    let last_panel = u32(i32(params.panels) - 1);
    let last_row = u32(i32(params.rows) - 1);
    var left: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        left[r] = (b * params.lhs_batch_stride + min(row_first + r, last_row) * params.lhs_row_stride) / 8u * STEP;
    }
    var sum: array<mat2x4<f32>, ROWS>;
    var at = b * params.rhs_batch_stride + min(panel, last_panel) * params.depth;
    let end = at + params.depth;
    for (; at < end; at += 8u) {
        let first = panel_load(at);
        let second = panel_load(at + 4u);
        for (var r = 0u; r < ROWS; r++) {
            let values = eight(lhs[left[r]], lhs[left[r] + LAST]);
            sum[r] = add_products(add_products(sum[r], values[0], first), values[1], second);
            left[r] += STEP;
        }
    }

    let col_first = params.col_start + panel * 8u;
    let col_end = min(col_first + 8u, min(params.col_start + params.panels * 8u, params.cols));
    let row_end = min(row_first + ROWS, params.rows);
    let bias_end = params.cols * (params.flags & 1u);
    let residual_end = params.cols * ((params.flags / 2u) & 1u);
    for (var row = row_first; row < row_end; row++) {
        var sums = sum[0];
        for (var r = 1u; r < ROWS; r++) {
            let own = row % ROWS == r;
            sums = mat2x4<f32>(select(sums[0], sum[r][0], own), select(sums[1], sum[r][1], own));
        }
        for (var col = col_first; col < col_end; col++) {
            let c = u32(i32(col) - i32(col_first));
            var x = select(sums[0], sums[1], c >= 4u)[c % 4u];
            if (col < bias_end) {
                x += bias[col];
            }
            x = activate(ACTIVATION, x);
            let position = (b * params.rows + row) * params.output_cols + col;
            if (col < residual_end) {
                x += residual[position];
            }
            output[position] = x;
        }
    }
}
