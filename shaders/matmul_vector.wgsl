//! matmul_vector
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! For products with at most ROWS rows, one or up to four. Both sides are read through strides (in elements), so either
//! may be transposed or shared by the batch (stride 0). The bound piece of rhs holds columns
//! [col_start, col_start + piece_cols) and starts at its first one. output and residual are [batch][rows][output_cols];
//! bias has output_cols elements. flags: 1 bias, 2 residual; a buffer whose bit is clear is bound but never read.
//!
//! A workgroup makes all rows of TILE_COLS columns, so there are batch * ceil(piece_cols / TILE_COLS) workgroups. SHARE
//! invocations share the same columns: each sums every SHARE-th step of k, and they join their parts through workgroup
//! memory. With SHARE = 1 (the cpu variants, for software adapters) there is no barrier and each invocation makes its
//! outputs alone. NEAR_K says whether neighbouring invocations stand on neighbouring steps of k, as a GPU wants for a
//! right side [col][k], or on neighbouring columns, for [k][col].
//! The wide variants read both sides as vec4 along k. They need lhs_k_stride = rhs_k_stride = 1, and depth, all other
//! strides and the offsets of both bindings divisible by 4 elements.
//! The half variants read a right side of halves, two in a word along k, whose strides count halves: rhs_k_stride is 1, and
//! depth is even, or divisible by 8 for the wide ones.
//! The slim ones make four columns instead of sixteen, for matrices so small that a GPU would have workgroups for few of
//! its compute units.
//! Where rhs can be packed, a software adapter is better served by matmul_flat.
//! Legal: SHARE divides THREADS; COLUMNS = TILE_COLS * SHARE / THREADS is 1 or 4; ROWS is 1 or 4.
//!
//! uses: activation, grid, half
//! variants:
//!   cpu_1             ROWS=1 TILE_COLS=32 SHARE=1 THREADS=8 NEAR_K=0 HALF=0 WIDE=1 Left=f32 Right=u32
//!   cpu_4             ROWS=4 TILE_COLS=32 SHARE=1 THREADS=8 NEAR_K=0 HALF=0 WIDE=1 Left=f32 Right=u32
//!   cpu_wide_1        ROWS=1 TILE_COLS=32 SHARE=1 THREADS=8 NEAR_K=0 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   cpu_wide_4        ROWS=4 TILE_COLS=32 SHARE=1 THREADS=8 NEAR_K=0 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   gpu_1             ROWS=1 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=1 Left=f32 Right=u32
//!   gpu_4             ROWS=4 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=1 Left=f32 Right=u32
//!   gpu_wide_1        ROWS=1 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   gpu_wide_4        ROWS=4 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   gpu_half_1        ROWS=1 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=1 Left=f32 Right=u32
//!   gpu_half_4        ROWS=4 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=1 Left=f32 Right=u32
//!   gpu_half_wide_1   ROWS=1 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   gpu_half_wide_4   ROWS=4 TILE_COLS=16 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   slim_1            ROWS=1 TILE_COLS=4 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   slim_4            ROWS=4 TILE_COLS=4 SHARE=32 THREADS=128 NEAR_K=1 HALF=0 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   slim_half_1       ROWS=1 TILE_COLS=4 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   slim_half_4       ROWS=4 TILE_COLS=4 SHARE=32 THREADS=128 NEAR_K=1 HALF=1 WIDE=4 Left=vec4<f32> Right=vec4<u32>
//!   gpu_cols_1        ROWS=1 TILE_COLS=32 SHARE=4 THREADS=128 NEAR_K=0 HALF=0 WIDE=1 Left=f32 Right=u32
//!   gpu_cols_4        ROWS=4 TILE_COLS=32 SHARE=4 THREADS=128 NEAR_K=0 HALF=0 WIDE=1 Left=f32 Right=u32

override ACTIVATION: u32 = 0u;
const ROWS: u32 = 1u;
const TILE_COLS: u32 = 32u;
const SHARE: u32 = 1u;
const THREADS: u32 = 8u;
const NEAR_K: u32 = 0u;
const HALF: u32 = 0u;
// Elements of a Left, words of a Right.
const WIDE: u32 = 1u;
alias Left = f32;
alias Right = u32;
const LANES: u32 = THREADS / SHARE;
const COLUMNS: u32 = TILE_COLS / LANES;
// Values of k a step: as many as a Right holds, which meet LEFTS of Left.
const LEFTS: u32 = 1u + HALF;
const STEP: u32 = WIDE * LEFTS;

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
@group(0) @binding(1) var<storage, read> lhs: array<Left>;
@group(0) @binding(2) var<storage, read> rhs: array<Right>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// [row][thread]: the parts of an invocation's columns
var<workgroup> tile_sums: array<vec4<f32>, ROWS * THREADS>;

// Rows and columns past the end repeat the last one; their sums are not written.
fn lhs_row(b: u32, row: u32) -> u32 {
    return b * params.lhs_batch_stride + min(row, u32(i32(params.rows) - 1)) * params.lhs_row_stride;
}

