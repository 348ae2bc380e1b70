//! conv2d_block
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     for TAPS x TAPS taps of stride 1, with g = oc / group_out, ih = oh + kh - before_h, iw likewise; 0 outside of
//!     the input
//!
//! Tensors, packed weight, flags and RESIDUAL are those of conv2d_register, which takes any window. The input has a number
//! of elements that 4 divides.
//!
//! For software adapters. An invocation makes ROWS rows, four, of COLS outputs for VECS * 4 channels, in registers,
//! without workgroup memory or barriers. At each step it takes one row of the taps of one input channel: the four rows of
//! inputs that meet it are those of the step before, moved up by one, so that one row is loaded, as vec4, and a vector of
//! weights for each tap serves them all. A workgroup is 8 of them, in this order: oc_lanes neighbouring tiles of channels,
//! col_tiles of a row, row_tiles, images, and the other channels, groups last. oc_lanes divides the tiles of all channels,
//! groups * ceil(group_out / (VECS * 4)).
//!
//! With FULL=1 the padding is TAPS - 1 on either side of a row, as in the gradient of a convolution without any, and a
//! row of the input has at most COLS - (TAPS - 1) elements: one tile makes all columns, and no product meets the padding.
//!
//! What shaped it, on lavapipe: see conv2d_register, and conv2d_grad_weight_rows on why each row is a variable of its own.
//! Rates against conv2d_register (CPU time), batches of 20 and 100, 5x5: 1 to 20 channels of 28x28, 1.7; 20 to 50 of
//! 12x12, 2.3; 3 to 3 of 32x32, 2.2; 3 to 16 of 14x14, 1.3; 50 to 20 of 8x8, padded by 4, 4.3. 3x3: 50 to 50 of 10x10,
//! 1.45; 20 to 50 of 12x12, 1.15; 50 to 20 of 10x10, padded by 2, 1.9; of rows of 14 and more, the same.
//!
//! uses: activation, grid, span, window
//! variants:
//!   five8         TAPS=5 COLS=8  ROWS=4 VECS=1 FULL=0
//!   five7         TAPS=5 COLS=7  ROWS=4 VECS=1 FULL=0
//!   five6         TAPS=5 COLS=6  ROWS=4 VECS=1 FULL=0
//!   five5         TAPS=5 COLS=5  ROWS=4 VECS=1 FULL=0
//!   five_full8    TAPS=5 COLS=12 ROWS=4 VECS=1 FULL=1
//!   five_full10   TAPS=5 COLS=14 ROWS=4 VECS=1 FULL=1
//!   three8        TAPS=3 COLS=8  ROWS=4 VECS=2 FULL=0
//!   three7        TAPS=3 COLS=7  ROWS=4 VECS=2 FULL=0
//!   three6        TAPS=3 COLS=6  ROWS=4 VECS=2 FULL=0
//!   three5        TAPS=3 COLS=5  ROWS=4 VECS=2 FULL=0
//!   three_full8   TAPS=3 COLS=10 ROWS=4 VECS=2 FULL=1
//!   three_full10  TAPS=3 COLS=12 ROWS=4 VECS=2 FULL=1

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const COLS: u32 = 8u;
const ROWS: u32 = 4u;
const VECS: u32 = 1u;
const FULL: u32 = 0u;
// Elements of a row of the input that meet a row of outputs.
const SPAN: u32 = COLS + (TAPS - 1u) - FULL * 2u * (TAPS - 1u);

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
    col_tiles: u32,
    row_tiles: u32,
    oc_lanes: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

alias Sums = array<vec4<f32>, COLS>;
alias Taps = array<vec4<f32>, TAPS>;

// Four channels of a row of outputs, by the row of inputs that meets the present row of taps.
fn multiply(sum: ptr<function, Sums>, w: ptr<function, Taps>, x: ptr<function, array<f32, SPAN>>) {
    if (FULL == 1u) {
        for (var i = 0u; i < SPAN; i++) {
            for (var k = 0u; k < TAPS; k++) {
                (*sum)[u32(i32(i + (TAPS - 1u)) - i32(k))] += (*w)[k] * (*x)[i];
            }
        }
    } else {
        for (var i = 0u; i < COLS; i++) {
            var products = (*w)[0] * (*x)[i];
            for (var k = 1u; k < TAPS; k++) {
                products += (*w)[k] * (*x)[i + k];
            }
            (*sum)[i] += products;
        }
    }
}

