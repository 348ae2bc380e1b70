//! matmul_shared
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! Both sides are read through strides (in elements), so either may be transposed or shared by the batch (stride
//! 0); LHS_ALONG_K and RHS_ALONG_K say that k has the stride 1 there, else rows, or columns, have. The bound piece of rhs
//! holds columns [col_start, col_start + piece_cols) and starts at its first one. output and residual are
//! [batch][rows][output_cols]; bias has output_cols elements. flags: 1 bias, 2 residual; a buffer whose bit is clear is
//! bound but never read. The half variants read a right side of halves, two in a word along k, whose strides count halves
//! and are even.
//! The wide variants read vectors of four along k, the left ones of the left side alone, the others of both (halves: of the
//! left). Such a side lies along k, and depth, its other strides and the offset of its binding are divisible by 4 elements.
//!
//! For GPUs. A workgroup makes TILE_ROWS x TILE_COLS outputs from slices of DEPTH = 16 k values that all its invocations
//! load together; an invocation makes OWN_ROWS x OWN_COLS of them, 4 or 8 each way. Workgroups: batch *
//! ceil(rows / TILE_ROWS) * ceil(piece_cols / TILE_COLS), columns fastest.
//!
//! A slice lies in workgroup memory as vectors of four rows (columns) of one k. The four stand a quarter of the tile apart,
//! so that neighbouring invocations load and store neighbouring elements wherever rows, or columns, are contiguous, without
//! vectors. Whole blocks of 4 x 4 are written, four along k by neighbouring invocations: lib/quads keeps these from meeting in
//! the same banks.
//! While a slice is multiplied, the loads of the next one are under way.
//! Legal: THREADS = TILE_ROWS * TILE_COLS / OWN_ROWS / OWN_COLS; sides of tiles are powers of two, at least 16, or 64 where
//! OWN is 8; LOADS covers the 4 x 4 blocks of a slice. t128 uses 16 KiB of workgroup memory, all that is there.
//! Not for software adapters, for which a barrier is a switch of coroutines: on lavapipe matmul_register runs at some thirty
//! times the rate of t32.
//!
//! uses: activation, grid, quads
//! variants:
//!   t128             TILE_ROWS=128 TILE_COLS=128 OWN_ROWS=8 OWN_COLS=8 THREADS=256 LOADS=1 HALF=0 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t128_left        TILE_ROWS=128 TILE_COLS=128 OWN_ROWS=8 OWN_COLS=8 THREADS=256 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t128_wide        TILE_ROWS=128 TILE_COLS=128 OWN_ROWS=8 OWN_COLS=8 THREADS=256 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=4 Left=vec4<f32> Right=vec4<u32>
//!   t64              TILE_ROWS=64 TILE_COLS=64 OWN_ROWS=8 OWN_COLS=4 THREADS=128 LOADS=1 HALF=0 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t64_left         TILE_ROWS=64 TILE_COLS=64 OWN_ROWS=8 OWN_COLS=4 THREADS=128 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t64_wide         TILE_ROWS=64 TILE_COLS=64 OWN_ROWS=8 OWN_COLS=4 THREADS=128 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=4 Left=vec4<f32> Right=vec4<u32>
//!   t64_half         TILE_ROWS=64 TILE_COLS=64 OWN_ROWS=8 OWN_COLS=4 THREADS=128 LOADS=1 HALF=1 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t64_half_wide    TILE_ROWS=64 TILE_COLS=64 OWN_ROWS=8 OWN_COLS=4 THREADS=128 LOADS=1 HALF=1 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t32              TILE_ROWS=32 TILE_COLS=32 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=1 HALF=0 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t32_left         TILE_ROWS=32 TILE_COLS=32 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t32_wide         TILE_ROWS=32 TILE_COLS=32 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=1 HALF=0 WIDE_LHS=4 WIDE_RHS=4 Left=vec4<f32> Right=vec4<u32>
//!   t32_half         TILE_ROWS=32 TILE_COLS=32 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=1 HALF=1 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t32_half_wide    TILE_ROWS=32 TILE_COLS=32 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=1 HALF=1 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t16x64           TILE_ROWS=16 TILE_COLS=64 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=2 HALF=0 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t16x64_wide      TILE_ROWS=16 TILE_COLS=64 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=2 HALF=0 WIDE_LHS=4 WIDE_RHS=4 Left=vec4<f32> Right=vec4<u32>
//!   t16x64_half_wide TILE_ROWS=16 TILE_COLS=64 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=2 HALF=1 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32
//!   t64x16           TILE_ROWS=64 TILE_COLS=16 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=2 HALF=0 WIDE_LHS=1 WIDE_RHS=1 Left=f32 Right=u32
//!   t64x16_left      TILE_ROWS=64 TILE_COLS=16 OWN_ROWS=4 OWN_COLS=4 THREADS=64 LOADS=2 HALF=0 WIDE_LHS=4 WIDE_RHS=1 Left=vec4<f32> Right=u32

override ACTIVATION: u32 = 0u;
override LHS_ALONG_K: u32 = 1u;
override RHS_ALONG_K: u32 = 1u;
const TILE_ROWS: u32 = 64u;
const TILE_COLS: u32 = 64u;
const OWN_ROWS: u32 = 8u;
const OWN_COLS: u32 = 4u;
const THREADS: u32 = 128u;
// Blocks that an invocation loads of a slice: 1, or 2 at most, of which the second may be past the last.
const LOADS: u32 = 1u;
const HALF: u32 = 0u;
// Elements of a Left, and of a Right that is not of halves.
const WIDE_LHS: u32 = 1u;
const WIDE_RHS: u32 = 1u;
alias Left = f32;
alias Right = u32;
const DEPTH: u32 = 16u;
// Blocks along k in a slice; vectors of four rows, or columns, in a tile.
const STEPS: u32 = DEPTH / 4u;
const LHS_QUADS: u32 = TILE_ROWS / 4u;
const RHS_QUADS: u32 = TILE_COLS / 4u;
const LHS_BLOCKS: u32 = LHS_QUADS * STEPS;
const BLOCKS: u32 = LHS_BLOCKS + RHS_QUADS * STEPS;
const COL_THREADS: u32 = TILE_COLS / OWN_COLS;

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

// [k][quad]
var<workgroup> tile_lhs: array<vec4<f32>, LHS_QUADS * DEPTH>;
var<workgroup> tile_rhs: array<vec4<f32>, RHS_QUADS * DEPTH>;

// Which block of a slice is meant: its four k, and its vector in the tile.
struct Block {
    k: u32,
    quad: u32,
}

// Neighbours along k first where k is contiguous, else along the rows or columns.
fn block_of(index: u32, quads: u32, along_k: u32) -> Block {
    if (along_k == 1u) {
        return Block(index % STEPS * 4u, index / STEPS);
    }
    return Block(index / quads * 4u, index % quads);
}

// Four of k in one row.
fn lhs_run(b: u32, row: u32, k: u32) -> vec4<f32> {
    var run = vec4<f32>();
    if (row < params.rows) {
        let at = b * params.lhs_batch_stride + row * params.lhs_row_stride + k * params.lhs_k_stride;
        if (WIDE_LHS == 4u) {
            if (k < params.depth) {
                run = vec4<f32>(lhs[at / 4u]);
            }
        } else {
            if (k < params.depth) {
                run.x = vec4<f32>(lhs[at]).x;
            }
            if (k + 1u < params.depth) {
                run.y = vec4<f32>(lhs[at + params.lhs_k_stride]).x;
            }
            if (k + 2u < params.depth) {
                run.z = vec4<f32>(lhs[at + 2u * params.lhs_k_stride]).x;
            }
            if (k + 3u < params.depth) {
                run.w = vec4<f32>(lhs[at + 3u * params.lhs_k_stride]).x;
            }
        }
    }
    return run;
}

fn rhs_number(at: u32) -> f32 {
    return bitcast<vec4<f32>>(vec4<u32>(rhs[at])).x;
}

// Four of k in one column. The depth of halves is even.
fn rhs_run(b: u32, col: u32, k: u32) -> vec4<f32> {
    var run = vec4<f32>();
    if (col < params.piece_cols) {
        let at = b * params.rhs_batch_stride + col * params.rhs_col_stride + k * params.rhs_k_stride;
        if (HALF == 1u) {
            if (k < params.depth) {
                let pair = unpack2x16float(vec4<u32>(rhs[at / 2u]).x);
                run.x = pair.x;
                run.y = pair.y;
            }
            if (k + 2u < params.depth) {
                let pair = unpack2x16float(vec4<u32>(rhs[at / 2u + 1u]).x);
                run.z = pair.x;
                run.w = pair.y;
            }
        } else if (WIDE_RHS == 4u) {
            if (k < params.depth) {
                run = bitcast<vec4<f32>>(vec4<u32>(rhs[at / 4u]));
            }
        } else {
            if (k < params.depth) {
                run.x = rhs_number(at);
            }
            if (k + 1u < params.depth) {
                run.y = rhs_number(at + params.rhs_k_stride);
            }
            if (k + 2u < params.depth) {
                run.z = rhs_number(at + 2u * params.rhs_k_stride);
            }
            if (k + 3u < params.depth) {
                run.w = rhs_number(at + 3u * params.rhs_k_stride);
            }
        }
    }
    return run;
}

// A block of the slice that starts at `first`: a column for each row, or column, of the product. Those past the end are 0.
fn load(index: u32, b: u32, row_first: u32, col_first: u32, first: u32) -> mat4x4<f32> {
    if (index < LHS_BLOCKS) {
        let block = block_of(index, LHS_QUADS, LHS_ALONG_K);
        let row = row_first + block.quad;
        let k = first + block.k;
        return mat4x4<f32>(
            lhs_run(b, row, k),
            lhs_run(b, row + LHS_QUADS, k),
            lhs_run(b, row + 2u * LHS_QUADS, k),
            lhs_run(b, row + 3u * LHS_QUADS, k),
        );
    }
    if (index < BLOCKS) {
        let block = block_of(u32(i32(index) - i32(LHS_BLOCKS)), RHS_QUADS, RHS_ALONG_K);
        let col = col_first + block.quad;
        let k = first + block.k;
        return mat4x4<f32>(
            rhs_run(b, col, k),
            rhs_run(b, col + RHS_QUADS, k),
            rhs_run(b, col + 2u * RHS_QUADS, k),
            rhs_run(b, col + 3u * RHS_QUADS, k),
        );
    }
    return mat4x4<f32>();
}

// Puts a block into its tile: a vector for each k.
fn put_down(index: u32, runs: mat4x4<f32>) {
    let vectors = transpose(runs);
    if (index < LHS_BLOCKS) {
        let block = block_of(index, LHS_QUADS, LHS_ALONG_K);
        let at = block.k * LHS_QUADS + place(block.quad, block.k, LHS_QUADS);
        tile_lhs[at] = vectors[0];
        tile_lhs[at + LHS_QUADS] = vectors[1];
        tile_lhs[at + 2u * LHS_QUADS] = vectors[2];
        tile_lhs[at + 3u * LHS_QUADS] = vectors[3];
    } else if (index < BLOCKS) {
        let block = block_of(u32(i32(index) - i32(LHS_BLOCKS)), RHS_QUADS, RHS_ALONG_K);
        let at = block.k * RHS_QUADS + place(block.quad, block.k, RHS_QUADS);
        tile_rhs[at] = vectors[0];
        tile_rhs[at + RHS_QUADS] = vectors[1];
        tile_rhs[at + 2u * RHS_QUADS] = vectors[2];
        tile_rhs[at + 3u * RHS_QUADS] = vectors[3];
    }
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

fn put_row(b: u32, row: u32, col: u32, sums: vec4<f32>) {
    put(b, row, col, sums.x);
    put(b, row, col + RHS_QUADS, sums.y);
    put(b, row, col + 2u * RHS_QUADS, sums.z);
    put(b, row, col + 3u * RHS_QUADS, sums.w);
}

fn put_block(b: u32, row: u32, col: u32, sums: mat4x4<f32>) {
    put_row(b, row, col, sums[0]);
    put_row(b, row + LHS_QUADS, col, sums[1]);
    put_row(b, row + 2u * LHS_QUADS, col, sums[2]);
    put_row(b, row + 3u * LHS_QUADS, col, sums[3]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let col_tiles = (params.piece_cols + (TILE_COLS - 1u)) / TILE_COLS;
    let row_tiles = (params.rows + (TILE_ROWS - 1u)) / TILE_ROWS;
    let col_first = tile % col_tiles * TILE_COLS;
    let row_first = tile / col_tiles % row_tiles * TILE_ROWS;
    let b = tile / col_tiles / row_tiles;
    if (b >= params.batch) {
        return;
    }
    // An invocation of eight rows has a second vector of four half a tile's vectors away; columns likewise.
    let row = thread / COL_THREADS;
    let col = thread % COL_THREADS;
    var sums = mat4x4<f32>();
    var sums_right = mat4x4<f32>();
    var sums_below = mat4x4<f32>();
    var sums_across = mat4x4<f32>();
    var next = load(thread, b, row_first, col_first, 0u);
    var next_second = mat4x4<f32>();
    if (LOADS == 2u) {
        next_second = load(thread + THREADS, b, row_first, col_first, 0u);
    }
    for (var first = 0u; first < params.depth; first += DEPTH) {
        put_down(thread, next);
        if (LOADS == 2u) {
            put_down(thread + THREADS, next_second);
        }
        workgroupBarrier();
        next = load(thread, b, row_first, col_first, first + DEPTH);
        if (LOADS == 2u) {
            next_second = load(thread + THREADS, b, row_first, col_first, first + DEPTH);
        }
        for (var step = 0u; step < DEPTH; step += 4u) {
            var l = step * LHS_QUADS + place(row, step, LHS_QUADS);
            var r = step * RHS_QUADS + place(col, step, RHS_QUADS);
            for (var k = 0u; k < 4u; k++) {
                let left = tile_lhs[l];
                let right = tile_rhs[r];
                sums += outer(left, right);
                if (OWN_ROWS == 8u) {
                    let below = tile_lhs[l + LHS_QUADS / 2u];
                    sums_below += outer(below, right);
                    if (OWN_COLS == 8u) {
                        let beside = tile_rhs[r + RHS_QUADS / 2u];
                        sums_right += outer(left, beside);
                        sums_across += outer(below, beside);
                    }
                }
                l += LHS_QUADS;
                r += RHS_QUADS;
            }
        }
        workgroupBarrier();
    }
    put_block(b, row_first + row, col_first + col, sums);
    if (OWN_ROWS == 8u) {
        put_block(b, row_first + row + LHS_QUADS / 2u, col_first + col, sums_below);
        if (OWN_COLS == 8u) {
            put_block(b, row_first + row, col_first + col + RHS_QUADS / 2u, sums_right);
            put_block(b, row_first + row + LHS_QUADS / 2u, col_first + col + RHS_QUADS / 2u, sums_across);
        }
    }
}
