//! matmul_register
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! lhs is read through strides (in elements; batch stride 0 where the batch shares it). rhs is packed by matmul_pack:
//! [batch][panel][k][8], so two vec4 for each (panel, k), zero past the last column; rhs_batch_stride counts vec4
//! (0: shared) and the bound piece holds `panels` panels, the first of which starts at column col_start. output and
//! residual are [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual; a buffer whose
//! bit is clear is bound but never read.
//!
//! For software adapters. An invocation makes ROWS x 16 outputs in registers, without workgroup memory or barriers; a
//! workgroup of 8 makes TILE_ROWS x TILE_PANELS panels. Workgroups: batch * ceil(panels / TILE_PANELS) * row_tiles,
//! row_tiles = ceil(rows / TILE_ROWS), rows fastest: neighbours share their panels. Legal: TILE_PANELS 2 to 16, a
//! power of two, with ROWS = TILE_ROWS * TILE_PANELS / 16 either 8 or 16. tall suits many rows, flat a few.
//!
//! What shaped it, on lavapipe: every storage load is a loop over the 8 lanes, uniform address or not, so only the
//! ratio of loads to multiplications counts. Loops are not unrolled there, and a private array makes the first dispatch
//! slow (compile time grows with the square of its accesses): the rows are named variables, and the epilogue selects
//! among them in one loop. No loop ends, and no branch turns, on values of params alone: Mesa 22.3 would specialise
//! the shader anew at each bind.
//! History, rows 1024, cols 384, depth 384 on lavapipe: 8 x 8 an invocation 1.0; 16 x 8 1.2; 16 x 16 1.8; 16 x 16
//! with lhs read as vec4 along k 1.8, and twice as long to compile.
//!
//! uses: activation, grid
//! variants:
//!   tall   TILE_ROWS=64 TILE_PANELS=4
//!   flat   TILE_ROWS=8 TILE_PANELS=16

override ACTIVATION: u32 = 0u;
const THREADS: u32 = 8u;
const TILE_ROWS: u32 = 64u;
const TILE_PANELS: u32 = 4u;
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
@group(0) @binding(2) var<storage, read> rhs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Rows past the end repeat the last one; their sums are not written.
fn lhs_row(b: u32, row: u32) -> u32 {
    return b * params.lhs_batch_stride + min(row, u32(i32(params.rows) - 1)) * params.lhs_row_stride;
}

// The sixteen columns of one k: a matrix column for each half of a panel.
fn rhs_load(first: u32, second: u32) -> mat4x4<f32> {
    return mat4x4<f32>(rhs[first], rhs[first + 1u], rhs[second], rhs[second + 1u]);
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
    var first = rhs_batch + min(panel, last_panel) * params.depth * 2u;
    var second = rhs_batch + min(panel + 1u, last_panel) * params.depth * 2u;
    let end = first + params.depth * 2u;
    let row0 = lhs_row(b, row_first + 0u);
    let row1 = lhs_row(b, row_first + 1u);
    let row2 = lhs_row(b, row_first + 2u);
    let row3 = lhs_row(b, row_first + 3u);
    let row4 = lhs_row(b, row_first + 4u);
    let row5 = lhs_row(b, row_first + 5u);
    let row6 = lhs_row(b, row_first + 6u);
    let row7 = lhs_row(b, row_first + 7u);
    let row8 = lhs_row(b, row_first + 8u);
    let row9 = lhs_row(b, row_first + 9u);
    let row10 = lhs_row(b, row_first + 10u);
    let row11 = lhs_row(b, row_first + 11u);
    let row12 = lhs_row(b, row_first + 12u);
    let row13 = lhs_row(b, row_first + 13u);
    let row14 = lhs_row(b, row_first + 14u);
    let row15 = lhs_row(b, row_first + 15u);
    var sum0 = mat4x4<f32>();
    var sum1 = mat4x4<f32>();
    var sum2 = mat4x4<f32>();
    var sum3 = mat4x4<f32>();
    var sum4 = mat4x4<f32>();
    var sum5 = mat4x4<f32>();
    var sum6 = mat4x4<f32>();
    var sum7 = mat4x4<f32>();
    var sum8 = mat4x4<f32>();
    var sum9 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    var sum12 = mat4x4<f32>();
    var sum13 = mat4x4<f32>();
    var sum14 = mat4x4<f32>();
    var sum15 = mat4x4<f32>();
    var at = 0u;
    for (; first < end; first += 2u) {
        let right = rhs_load(first, second);
        sum0 += right * lhs[row0 + at];
        sum1 += right * lhs[row1 + at];
        sum2 += right * lhs[row2 + at];
        sum3 += right * lhs[row3 + at];
        sum4 += right * lhs[row4 + at];
        sum5 += right * lhs[row5 + at];
        sum6 += right * lhs[row6 + at];
        sum7 += right * lhs[row7 + at];
        if (ROWS == 16u) {
            sum8 += right * lhs[row8 + at];
            sum9 += right * lhs[row9 + at];
            sum10 += right * lhs[row10 + at];
            sum11 += right * lhs[row11 + at];
            sum12 += right * lhs[row12 + at];
            sum13 += right * lhs[row13 + at];
            sum14 += right * lhs[row14 + at];
            sum15 += right * lhs[row15 + at];
        }
        second += 2u;
        at += params.lhs_k_stride;
    }

    let col_first = params.col_start + panel * 8u;
    let col_end = min(col_first + 16u, min(params.col_start + params.panels * 8u, params.cols));
    let row_end = min(row_first + ROWS, params.rows);
    let bias_end = params.cols * (params.flags & 1u);
    let residual_end = params.cols * (params.flags / 2u & 1u);
    for (var row = row_first; row < row_end; row++) {
        let r = row % ROWS;
        var sums = sum0;
        sums = pick(sums, sum1, r == 1u);
        sums = pick(sums, sum2, r == 2u);
        sums = pick(sums, sum3, r == 3u);
        sums = pick(sums, sum4, r == 4u);
        sums = pick(sums, sum5, r == 5u);
        sums = pick(sums, sum6, r == 6u);
        sums = pick(sums, sum7, r == 7u);
        if (ROWS == 16u) {
            sums = pick(sums, sum8, r == 8u);
            sums = pick(sums, sum9, r == 9u);
            sums = pick(sums, sum10, r == 10u);
            sums = pick(sums, sum11, r == 11u);
            sums = pick(sums, sum12, r == 12u);
            sums = pick(sums, sum13, r == 13u);
            sums = pick(sums, sum14, r == 14u);
            sums = pick(sums, sum15, r == 15u);
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
