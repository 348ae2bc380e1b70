//! matmul_vector_subgroup
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! For products with at most ROWS rows, one or up to four, whose sides both lie along k: lhs_k_stride = rhs_k_stride = 1.
//! Parameters and layouts are those of matmul_vector. Both sides are read in vectors of four along k (eight halves): depth,
//! all other strides and the offsets of both bindings are divisible by as many elements.
//!
//! For GPUs with operations across subgroups, of whatever size they are. A workgroup makes all rows of TILE_COLS = 4
//! columns, so there are batch * ceil(piece_cols / TILE_COLS) workgroups. Each invocation sums every THREADS-th step of k;
//! a subgroup adds up its parts in registers, and only the sums of the subgroups, a few, go through workgroup memory. They
//! are added in the order of the subgroups; how a subgroup adds is the device's affair, and the same in every run.
//!
//! uses: activation, grid, half
//! subgroups: any
//! variants:
//!   one         ROWS=1 TILE_COLS=4 HALF=0
//!   four        ROWS=4 TILE_COLS=4 HALF=0
//!   half_one    ROWS=1 TILE_COLS=4 HALF=1
//!   half_four   ROWS=4 TILE_COLS=4 HALF=1

override ACTIVATION: u32 = 0u;
const ROWS: u32 = 1u;
const HALF: u32 = 0u;
const THREADS: u32 = 64u;
const TILE_COLS: u32 = 4u;
// Vectors of lhs, and elements, of a step.
const LEFTS: u32 = 1u + HALF;
const STEP: u32 = 4u * LEFTS;

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
@group(0) @binding(1) var<storage, read> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// [row][subgroup]: the sums of its columns. No device has subgroups of one, but none could break this.
var<workgroup> tile_sums: array<vec4<f32>, ROWS * THREADS>;

// Rows and columns past the end repeat the last one; their sums are not written.
fn lhs_row(b: u32, row: u32) -> u32 {
    return (b * params.lhs_batch_stride + min(row, u32(i32(params.rows) - 1)) * params.lhs_row_stride) / 4u;
}

fn rhs_col(b: u32, piece_col: u32) -> u32 {
    let col = min(piece_col, u32(i32(params.piece_cols) - 1));
    return (b * params.rhs_batch_stride + col * params.rhs_col_stride) / STEP;
}

// The products of a step of one row and one column, added up.
fn product(at: u32, column: vec4<u32>) -> f32 {
    if (HALF == 1u) {
        return dot(lhs[at], four_halves(column.xy)) + dot(lhs[at + 1u], four_halves(column.zw));
    }
    return dot(lhs[at], bitcast<vec4<f32>>(column));
}

fn products(at: u32, c0: vec4<u32>, c1: vec4<u32>, c2: vec4<u32>, c3: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(product(at, c0), product(at, c1), product(at, c2), product(at, c3));
}

fn put(b: u32, row: u32, piece_col: u32, sum: f32) {
    let col = params.col_start + piece_col;
    if (row < params.rows && piece_col < params.piece_cols && col < params.cols) {
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
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = flat_workgroup(group, groups);
    let col_tiles = (params.piece_cols + (TILE_COLS - 1u)) / TILE_COLS;
    let b = tile / col_tiles;
    if (b >= params.batch) {
        return;
    }
    let col = tile % col_tiles * TILE_COLS;
    let row0 = lhs_row(b, 0u);
    let row1 = lhs_row(b, 1u);
    let row2 = lhs_row(b, 2u);
    let row3 = lhs_row(b, 3u);
    let col0 = rhs_col(b, col);
    let col1 = rhs_col(b, col + 1u);
    let col2 = rhs_col(b, col + 2u);
    let col3 = rhs_col(b, col + 3u);
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    // No invocation leaves early or stays out: that all of a subgroup are there again behind a branch is not promised
    // everywhere. Those past the end repeat the first step and drop it.
    let steps = params.depth / STEP;
    for (var first = 0u; first < steps; first += THREADS) {
        let own = first + thread < steps;
        let k = select(0u, first + thread, own);
        let c0 = rhs[col0 + k];
        let c1 = rhs[col1 + k];
        let c2 = rhs[col2 + k];
        let c3 = rhs[col3 + k];
        let at = k * LEFTS;
        sum0 += select(vec4<f32>(), products(row0 + at, c0, c1, c2, c3), own);
        if (ROWS == 4u) {
            sum1 += select(vec4<f32>(), products(row1 + at, c0, c1, c2, c3), own);
            sum2 += select(vec4<f32>(), products(row2 + at, c0, c1, c2, c3), own);
            sum3 += select(vec4<f32>(), products(row3 + at, c0, c1, c2, c3), own);
        }
    }
    let whole0 = subgroupAdd(sum0);
    var whole1 = vec4<f32>();
    var whole2 = vec4<f32>();
    var whole3 = vec4<f32>();
    if (ROWS == 4u) {
        whole1 = subgroupAdd(sum1);
        whole2 = subgroupAdd(sum2);
        whole3 = subgroupAdd(sum3);
    }
    if (lane == 0u) {
        tile_sums[subgroup] = whole0;
        if (ROWS == 4u) {
            tile_sums[THREADS + subgroup] = whole1;
            tile_sums[2u * THREADS + subgroup] = whole2;
            tile_sums[3u * THREADS + subgroup] = whole3;
        }
    }
    workgroupBarrier();
    if (thread < ROWS * TILE_COLS) {
        let row = thread / TILE_COLS;
        let c = thread % TILE_COLS;
        var sum = 0.0;
        for (var p = 0u; p < subgroups; p++) {
            sum += tile_sums[row * THREADS + p][c];
        }
        put(b, row, col + c, sum);
    }
}
