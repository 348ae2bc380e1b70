//! matmul_lanes
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! lhs is read as vec4 through strides in elements (batch stride 0 where the batch shares it): along k, or with BY_ROWS=1
//! along the rows, as [k][row]. 4 divides depth, the offset, and the strides that are not 1. rhs is
//! packed by matmul_pack: [batch][panel][k][8], zero past the last column; rhs_batch_stride counts eights (0: shared) and the
//! bound piece holds `panels` panels, the first of which is panel panel_start of the output. With HALF it is packed by
//! matmul_pack_half. output and residual are [batch][rows][output_cols]; bias has output_cols elements, a multiple of 4.
//! flags: 1 bias, 2 residual; a buffer whose bit is clear is bound but never read.
//!
//! For software adapters whose subgroups are the eight lanes of a vector. A workgroup is one: it makes ROWS x 64 outputs in
//! registers, ROWS x 8 a lane, without workgroup memory or barriers. Workgroups: batch * ceil(panels / 8) * row_tiles,
//! row_tiles = ceil(rows / ROWS), rows fastest: neighbours share their panels.
//!
//! What shaped it, on lavapipe: a storage load is a loop over the lanes, so that loads are what a product waits for. All
//! lanes meet the same values of lhs: they load them together, each another row, and hand them on by shuffles from a lane
//! that is known when the kernel is compiled. The columns are a lane's own; eight of them are one load with 64-bit words.
//! That leaves 8 loads to 1024 multiply-adds. Within a loop a variable is written under the mask of its lanes, at the cost
//! of a load, a selection and a store: four steps of k an iteration share that. All of it must fit the instruction cache,
//! which 40 rows or eight steps do not. Sums and rows are named one by one: an array that is indexed would stay in memory.
//! No loop ends, and no branch turns, on values of params alone: Mesa 22.3 would specialise the shader for them, anew at
//! each bind.
//! History, 512 x 512 x 512 in CPU time, matmul_register/tall being 1: 32 rows 2.4, 16 rows and 16 columns a lane 2.1,
//! 24 rows 2.1, 16 rows 1.9, 40 rows 1.7, 8 rows 1.6. Twenty rows, which make 100 without a rest, 1.1 times as fast as 32 for
//! these, 0.94 for 500. Stores of 64-bit words gain nothing (1.00 to 1.01). Without shuffles, both sides in panels, tiles of 16 x 16 a lane and
//! 64-bit loads: 1.7.
//!
//! uses: activation, eight, grid, half, panel, rhs_panel
//! subgroups: 8
//! variants:
//!   wide32    ROWS=32 WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide20    ROWS=20 WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide16    ROWS=16 WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide8     ROWS=8  WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide4     ROWS=4  WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   plain32   ROWS=32 WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain20   ROWS=20 WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain16   ROWS=16 WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain8    ROWS=8  WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain4    ROWS=4  WORD=u32 BITS=32 NUMBER=vec4<f32>

override ACTIVATION: u32 = 0u;
override BY_ROWS: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;
const ROWS: u32 = 32u;
const BITS: u32 = 64u;
alias WORD = u64;
alias Eight = mat2x4<f32>;

struct Params {
    rows: u32,
    depth: u32,
    batch: u32,
    lhs_batch_stride: u32,
    lhs_row_stride: u32,
    lhs_k_stride: u32,
    rhs_batch_stride: u32,
    panel_start: u32,
    panels: u32,
    output_cols: u32,
    row_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

// Where this lane loads its share of eight rows, four k at a time. Rows past the end repeat the last ones; their sums are
// not written.
fn left_start(b: u32, row: u32, lane: u32) -> u32 {
    let first = b * params.lhs_batch_stride;
    if (BY_ROWS == 1u) {
        let fours = min(row + lane / 4u * 4u, u32(i32(params.rows) - 1) / 4u * 4u);
        return (first + lane % 4u * params.lhs_k_stride + fours) / 4u;
    }
    return (first + min(row + lane, u32(i32(params.rows) - 1)) * params.lhs_row_stride) / 4u;
}

// Four k of each of the eight rows.
fn row0(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.x, 0u), subgroupBroadcast(left.x, 1u), subgroupBroadcast(left.x, 2u), subgroupBroadcast(left.x, 3u));
    }
    return subgroupBroadcast(left, 0u);
}

