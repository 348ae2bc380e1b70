//! matmul_lanes_rows
//!
//! output[b][row][col] = act(sum_k lhs[b][row][k] * rhs[b][k][col] + bias[col]) + residual[b][row][col]
//!
//! Both sides are packed by matmul_pack: lhs as [batch][lhs_panels][k][8], eight rows in a panel, and rhs as
//! [batch][panel][k][8], eight columns; zero past the last ones. 4 divides depth. Batch strides count eights (0: the batch
//! shares that side). The bound piece of rhs holds `panels` panels, the first of which is panel panel_start of the output.
//! output and residual are [batch][rows][8 output_panels]; bias has 8 output_panels elements: columns are a multiple of 8.
//! flags: 1 bias, 2 residual; a buffer whose bit is clear is bound but never read.
//!
//! matmul_lanes with the sides' parts exchanged, for products of fewer columns than 64 lanes' panels would have, or of a
//! number of them that those divide badly, as in Winograd convolutions of small maps. A workgroup of eight lanes makes
//! 64 x COLS outputs in registers, 8 x COLS a lane, which has the rows of a panel for itself; the columns are loaded by all
//! lanes together and handed on by shuffles. Workgroups: batch * ceil(lhs_panels / 8) * col_tiles, col_tiles = ceil(panels /
//! (COLS / 8)), columns fastest: neighbours share their rows.
//!
//! matmul_lanes says what shaped it. History, in CPU time, matmul_lanes/wide32 being 1: 12 products of 512 x 512 x 16 2.9,
//! of 256 x 256 x 200 1.15, of 512 x 512 x 56 1.03, 8 of 64 x 64 x 3136 0.83; 512 x 512 x 512 1.05.
//!
//! uses: activation, eight, grid, panel
//! subgroups: 8
//! variants:
//!   wide32    COLS=32 WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide16    COLS=16 WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   wide8     COLS=8  WORD=u64 BITS=64 NUMBER=vec4<f32>
//!   plain32   COLS=32 WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain16   COLS=16 WORD=u32 BITS=32 NUMBER=vec4<f32>
//!   plain8    COLS=8  WORD=u32 BITS=32 NUMBER=vec4<f32>

override ACTIVATION: u32 = 0u;
const THREADS: u32 = 8u;
const COLS: u32 = 32u;
const PANELS: u32 = COLS / 8u;
const BITS: u32 = 64u;
alias WORD = u64;
alias Eight = mat2x4<f32>;

struct Params {
    rows: u32,
    depth: u32,
    batch: u32,
    lhs_batch_stride: u32,
    lhs_panels: u32,
    rhs_batch_stride: u32,
    panel_start: u32,
    panels: u32,
    output_panels: u32,
    col_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lhs: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<WORD>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<WORD>>;

// Where this lane loads its share of a panel of the right side, four k at a time: half of the columns of one of them. Panels
// past the end repeat the last one; their sums are not written.
fn right_start(b: u32, panel: u32, lane: u32) -> u32 {
    let columns = min(panel, u32(i32(params.panels) - 1)) * params.depth;
    return (b * params.rhs_batch_stride + columns) * 2u + lane;
}

fn col0(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.x, 0u), subgroupBroadcast(right.x, 2u), subgroupBroadcast(right.x, 4u), subgroupBroadcast(right.x, 6u));
}

fn col1(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.y, 0u), subgroupBroadcast(right.y, 2u), subgroupBroadcast(right.y, 4u), subgroupBroadcast(right.y, 6u));
}

fn col2(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.z, 0u), subgroupBroadcast(right.z, 2u), subgroupBroadcast(right.z, 4u), subgroupBroadcast(right.z, 6u));
}

fn col3(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.w, 0u), subgroupBroadcast(right.w, 2u), subgroupBroadcast(right.w, 4u), subgroupBroadcast(right.w, 6u));
}

fn col4(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.x, 1u), subgroupBroadcast(right.x, 3u), subgroupBroadcast(right.x, 5u), subgroupBroadcast(right.x, 7u));
}

fn col5(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.y, 1u), subgroupBroadcast(right.y, 3u), subgroupBroadcast(right.y, 5u), subgroupBroadcast(right.y, 7u));
}

fn col6(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.z, 1u), subgroupBroadcast(right.z, 3u), subgroupBroadcast(right.z, 5u), subgroupBroadcast(right.z, 7u));
}

fn col7(right: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(subgroupBroadcast(right.w, 1u), subgroupBroadcast(right.w, 3u), subgroupBroadcast(right.w, 5u), subgroupBroadcast(right.w, 7u));
}

// Four k of a panel of rows.
fn left_load(at: u32) -> Panel {
    return Panel(left_row(at), left_row(at + 1u), left_row(at + 2u), left_row(at + 3u));
}

fn left_row(at: u32) -> Eight {
    return eight(lhs[at * STEP], lhs[at * STEP + LAST]);
}

fn pick(i: u32, sum: Eight) -> f32 {
    return select(sum[0], sum[1], i >= 4u)[i % 4u];
}

fn turned(i: u32, a: Eight, b: Eight, c: Eight, d: Eight, e: Eight, f: Eight, g: Eight, h: Eight) -> Eight {
    return Eight(pick(i, a), pick(i, b), pick(i, c), pick(i, d), pick(i, e), pick(i, f), pick(i, g), pick(i, h));
}

