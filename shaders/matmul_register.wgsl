//! matmul_register
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! lhs is read through strides (in elements; batch stride 0 where the batch shares it). rhs is packed by matmul_pack:
//! [batch][panel][k][8], so two vec4 for each (panel, k), zero past the last column; rhs_batch_stride counts vec4
//! (0: shared) and the bound piece holds `panels` panels, the first of which starts at column col_start. output and
//! residual are [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual; a buffer whose
//! bit is clear is bound but never read. With HALF the right side is packed by matmul_pack_half: one vec4 of words for each
//! (panel, k), of eight halves.
//!
//! For software adapters. An invocation makes ROWS x 16 outputs in registers, without workgroup memory or barriers; a
//! workgroup of 8 makes TILE_ROWS x TILE_PANELS panels. Workgroups: batch * ceil(panels / TILE_PANELS) * row_tiles,
//! row_tiles = ceil(rows / TILE_ROWS), rows fastest: neighbours share their panels. Legal: TILE_PANELS 2 to 16, a
//! power of two, with ROWS = TILE_ROWS * TILE_PANELS / 16 one of 1, 4, 8, 16. tall suits many rows, flat16 up to 16,
//! flat up to 8, flat4 up to 4 and flat1 a single one; matmul_flat is faster for the last two, where it can be taken. narrow
//! suits up to 16 columns, as of classes, of which the others leave seven lanes of eight, or three of four, idle.
//!
//! What shaped it, on lavapipe: every storage load is a loop over the 8 lanes, uniform address or not, so only the
//! ratio of loads to multiplications counts. Loops over ROWS are unrolled there, which keeps the sums in registers; an
//! array that is indexed by anything else stays in memory, and compiling takes time as the square of its accesses. So
//! the epilogue, where the number of loads and stores in the code sets the compile time, selects a row in a loop of
//! its own. No loop ends, and no branch turns, on values of params alone: Mesa 22.3 would specialise the shader for
//! them, anew at each bind.
//! History, rows 1024, cols 384, depth 384 on lavapipe: one output an invocation 1; 8 x 8 10; 16 x 8 14; 16 x 16 20.
//! 16 x 32, 24 x 16, two steps of k an iteration and lhs read as vec4 along k are no faster and slower to compile.
//!
//! uses: activation, grid, half
//! variants:
//!   tall     TILE_ROWS=32 TILE_PANELS=8
//!   narrow   TILE_ROWS=32 TILE_PANELS=2
//!   flat16   TILE_ROWS=16 TILE_PANELS=16
//!   flat     TILE_ROWS=8 TILE_PANELS=16
//!   flat4    TILE_ROWS=4 TILE_PANELS=16
//!   flat1    TILE_ROWS=1 TILE_PANELS=16

override ACTIVATION: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;
const TILE_ROWS: u32 = 32u;
const TILE_PANELS: u32 = 8u;
const PANEL_LANES: u32 = TILE_PANELS / 2u;
const ROWS: u32 = TILE_ROWS * PANEL_LANES / THREADS;

struct Params {
    rows: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    lhs_batch_stride: u32,
    lhs_row_stride: u32,
    lhs_k_stride: u32,
    rhs_batch_stride: u32,
    col_start: u32,
    panels: u32,
    output_cols: u32,
    row_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Rows past the end repeat the last one; their sums are not written.
fn lhs_row(b: u32, row: u32) -> u32 {
    return b * params.lhs_batch_stride + min(row, u32(i32(params.rows) - 1)) * params.lhs_row_stride;
}

// The sixteen columns of one k: a matrix column for each half of a panel.
fn rhs_load(first: u32, second: u32) -> mat4x4<f32> {
    if (HALF == 1u) {
        let a = rhs[first];
        let b = rhs[second];
        return mat4x4<f32>(four_halves(a.xy), four_halves(a.zw), four_halves(b.xy), four_halves(b.zw));
    }
    return mat4x4<f32>(numbers(first), numbers(first + 1u), numbers(second), numbers(second + 1u));
}

fn numbers(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(rhs[at]);
}

fn pick(a: mat4x4<f32>, b: mat4x4<f32>, second: bool) -> mat4x4<f32> {
    return mat4x4<f32>(
        select(a[0], b[0], second),
        select(a[1], b[1], second),
        select(a[2], b[2], second),
        select(a[3], b[3], second),
    );
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let panel_tiles = (params.panels + (TILE_PANELS - 1u)) / TILE_PANELS;
    let b = tile / params.row_tiles / panel_tiles;
    if (b >= params.batch) {
        return;
    }
    let row_first = tile % params.row_tiles * TILE_ROWS + thread / PANEL_LANES * ROWS;
    let panel = tile / params.row_tiles % panel_tiles * TILE_PANELS + thread % PANEL_LANES * 2u;
    let last_panel = u32(i32(params.panels) - 1);
    let rhs_batch = b * params.rhs_batch_stride;
    let step = select(2u, 1u, HALF == 1u); // vec4 of one k of a panel
    var first = rhs_batch + min(panel, last_panel) * params.depth * step;
    var second = rhs_batch + min(panel + 1u, last_panel) * params.depth * step;
    let end = first + params.depth * step;
    var left: array<u32, ROWS>;
    var sum: array<mat4x4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        left[r] = lhs_row(b, row_first + r);
    }
    var at = 0u;
    for (; first < end; first += step) {
        let right = rhs_load(first, second);
        for (var r = 0u; r < ROWS; r++) {
            sum[r] += right * lhs[left[r] + at];
        }
        second += step;
        at += params.lhs_k_stride;
    }

    let col_first = params.col_start + panel * 8u;
    let col_end = min(col_first + 16u, min(params.col_start + params.panels * 8u, params.cols));
    let row_end = min(row_first + ROWS, params.rows);
    let bias_end = params.cols * (params.flags & 1u);
    let residual_end = params.cols * ((params.flags / 2u) & 1u);
    for (var row = row_first; row < row_end; row++) {
        let r = row % ROWS;
        var sums = sum[0];
        for (var i = 1u; i < ROWS; i++) {
            sums = pick(sums, sum[i], r == i);
        }
        for (var col = col_first; col < col_end; col++) {
            let c = u32(i32(col) - i32(col_first));
            let low = select(sums[0], sums[1], c >= 4u);
            let high = select(sums[2], sums[3], c >= 12u);
            var x = select(low, high, c >= 8u)[c % 4u];
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