fn row1(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.y, 0u), subgroupBroadcast(left.y, 1u), subgroupBroadcast(left.y, 2u), subgroupBroadcast(left.y, 3u));
    }
    return subgroupBroadcast(left, 1u);
}

fn row2(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.z, 0u), subgroupBroadcast(left.z, 1u), subgroupBroadcast(left.z, 2u), subgroupBroadcast(left.z, 3u));
    }
    return subgroupBroadcast(left, 2u);
}

fn row3(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.w, 0u), subgroupBroadcast(left.w, 1u), subgroupBroadcast(left.w, 2u), subgroupBroadcast(left.w, 3u));
    }
    return subgroupBroadcast(left, 3u);
}

fn row4(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.x, 4u), subgroupBroadcast(left.x, 5u), subgroupBroadcast(left.x, 6u), subgroupBroadcast(left.x, 7u));
    }
    return subgroupBroadcast(left, 4u);
}

fn row5(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.y, 4u), subgroupBroadcast(left.y, 5u), subgroupBroadcast(left.y, 6u), subgroupBroadcast(left.y, 7u));
    }
    return subgroupBroadcast(left, 5u);
}

fn row6(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.z, 4u), subgroupBroadcast(left.z, 5u), subgroupBroadcast(left.z, 6u), subgroupBroadcast(left.z, 7u));
    }
    return subgroupBroadcast(left, 6u);
}

fn row7(left: vec4<f32>) -> vec4<f32> {
    if (BY_ROWS == 1u) {
        return vec4<f32>(subgroupBroadcast(left.w, 4u), subgroupBroadcast(left.w, 5u), subgroupBroadcast(left.w, 6u), subgroupBroadcast(left.w, 7u));
    }
    return subgroupBroadcast(left, 7u);
}

fn choose(a: Eight, b: Eight, second: bool) -> Eight {
    return Eight(select(a[0], b[0], second), select(a[1], b[1], second));
}

fn pick(i: u32, a: Eight, b: Eight, c: Eight, d: Eight, e: Eight, f: Eight, g: Eight, h: Eight) -> Eight {
    let low = choose(choose(a, b, i == 1u), choose(c, d, i == 3u), i >= 2u);
    let high = choose(choose(e, f, i == 5u), choose(g, h, i == 7u), i >= 6u);
    return choose(low, high, i >= 4u);
}