// Eight columns of a row of batch b, where they are in the bound piece.
fn put(b: u32, row: u32, panel: u32, sum: Eight) {
    if (row < params.rows && panel < params.panels) {
        let column = params.panel_start + panel;
        let at = (b * params.rows + row) * params.output_panels + column;
        var x = sum;
        // The bounds stand in for the flags: a branch may not turn on params alone.
        if (row < params.rows * (params.flags & 1u)) {
            x += eight(bias[column * STEP], bias[column * STEP + LAST]);
        }
        x = Eight(activate(ACTIVATION, x[0]), activate(ACTIVATION, x[1]));
        if (row < params.rows * ((params.flags / 2u) & 1u)) {
            x += eight(residual[at * STEP], residual[at * STEP + LAST]);
        }
        if (BITS == 64u) {
            let low = vec4<WORD>(bitcast<vec4<u32>>(vec4<f32>(x[0].x, x[0].z, x[1].x, x[1].z)));
            let high = vec4<WORD>(bitcast<vec4<u32>>(vec4<f32>(x[0].y, x[0].w, x[1].y, x[1].w)));
            output[at] = low | (high << vec4<u32>(BITS / 2u));
        } else {
            output[at * STEP] = vec4<WORD>(bitcast<vec4<u32>>(x[0]));
            output[at * STEP + LAST] = vec4<WORD>(bitcast<vec4<u32>>(x[1]));
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(group, groups);
    let row_tiles = (params.lhs_panels + (THREADS - 1u)) / THREADS;
    let b = tile / params.col_tiles / row_tiles;
    if (b >= params.batch) {
        return;
    }
    let panel = tile % params.col_tiles * PANELS;
    let row_panel = tile / params.col_tiles % row_tiles * THREADS + lane;
    var left_at = b * params.lhs_batch_stride + min(row_panel, u32(i32(params.lhs_panels) - 1)) * params.depth;
    let left_end = left_at + params.depth;
    var right_a = right_start(b, panel, lane);
    var right_b = right_start(b, panel + 1u, lane);
    var right_c = right_start(b, panel + 2u, lane);
    var right_d = right_start(b, panel + 3u, lane);
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
    for (; left_at < left_end; left_at += 4u) {
        let left = left_load(left_at);
        let cols_a = rhs[right_a];
        sum0 = add_products(sum0, col0(cols_a), left);
        sum1 = add_products(sum1, col1(cols_a), left);
        sum2 = add_products(sum2, col2(cols_a), left);
        sum3 = add_products(sum3, col3(cols_a), left);
        sum4 = add_products(sum4, col4(cols_a), left);
        sum5 = add_products(sum5, col5(cols_a), left);
        sum6 = add_products(sum6, col6(cols_a), left);
        sum7 = add_products(sum7, col7(cols_a), left);
        right_a += 8u;
        if (COLS > 8u) {
            let cols_b = rhs[right_b];
            sum8 = add_products(sum8, col0(cols_b), left);
            sum9 = add_products(sum9, col1(cols_b), left);
            sum10 = add_products(sum10, col2(cols_b), left);
            sum11 = add_products(sum11, col3(cols_b), left);
            sum12 = add_products(sum12, col4(cols_b), left);
            sum13 = add_products(sum13, col5(cols_b), left);
            sum14 = add_products(sum14, col6(cols_b), left);
            sum15 = add_products(sum15, col7(cols_b), left);
            right_b += 8u;
        }
        if (COLS > 16u) {
            let cols_c = rhs[right_c];
            sum16 = add_products(sum16, col0(cols_c), left);
            sum17 = add_products(sum17, col1(cols_c), left);
            sum18 = add_products(sum18, col2(cols_c), left);
            sum19 = add_products(sum19, col3(cols_c), left);
            sum20 = add_products(sum20, col4(cols_c), left);
            sum21 = add_products(sum21, col5(cols_c), left);
            sum22 = add_products(sum22, col6(cols_c), left);
            sum23 = add_products(sum23, col7(cols_c), left);
            right_c += 8u;
            let cols_d = rhs[right_d];
            sum24 = add_products(sum24, col0(cols_d), left);
            sum25 = add_products(sum25, col1(cols_d), left);
            sum26 = add_products(sum26, col2(cols_d), left);
            sum27 = add_products(sum27, col3(cols_d), left);
            sum28 = add_products(sum28, col4(cols_d), left);
            sum29 = add_products(sum29, col5(cols_d), left);
            sum30 = add_products(sum30, col6(cols_d), left);
            sum31 = add_products(sum31, col7(cols_d), left);
            right_d += 8u;
        }
    }

    let row_first = row_panel * 8u;
    let row_end = row_first + 8u;
    for (var row = row_first; row < row_end; row++) {
        let i = row % 8u;
        let x_a = turned(i, sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7);
        put(b, row, panel, x_a);
        if (COLS > 8u) {
            let x_b = turned(i, sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
            put(b, row, panel + 1u, x_b);
        }
        if (COLS > 16u) {
            let x_c = turned(i, sum16, sum17, sum18, sum19, sum20, sum21, sum22, sum23);
            put(b, row, panel + 2u, x_c);
            let x_d = turned(i, sum24, sum25, sum26, sum27, sum28, sum29, sum30, sum31);
            put(b, row, panel + 3u, x_d);
        }
    }
}
