//! conv2d_grad_weight_rows
//!
//! output[part][oc][ic][kh][kw] = (what it held +) sum over the part's n,oh,ow of
//!     grad[n][oc][oh][ow] * input[n][g * group_in + ic][ih][iw]
//!     with g = oc / group_out, ih = oh * STRIDE + kh - before_h, iw likewise; 0 outside of the input
//!     for TAPS x TAPS taps
//!
//! Tensors and flags are those of conv2d_grad_weight_gather, which takes any window. Input and grad have a number of
//! elements that 4 divides. An image's outputs are cut into `strips` of strip_rows rows and these into col_tiles of COLS
//! columns; the units of all images, columns fastest, into `parts` runs of part_units, the last of which may be short or
//! empty.
//!
//! For software adapters. An invocation makes all taps of OCS channels of the output by ICS of the input, in registers,
//! without workgroup memory or barriers. It goes down a unit row by row and keeps the TAPS rows of each input channel
//! that the window meets, so that a row of the input is loaded once, as vec4; the rows with ALIGNED=1 find those of
//! grad at whole vectors: 4 divides out_w. A workgroup is 8 of them, in this order: tiles of oc, tiles of ic, groups,
//! parts.
//!
//! Columns past the last of a row count with gradients of 0, so that a NaN of the input may reach more taps than meet it.
//!
//! What shaped it, on lavapipe: see conv2d_register. Each row of inputs is a variable of its own, and each channel's sums:
//! arrays over these, in loops, are not unrolled and stay in memory, at a fifth of the speed. Beyond some hundred sums, or
//! 8 columns, it gets slower again, since code and values no longer fit. Rates against conv2d_register for the same
//! layer, a hundred images (CPU time): 1 to 20 channels of 28x28, 5x5, 3.4; 20 to 50 of 12x12, 5x5, 2.2; 20 to 20 of
//! 26x26, 3x3, 1.3; 50 to 50 of 10x10, 3x3, 1.1. conv2d_grad_weight_gather: 0.15 to 0.3.
//!
//! uses: grid, span, window
//! variants:
//!   five_aligned    TAPS=5 STRIDE=1 COLS=8 OCS=4 ICS=1 ALIGNED=1
//!   five            TAPS=5 STRIDE=1 COLS=8 OCS=4 ICS=1 ALIGNED=0
//!   five_narrow     TAPS=5 STRIDE=1 COLS=5 OCS=4 ICS=1 ALIGNED=0
//!   five_single     TAPS=5 STRIDE=1 COLS=8 OCS=1 ICS=1 ALIGNED=0
//!   four_half       TAPS=4 STRIDE=2 COLS=8 OCS=4 ICS=1 ALIGNED=0
//!   three_aligned   TAPS=3 STRIDE=1 COLS=8 OCS=4 ICS=2 ALIGNED=1
//!   three           TAPS=3 STRIDE=1 COLS=8 OCS=4 ICS=2 ALIGNED=0
//!   three_seven     TAPS=3 STRIDE=1 COLS=7 OCS=4 ICS=2 ALIGNED=0
//!   three_narrow    TAPS=3 STRIDE=1 COLS=5 OCS=4 ICS=2 ALIGNED=0
//!   three_thin      TAPS=3 STRIDE=1 COLS=8 OCS=4 ICS=1 ALIGNED=0
//!   three_single    TAPS=3 STRIDE=1 COLS=8 OCS=1 ICS=1 ALIGNED=0
//!   three_half      TAPS=3 STRIDE=2 COLS=8 OCS=4 ICS=2 ALIGNED=0
//!   half_single     TAPS=3 STRIDE=2 COLS=8 OCS=1 ICS=1 ALIGNED=0
//!   two_half        TAPS=2 STRIDE=2 COLS=8 OCS=4 ICS=3 ALIGNED=0
//!   one             TAPS=1 STRIDE=1 COLS=8 OCS=4 ICS=6 ALIGNED=0

const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const STRIDE: u32 = 1u;
const COLS: u32 = 8u;
const OCS: u32 = 4u;
const ICS: u32 = 1u;
const ALIGNED: u32 = 0u;
// Rows of inputs that are kept, at most six: those of an input channel follow each other.
const ROWS: u32 = ICS * TAPS;
const SPAN: u32 = (COLS - 1u) * STRIDE + TAPS;
// The vectors that hold COLS gradients, wherever in the first one they start.
const GRAD_BLOCKS: u32 = (COLS + 6u) / 4u;