// Four columns of a row of batch b, from col on; `offset` is what their bias adds.
fn put(b: u32, row: u32, col: u32, sum: vec4<f32>, offset: vec4<f32>) {
    if (row < params.rows && col < params.output_cols) {
        let at = ((b * params.rows + row) * params.output_cols + col) / 4u;
        var x = activate(ACTIVATION, sum + offset);
        if (row < params.rows * ((params.flags / 2u) & 1u)) {
            x += residual[at];
        }
        output[at] = x;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(group, groups);
    let panel_tiles = (params.panels + (THREADS - 1u)) / THREADS;
    let b = tile / params.row_tiles / panel_tiles;
    if (b >= params.batch) {
        return;
    }
    let row_first = tile % params.row_tiles * ROWS;
    let panel = tile / params.row_tiles % panel_tiles * THREADS + lane;
    var right_at = b * params.rhs_batch_stride + min(panel, u32(i32(params.panels) - 1)) * params.depth;
    let right_end = right_at + params.depth;
    var left_a = left_start(b, row_first, lane);
    var left_b = left_start(b, row_first + 8u, lane);
    var left_c = left_start(b, row_first + 16u, lane);
    var left_d = left_start(b, row_first + 24u, lane);
    let left_step = select(1u, params.lhs_k_stride, BY_ROWS == 1u);
    var sum0 = Eight();
    var sum1 = Eight();
    var sum2 = Eight();
    var sum3 = Eight();
    var sum4 = Eight();
    var sum5 = Eight();
    var sum6 = Eight();
    var sum7 = Eight();
    var sum8 = Eight();
    var sum9 = Eight();
    var sum10 = Eight();
    var sum11 = Eight();
    var sum12 = Eight();
    var sum13 = Eight();
    var sum14 = Eight();
    var sum15 = Eight();
    var sum16 = Eight();
    var sum17 = Eight();
    var sum18 = Eight();
    var sum19 = Eight();
    var sum20 = Eight();
    var sum21 = Eight();
    var sum22 = Eight();
    var sum23 = Eight();
    var sum24 = Eight();
    var sum25 = Eight();
    var sum26 = Eight();
    var sum27 = Eight();
    var sum28 = Eight();
    var sum29 = Eight();
    var sum30 = Eight();
    var sum31 = Eight();
    for (; right_at < right_end; right_at += 4u) {
        let right = panel_load(right_at);
        let rows_a = lhs[left_a];
        sum0 = add_products(sum0, row0(rows_a), right);
        sum1 = add_products(sum1, row1(rows_a), right);
        sum2 = add_products(sum2, row2(rows_a), right);
        sum3 = add_products(sum3, row3(rows_a), right);
        if (ROWS > 4u) {
            sum4 = add_products(sum4, row4(rows_a), right);
            sum5 = add_products(sum5, row5(rows_a), right);
            sum6 = add_products(sum6, row6(rows_a), right);
            sum7 = add_products(sum7, row7(rows_a), right);
        }
        left_a += left_step;
        if (ROWS > 8u) {
            let rows_b = lhs[left_b];
            sum8 = add_products(sum8, row0(rows_b), right);
            sum9 = add_products(sum9, row1(rows_b), right);
            sum10 = add_products(sum10, row2(rows_b), right);
            sum11 = add_products(sum11, row3(rows_b), right);
            sum12 = add_products(sum12, row4(rows_b), right);
            sum13 = add_products(sum13, row5(rows_b), right);
            sum14 = add_products(sum14, row6(rows_b), right);
            sum15 = add_products(sum15, row7(rows_b), right);
            left_b += left_step;
        }
        if (ROWS > 16u) {
            let rows_c = lhs[left_c];
            sum16 = add_products(sum16, row0(rows_c), right);
            sum17 = add_products(sum17, row1(rows_c), right);
            sum18 = add_products(sum18, row2(rows_c), right);
            sum19 = add_products(sum19, row3(rows_c), right);
            if (ROWS > 20u) {
                sum20 = add_products(sum20, row4(rows_c), right);
                sum21 = add_products(sum21, row5(rows_c), right);
                sum22 = add_products(sum22, row6(rows_c), right);
                sum23 = add_products(sum23, row7(rows_c), right);
            }
            left_c += left_step;
        }
        if (ROWS > 24u) {
            let rows_d = lhs[left_d];
            sum24 = add_products(sum24, row0(rows_d), right);
            sum25 = add_products(sum25, row1(rows_d), right);
            sum26 = add_products(sum26, row2(rows_d), right);
            sum27 = add_products(sum27, row3(rows_d), right);
            sum28 = add_products(sum28, row4(rows_d), right);
            sum29 = add_products(sum29, row5(rows_d), right);
            sum30 = add_products(sum30, row6(rows_d), right);
            sum31 = add_products(sum31, row7(rows_d), right);
            left_d += left_step;
        }
    }

    // Past the last panel of the piece nothing is written.
    let col = select(params.output_cols, (params.panel_start + panel) * 8u, panel < params.panels);
    var offset = Eight();
    // The bounds stand in for the flags: a branch may not turn on params alone.
    let biased = params.output_cols * (params.flags & 1u);
    if (col < biased) {
        offset[0] = bias[col / 4u];
    }
    if (col + 4u < biased) {
        offset[1] = bias[col / 4u + 1u];
    }
    let end = row_first + min(8u, ROWS);
    for (var row = row_first; row < end; row++) {
        let i = u32(i32(row) - i32(row_first));
        let x_a = pick(i, sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7);
        put(b, row, col, x_a[0], offset[0]);
        put(b, row, col + 4u, x_a[1], offset[1]);
        if (ROWS > 8u) {
            let x_b = pick(i, sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
            put(b, row + 8u, col, x_b[0], offset[0]);
            put(b, row + 8u, col + 4u, x_b[1], offset[1]);
        }
        // Of a third eight a tile of twenty rows has half.
        if (ROWS > 20u || (ROWS > 16u && i < 4u)) {
            let x_c = pick(i, sum16, sum17, sum18, sum19, sum20, sum21, sum22, sum23);
            put(b, row + 16u, col, x_c[0], offset[0]);
            put(b, row + 16u, col + 4u, x_c[1], offset[1]);
        }
        if (ROWS > 24u) {
            let x_d = pick(i, sum24, sum25, sum26, sum27, sum28, sum29, sum30, sum31);
            put(b, row + 24u, col, x_d[0], offset[0]);
            put(b, row + 24u, col + 4u, x_d[1], offset[1]);
        }
    }
}