fn rhs_col(b: u32, piece_col: u32) -> u32 {
    return b * params.rhs_batch_stride + min(piece_col, u32(i32(params.piece_cols) - 1)) * params.rhs_col_stride;
}

// What a step of k has of a row: two vectors along k for halves, else the first of them, and of either the first element
// alone where a load gives no more.
struct Step {
    first: vec4<f32>,
    second: vec4<f32>,
}

fn left(at: u32) -> Step {
    if (HALF == 1u) {
        return Step(vec4<f32>(lhs[at]), vec4<f32>(lhs[at + params.lhs_k_stride]));
    }
    return Step(vec4<f32>(lhs[at]), vec4<f32>());
}

// The products of a step and a column, added up.
fn product(l: Step, column: vec4<u32>) -> f32 {
    if (HALF == 1u && WIDE == 1u) {
        return dot(vec2<f32>(l.first.x, l.second.x), unpack2x16float(column.x));
    }
    if (HALF == 1u) {
        return dot(l.first, four_halves(column.xy)) + dot(l.second, four_halves(column.zw));
    }
    let numbers = bitcast<vec4<f32>>(column);
    if (WIDE == 1u) {
        return l.first.x * numbers.x;
    }
    return dot(l.first, numbers);
}

fn products(l: Step, c0: vec4<u32>, c1: vec4<u32>, c2: vec4<u32>, c3: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(product(l, c0), product(l, c1), product(l, c2), product(l, c3));
}

fn put(b: u32, row: u32, piece_col: u32, sum: f32) {
    let col = params.col_start + piece_col;
    if (b < params.batch && row < params.rows && piece_col < params.piece_cols && col < params.cols) {
        var x = sum;
        // The bounds stand in for the flags: see matmul_register on branches that turn on params alone.
        if (col < params.cols * (params.flags & 1u)) {
            x += bias[col];
        }
        x = activate(ACTIVATION, x);
        let at = (b * params.rows + row) * params.output_cols + col;
        if (col < params.cols * ((params.flags / 2u) & 1u)) {
            x += residual[at];
        }
        output[at] = x;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let col_tiles = (params.piece_cols + (TILE_COLS - 1u)) / TILE_COLS;
    let b = tile / col_tiles;
    if (b >= params.batch) {
        return;
    }
    let part = select(thread / LANES, thread % SHARE, NEAR_K == 1u);
    let lane = select(thread % LANES, thread / SHARE, NEAR_K == 1u);
    // An invocation's columns stand LANES apart, so that its neighbours' are next to them.
    let col = tile % col_tiles * TILE_COLS + lane;
    let row0 = lhs_row(b, 0u) / WIDE;
    let row1 = lhs_row(b, 1u) / WIDE;
    let row2 = lhs_row(b, 2u) / WIDE;
    let row3 = lhs_row(b, 3u) / WIDE;
    let col0 = rhs_col(b, col) / STEP;
    let col1 = rhs_col(b, col + LANES) / STEP;
    let col2 = rhs_col(b, col + LANES * 2u) / STEP;
    let col3 = rhs_col(b, col + LANES * 3u) / STEP;
    let steps = select(0u, params.depth / STEP, col < params.piece_cols);
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var k = part; k < steps; k += SHARE) {
        let right = k * params.rhs_k_stride;
        let c0 = vec4<u32>(rhs[col0 + right]);
        var c1 = vec4<u32>();
        var c2 = vec4<u32>();
        var c3 = vec4<u32>();
        if (COLUMNS == 4u) {
            c1 = vec4<u32>(rhs[col1 + right]);
            c2 = vec4<u32>(rhs[col2 + right]);
            c3 = vec4<u32>(rhs[col3 + right]);
        }
        let at = k * LEFTS * params.lhs_k_stride;
        sum0 += products(left(row0 + at), c0, c1, c2, c3);
        if (ROWS == 4u) {
            sum1 += products(left(row1 + at), c0, c1, c2, c3);
            sum2 += products(left(row2 + at), c0, c1, c2, c3);
            sum3 += products(left(row3 + at), c0, c1, c2, c3);
        }
    }
    if (SHARE > 1u) {
        tile_sums[thread] = sum0;
        if (ROWS == 4u) {
            tile_sums[THREADS + thread] = sum1;
            tile_sums[2u * THREADS + thread] = sum2;
            tile_sums[3u * THREADS + thread] = sum3;
        }
        workgroupBarrier();
        // The sharers divide the outputs of their columns among themselves.
        for (var i = part; i < ROWS * COLUMNS; i += SHARE) {
            let row = i / COLUMNS;
            let c = i % COLUMNS;
            var sum = 0.0;
            for (var p = 0u; p < SHARE; p++) {
                let sharer = select(p * LANES + lane, lane * SHARE + p, NEAR_K == 1u);
                sum += tile_sums[row * THREADS + sharer][c];
            }
            put(b, row, col + c * LANES, sum);
        }
    } else {
        for (var row = 0u; row < ROWS; row++) {
            let sums = select(select(sum0, sum1, row == 1u), select(sum2, sum3, row == 3u), row >= 2u);
            for (var c = 0u; c < COLUMNS; c++) {
                put(b, row, col + c * LANES, sums[c]);
            }
        }
    }
}