struct Params {
    batch: u32,
    groups: u32,
    group_in: u32,
    group_out: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    before_h: u32,
    before_w: u32,
    parts: u32,
    part_units: u32,
    strips: u32,
    strip_rows: u32,
    col_tiles: u32,
    row_start: u32,
    rows: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

alias Grads = array<f32, COLS>;
alias Sums = array<f32, ROWS * TAPS>;

// The gradients of a row from ow on; 0 beside the row, and everywhere if the channel is none.
fn load_grads(g: ptr<function, Grads>, row_start: u32, inside: bool, ow: u32, blocks: u32) {
    let at = i32(row_start + ow);
    var y: array<f32, 4u * GRAD_BLOCKS>;
    for (var i = 0u; i < GRAD_BLOCKS; i++) {
        if (ALIGNED == 0u || 4u * i < COLS) {
            let block = grad[u32(clamp((at >> 2u) + i32(i), 0, i32(blocks) - 1))];
            y[4u * i] = block.x;
            y[4u * i + 1u] = block.y;
            y[4u * i + 2u] = block.z;
            y[4u * i + 3u] = block.w;
        }
    }
    if (ALIGNED == 0u) {
        let by_one = (at & 1) > 0;
        for (var i = 0u; i < COLS + 2u; i++) {
            y[i] = select(y[i], y[i + 1u], by_one);
        }
        let by_two = (at & 2) > 0;
        for (var i = 0u; i < COLS; i++) {
            y[i] = select(y[i], y[i + 2u], by_two);
        }
    }
    for (var i = 0u; i < COLS; i++) {
        (*g)[i] = select(0.0, y[i], inside && ow + i < params.out_w);
    }
}

// One channel's sums for the taps that meet a row of inputs, the `row`-th of those kept.
fn multiply(sum: ptr<function, Sums>, g: ptr<function, Grads>, x: ptr<function, array<f32, SPAN>>, row: u32) {
    for (var k = 0u; k < TAPS; k++) {
        var products = (*g)[0] * (*x)[k];
        for (var i = 1u; i < COLS; i++) {
            products += (*g)[i] * (*x)[i * STRIDE + k];
        }
        (*sum)[row * TAPS + k] += products;
    }
}

// The same for all rows.
fn accumulate(
    sum: ptr<function, Sums>,
    g: ptr<function, Grads>,
    x0: ptr<function, array<f32, SPAN>>,
    x1: ptr<function, array<f32, SPAN>>,
    x2: ptr<function, array<f32, SPAN>>,
    x3: ptr<function, array<f32, SPAN>>,
    x4: ptr<function, array<f32, SPAN>>,
    x5: ptr<function, array<f32, SPAN>>,
) {
    multiply(sum, g, x0, 0u);
    if (ROWS > 1u) {
        multiply(sum, g, x1, 1u);
    }
    if (ROWS > 2u) {
        multiply(sum, g, x2, 2u);
    }
    if (ROWS > 3u) {
        multiply(sum, g, x3, 3u);
    }
    if (ROWS > 4u) {
        multiply(sum, g, x4, 4u);
    }
    if (ROWS > 5u) {
        multiply(sum, g, x5, 5u);
    }
}

// Whether a row is the last of its input channel's.
fn is_last(row: u32) -> bool {
    return row < ROWS && row % TAPS == TAPS - 1u;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let oc_tiles = (params.group_out + (OCS - 1u)) / OCS;
    let ic_tiles = (params.group_in + (ICS - 1u)) / ICS;
    let oc = tile % oc_tiles * OCS;
    let ic = tile / oc_tiles % ic_tiles * ICS;
    let g = tile / oc_tiles / ic_tiles % params.groups;
    let part = tile / oc_tiles / ic_tiles / params.groups;
    if (part >= params.parts) {
        return;
    }
    let in_plane = params.in_h * params.in_w;
    let out_plane = params.out_h * params.out_w;
    let in_blocks = params.batch * params.groups * params.group_in * in_plane / 4u;
    let out_blocks = params.batch * params.groups * params.group_out * out_plane / 4u;
    // The last channel stands in for those past it, whose sums are not written.
    let ic_last = u32(i32(params.group_in) - 1);

    var x0: array<f32, SPAN>;
    var x1: array<f32, SPAN>;
    var x2: array<f32, SPAN>;
    var x3: array<f32, SPAN>;
    var x4: array<f32, SPAN>;
    var x5: array<f32, SPAN>;
    var grads: Grads;
    var sum0: Sums;
    var sum1: Sums;
    var sum2: Sums;
    var sum3: Sums;
    let end = min((part + 1u) * params.part_units, params.batch * params.strips * params.col_tiles);
    for (var unit = part * params.part_units; unit < end; unit++) {
        let ow = unit % params.col_tiles * COLS;
        let oh_first = unit / params.col_tiles % params.strips * params.strip_rows;
        let n = unit / params.col_tiles / params.strips;
        let oh_end = min(oh_first + params.strip_rows, params.out_h);
        let channel = (n * params.groups + g) * params.group_in;
        let iw = window_input(ow, 0u, STRIDE, 1u, params.before_w);
        var ih = window_input(oh_first, 0u, STRIDE, 1u, params.before_h);
        var row = (((n * params.groups + g) * params.group_out + oc) * params.out_h + oh_first) * params.out_w;
        var kept = 0u;
        for (var oh = oh_first; oh < oh_end; oh++) {
            for (; kept < TAPS; kept++) {
                let start = channel * in_plane + window_clamp(ih, params.in_h) * params.in_w;
                let inside = window_inside(ih, params.in_h);
                ih++;
                x0 = x1;
                x1 = x2;
                x2 = x3;
                x3 = x4;
                x4 = x5;
                if (is_last(0u)) {
                    load_span(&x0, start + ic * in_plane, inside, iw, params.in_w, in_blocks);
                }
                if (is_last(1u)) {
                    load_span(&x1, start + min(ic + 1u / TAPS, ic_last) * in_plane, inside, iw, params.in_w, in_blocks);
                }
                if (is_last(2u)) {
                    load_span(&x2, start + min(ic + 2u / TAPS, ic_last) * in_plane, inside, iw, params.in_w, in_blocks);
                }
                if (is_last(3u)) {
                    load_span(&x3, start + min(ic + 3u / TAPS, ic_last) * in_plane, inside, iw, params.in_w, in_blocks);
                }
                if (is_last(4u)) {
                    load_span(&x4, start + min(ic + 4u / TAPS, ic_last) * in_plane, inside, iw, params.in_w, in_blocks);
                }
                if (is_last(5u)) {
                    load_span(&x5, start + min(ic + 5u / TAPS, ic_last) * in_plane, inside, iw, params.in_w, in_blocks);
                }
            }
            kept = TAPS - STRIDE;
            load_grads(&grads, row, true, ow, out_blocks);
            accumulate(&sum0, &grads, &x0, &x1, &x2, &x3, &x4, &x5);
            if (OCS > 1u) {
                load_grads(&grads, row + out_plane, oc + 1u < params.group_out, ow, out_blocks);
                accumulate(&sum1, &grads, &x0, &x1, &x2, &x3, &x4, &x5);
            }
            if (OCS > 2u) {
                load_grads(&grads, row + 2u * out_plane, oc + 2u < params.group_out, ow, out_blocks);
                accumulate(&sum2, &grads, &x0, &x1, &x2, &x3, &x4, &x5);
            }
            if (OCS > 3u) {
                load_grads(&grads, row + 3u * out_plane, oc + 3u < params.group_out, ow, out_blocks);
                accumulate(&sum3, &grads, &x0, &x1, &x2, &x3, &x4, &x5);
            }
            row += params.out_w;
        }
    }
    // One channel after the other, since code for all of them takes long to compile.
    let term_first = ic * TAPS * TAPS;
    let depth = params.group_in * TAPS * TAPS;
    let adds = (params.flags & 1u) > 0u;
    let oc_end = min(oc + OCS, params.group_out);
    for (var channel = oc; channel < oc_end; channel++) {
        let c = u32(i32(channel) - i32(oc));
        let row = i32((part * params.groups + g) * params.group_out + channel) - i32(params.row_start);
        if (window_inside(row, params.rows)) {
            for (var i = 0u; i < ROWS * TAPS; i++) {
                let low = select(sum0[i], sum1[i], c == 1u);
                let sum = select(low, select(sum2[i], sum3[i], c == 3u), c >= 2u);
                if (term_first + i < depth) {
                    let at = u32(row) * depth + term_first + i;
                    output[at] = sum + select(0.0, output[at], adds);
                }
            }
        }
    }
}
