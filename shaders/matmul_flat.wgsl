//! matmul_flat
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! matmul_register for few rows, on software adapters: a decoder's step, which reads each weight once and is bound by that.
//! lhs is read as vec4 along k, so it lies [row][k], with strides in elements; 4 divides these, depth and the binding's
//! offset. rhs is packed by matmul_pack: [batch][panel][k][8], so two vec4 for each (panel, k); with HALF by
//! matmul_pack_half: one vec4 of words, of eight halves. It is zero past the last column; rhs_batch_stride counts vec4 (0:
//! shared) and the bound piece holds `panels` panels, the first of which starts at column col_start. output and residual are
//! [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual; a buffer whose bit is clear is bound
//! but never read.
//!
//! An invocation makes ROWS x 8 PANELS outputs in registers; a workgroup of 8 makes 8 PANELS panels of them. Workgroups:
//! batch * ceil(panels / (8 PANELS)) * row_tiles, row_tiles = ceil(rows / ROWS). A row alone has narrow tiles, so that small
//! matrices fill all cores: loads of lhs are one in nine then, and cost less than a core that waits.
//!
//! Loops, loads and the epilogue are shaped as in matmul_register, which says why.
//! History, CPU time of 512 x 32128 on lavapipe, matmul_register's flat1 and flat4 with f32 being 1: one row 0.95, with
//! halves 0.59; four rows 0.9, with halves 0.72.
//!
//! uses: activation, grid, half
//! variants:
//!   one    ROWS=1 PANELS=1
//!   four   ROWS=4 PANELS=2

override ACTIVATION: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;
const ROWS: u32 = 1u;
const PANELS: u32 = 2u;

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
@group(0) @binding(1) var<storage, read> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// The eight columns of one k.
fn panel_load(at: u32) -> mat2x4<f32> {
    if (HALF == 1u) {
        let x = rhs[at];
        return mat2x4<f32>(four_halves(x.xy), four_halves(x.zw));
    }
    return mat2x4<f32>(bitcast<vec4<f32>>(rhs[at]), bitcast<vec4<f32>>(rhs[at + 1u]));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let panel_tiles = (params.panels + (THREADS * PANELS - 1u)) / (THREADS * PANELS);
    let b = tile / params.row_tiles / panel_tiles;
    if (b >= params.batch) {
        return;
    }
    let row_first = tile % params.row_tiles * ROWS;
    let panel = (tile / params.row_tiles % panel_tiles * THREADS + thread) * PANELS;
    let last_panel = u32(i32(params.panels) - 1);
    let last_row = u32(i32(params.rows) - 1);
    let step = select(2u, 1u, HALF == 1u); // vec4 of one k of a panel
    var left: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        left[r] = (b * params.lhs_batch_stride + min(row_first + r, last_row) * params.lhs_row_stride) / 4u;
    }
    var right: array<u32, PANELS>;
    for (var p = 0u; p < PANELS; p++) {
        right[p] = b * params.rhs_batch_stride + min(panel + p, last_panel) * params.depth * step;
    }
    var sum: array<mat2x4<f32>, ROWS * PANELS>;
    var values: array<vec4<f32>, ROWS>;
    let end = right[0] + params.depth * step;
    for (var at = right[0]; at < end; at += 4u * step) {
        for (var r = 0u; r < ROWS; r++) {
            values[r] = lhs[left[r]];
            left[r] += 1u;
        }
        for (var i = 0u; i < 4u; i++) {
            for (var p = 0u; p < PANELS; p++) {
                let columns = panel_load(right[p] + i * step);
                for (var r = 0u; r < ROWS; r++) {
                    sum[r * PANELS + p] += columns * values[r][i];
                }
            }
        }
        for (var p = 0u; p < PANELS; p++) {
            right[p] += 4u * step;
        }
    }

    let col_first = params.col_start + panel * 8u;
    let col_end = min(col_first + 8u * PANELS, min(params.col_start + params.panels * 8u, params.cols));
    let row_end = min(row_first + ROWS, params.rows);
    let bias_end = params.cols * (params.flags & 1u);
    let residual_end = params.cols * ((params.flags / 2u) & 1u);
    for (var row = row_first; row < row_end; row++) {
        for (var col = col_first; col < col_end; col++) {
            let c = u32(i32(col) - i32(col_first));
            let slot = row % ROWS * PANELS + c / 8u;
            var sums = sum[0];
            for (var i = 1u; i < ROWS * PANELS; i++) {
                sums = mat2x4<f32>(select(sums[0], sum[i][0], slot == i), select(sums[1], sum[i][1], slot == i));
            }
            var x = select(sums[0], sums[1], c % 8u >= 4u)[c % 4u];
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