// The vectors of a row of taps for four channels.
fn load_taps(w: ptr<function, Taps>, at: u32) {
    for (var k = 0u; k < TAPS; k++) {
        (*w)[k] = weight[at + 2u * k];
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let image_tiles = params.col_tiles * params.row_tiles;
    let pixel_tiles = image_tiles * params.batch;
    let channel_tiles = (params.group_out + (VECS * 4u - 1u)) / (VECS * 4u);
    if (tile >= pixel_tiles * channel_tiles * params.groups) {
        return;
    }
    let pixel_tile = tile / params.oc_lanes % pixel_tiles;
    let channel_tile = tile / params.oc_lanes / pixel_tiles * params.oc_lanes + tile % params.oc_lanes;
    let g = channel_tile / channel_tiles;
    let oc_first = channel_tile % channel_tiles * VECS * 4u;
    let ow_first = pixel_tile % params.col_tiles * COLS;
    let oh_first = pixel_tile / params.col_tiles % params.row_tiles * ROWS;
    let n = pixel_tile / image_tiles;

    let depth = params.group_in * TAPS * TAPS;
    let panels = (params.group_out + 7u) / 8u;
    // The channels of a second vector are the other half of the same panel.
    var at = (g * panels + oc_first / 8u) * depth * 2u + oc_first / 4u % 2u;
    let end = at + depth * 2u;
    let plane = params.in_h * params.in_w;
    let blocks = params.batch * params.groups * params.group_in * plane / 4u;
    let iw = window_input(ow_first, FULL * (TAPS - 1u), 1u, 1u, params.before_w);
    let ih_first = window_input(oh_first, 0u, 1u, 1u, params.before_h);
    var ih = ih_first;
    var channel = (n * params.groups + g) * params.group_in * plane;
    var kh = 0u;
    // Rows of inputs that the step before has left.
    var kept = 0u;
    var x0: array<f32, SPAN>;
    var x1: array<f32, SPAN>;
    var x2: array<f32, SPAN>;
    var x3: array<f32, SPAN>;
    var w: Taps;
    var sum0: Sums;
    var sum1: Sums;
    var sum2: Sums;
    var sum3: Sums;
    var sum4: Sums;
    var sum5: Sums;
    var sum6: Sums;
    var sum7: Sums;
    for (; at < end; at += TAPS * 2u) {
        for (; kept < ROWS; kept++) {
            x0 = x1;
            x1 = x2;
            x2 = x3;
            let row = channel + window_clamp(ih, params.in_h) * params.in_w;
            load_span(&x3, row, window_inside(ih, params.in_h), iw, params.in_w, blocks);
            ih++;
        }
        load_taps(&w, at);
        multiply(&sum0, &w, &x0);
        multiply(&sum1, &w, &x1);
        multiply(&sum2, &w, &x2);
        multiply(&sum3, &w, &x3);
        if (VECS > 1u) {
            load_taps(&w, at + 1u);
            multiply(&sum4, &w, &x0);
            multiply(&sum5, &w, &x1);
            multiply(&sum6, &w, &x2);
            multiply(&sum7, &w, &x3);
        }
        kh++;
        let channel_done = kh == TAPS;
        kh = select(kh, 0u, channel_done);
        kept = select(ROWS - 1u, 0u, channel_done);
        ih = select(ih, ih_first, channel_done);
        channel += select(0u, plane, channel_done);
    }

    let ow_end = min(ow_first + COLS, params.out_w);
    let oh_end = min(oh_first + ROWS, params.out_h);
    let oc_end = min(oc_first + VECS * 4u, params.group_out);
    let bias_end = params.group_out * (params.flags & 1u);
    for (var oh = oh_first; oh < oh_end; oh++) {
        let r = oh % ROWS;
        var low: Sums;
        var high: Sums;
        for (var i = 0u; i < COLS; i++) {
            low[i] = select(select(sum0[i], sum1[i], r == 1u), select(sum2[i], sum3[i], r == 3u), r >= 2u);
            high[i] = select(select(sum4[i], sum5[i], r == 1u), select(sum6[i], sum7[i], r == 3u), r >= 2u);
        }
        for (var oc = oc_first; oc < oc_end; oc++) {
            let out_channel = g * params.group_out + oc;
            let row = ((n * params.groups * params.group_out + out_channel) * params.out_h + oh) * params.out_w;
            var added = 0.0;
            if (oc < bias_end) {
                added = bias[out_channel];
            }
            let c = oc % 4u;
            let second = VECS > 1u && oc >= oc_first + 4u;
            var y: array<f32, COLS>;
            for (var i = 0u; i < COLS; i++) {
                let four = select(low[i], high[i], second);
                let one = select(select(four.x, four.y, c == 1u), select(four.z, four.w, c == 3u), c >= 2u);
                y[i] = activate(ACTIVATION, one + added);
            }
            if (RESIDUAL == 1u) {
                for (var i = 0u; i < COLS; i++) {
                    if (ow_first + i < ow_end) {
                        y[i] += residual[row + ow_first + i];
                    }
                }
            }
            for (var i = 0u; i < COLS; i++) {
                if (ow_first + i < ow_end) {
                    output[row + ow_first + i] = y[i];
                }
            }
        }
    }
}
