//! matmul_shared
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! Both sides are read through strides (in elements), so either may be transposed or shared by the batch (stride
//! 0). The bound piece of rhs holds columns [col_start, col_start + piece_cols) and starts at its first one.
//! output and residual are [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual;
//! a buffer whose bit is clear is bound but never read. With HALF the right side is of halves, two in a word along k, with
//! rhs_k_stride 1 and an even rhs_col_stride, and its strides count halves.
//!
//! For GPUs. A workgroup makes TILE x TILE outputs from slices of DEPTH k values that all its invocations load
//! together; an invocation makes 4 x 4 of them. Workgroups: batch * ceil(rows / TILE) * ceil(piece_cols / TILE),
//! columns fastest. Legal: THREADS = (TILE / 4)^2; DEPTH divides THREADS. t64 uses 8.2 KiB of workgroup memory.
//! Not for software adapters: on lavapipe it runs at 2.0 to 2.9 times the rate of matmul_naive, where matmul_register
//! runs at 20 to 25 times.
//!
//! uses: activation, grid
//! variants:
//!   t64   TILE=64 THREADS=256 DEPTH=16
//!   t32   TILE=32 THREADS=64 DEPTH=16

override THREADS: u32 = 256u;
override ACTIVATION: u32 = 0u;
override HALF: u32 = 0u;
const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
// One more than a tile's side: the columns that a transposing store writes fall into different banks.
const PITCH: u32 = TILE + 1u;

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
@group(0) @binding(2) var<storage, read> rhs: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// [k][row] and [k][col]
var<workgroup> tile_lhs: array<f32, PITCH * DEPTH>;
var<workgroup> tile_rhs: array<f32, PITCH * DEPTH>;

fn rhs_load(at: u32) -> f32 {
    if (HALF == 1u) {
        let pair = unpack2x16float(rhs[at / 2u]);
        return select(pair.x, pair.y, at % 2u == 1u);
    }
    return bitcast<f32>(rhs[at]);
}

fn put(b: u32, row: u32, piece_col: u32, sum: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) {
        let col = params.col_start + piece_col + c;
        if (row < params.rows && piece_col + c < params.piece_cols && col < params.cols) {
            var x = sum[c];
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
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let col_tiles = (params.piece_cols + (TILE - 1u)) / TILE;
    let row_tiles = (params.rows + (TILE - 1u)) / TILE;
    let col_first = tile % col_tiles * TILE;
    let row_first = tile / col_tiles % row_tiles * TILE;
    let b = tile / col_tiles / row_tiles;
    if (b >= params.batch) {
        return;
    }
    // Neighbouring invocations load neighbouring addresses, whichever way a side lies in memory.
    let lhs_along_k = params.lhs_k_stride == 1u;
    let rhs_along_k = params.rhs_k_stride == 1u;
    let lhs_k = select(thread / TILE, thread % DEPTH, lhs_along_k);
    let lhs_row = select(thread % TILE, thread / DEPTH, lhs_along_k);
    let rhs_k = select(thread / TILE, thread % DEPTH, rhs_along_k);
    let rhs_col = select(thread % TILE, thread / DEPTH, rhs_along_k);
    let lhs_k_step = select(THREADS / TILE, 0u, lhs_along_k);
    let lhs_row_step = select(0u, THREADS / DEPTH, lhs_along_k);
    let rhs_k_step = select(THREADS / TILE, 0u, rhs_along_k);
    let rhs_col_step = select(0u, THREADS / DEPTH, rhs_along_k);

    let depth = select(0u, params.depth, b < params.batch);
    let row = thread / (TILE / 4u) * 4u;
    let col = thread % (TILE / 4u) * 4u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var first = 0u; first < depth; first += DEPTH) {
        for (var i = 0u; i < TILE * DEPTH / THREADS; i++) {
            let k = lhs_k + i * lhs_k_step;
            let r = lhs_row + i * lhs_row_step;
            var value = 0.0;
            if (first + k < params.depth && row_first + r < params.rows) {
                let at = (row_first + r) * params.lhs_row_stride + (first + k) * params.lhs_k_stride;
                value = lhs[b * params.lhs_batch_stride + at];
            }
            tile_lhs[k * PITCH + r] = value;
        }
        for (var i = 0u; i < TILE * DEPTH / THREADS; i++) {
            let k = rhs_k + i * rhs_k_step;
            let c = rhs_col + i * rhs_col_step;
            var value = 0.0;
            if (first + k < params.depth && col_first + c < params.piece_cols) {
                let at = (first + k) * params.rhs_k_stride + (col_first + c) * params.rhs_col_stride;
                value = rhs_load(b * params.rhs_batch_stride + at);
            }
            tile_rhs[k * PITCH + c] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * PITCH + row;
            let r = k * PITCH + col;
            let right = vec4<f32>(tile_rhs[r], tile_rhs[r + 1u], tile_rhs[r + 2u], tile_rhs[r + 3u]);
            sum0 += tile_lhs[l] * right;
            sum1 += tile_lhs[l + 1u] * right;
            sum2 += tile_lhs[l + 2u] * right;
            sum3 += tile_lhs[l + 3u] * right;
        }
        workgroupBarrier();
    }
    put(b, row_first + row, col_first + col, sum0);
    put(b, row_first + row + 1u, col_first + col, sum1);
    put(b, row_first + row + 2u, col_first + col, sum2);
    put(b, row_first + row + 3u, col_first + col, sum3);
}
