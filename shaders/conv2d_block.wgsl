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
//! For software adapters. An invocation makes four rows of COLS outputs for four channels, in registers, without workgroup
//! memory or barriers; ROWS is 4, and only that. At each step it takes one row of the taps of one input channel: the four rows of inputs that meet
//! it are those of the step before, moved up by one, so that one row is loaded, as vec4, and a vector of weights for each
//! tap serves them all. A workgroup is 8 of them, in this order: oc_lanes neighbouring tiles of channels, col_tiles of a
//! row, row_tiles, images, and the other channels, groups last. oc_lanes divides the tiles of all channels, groups *
//! ceil(group_out / 4).
//!
//! What shaped it, on lavapipe: see conv2d_register, and conv2d_grad_weight_rows on why each row is a variable of its own.
//! Rates against conv2d_register (CPU time), 5x5, batches of 20 and 100: 1 to 20 channels of 28x28, 1.7; 20 to 50 of 12x12,
//! 2.2; 3 to 3 of 32x32, 2.2; 3 to 16 of 14x14, 1.3; 50 to 20 of 8x8, padded by 4, 2.3. With windows of 3x3 it is no
//! faster.
//!
//! uses: activation, grid, span, window
//! variants:
//!   five8   TAPS=5 COLS=8 ROWS=4
//!   five7   TAPS=5 COLS=7 ROWS=4
//!   five6   TAPS=5 COLS=6 ROWS=4
//!   five5   TAPS=5 COLS=5 ROWS=4

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const COLS: u32 = 8u;
const ROWS: u32 = 4u;
const SPAN: u32 = COLS - 1u + TAPS;

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

// A row of outputs, by the row of inputs that meets the present row of taps.
fn multiply(sum: ptr<function, Sums>, w: ptr<function, Taps>, x: ptr<function, array<f32, SPAN>>) {
    for (var i = 0u; i < COLS; i++) {
        var products = (*w)[0] * (*x)[i];
        for (var k = 1u; k < TAPS; k++) {
            products += (*w)[k] * (*x)[i + k];
        }
        (*sum)[i] += products;
    }
}

// Where the tile's first output lies; `channel` counts those of all images and groups.
struct Place {
    channel: u32,
    oc: u32,
    ow: u32,
}

fn put(sum: ptr<function, Sums>, place: Place, added: vec4<f32>, oh: u32) {
    let ends = min(params.out_w, place.ow + COLS);
    let oc_end = select(0u, params.group_out, oh < params.out_h);
    for (var c = 0u; c < 4u; c++) {
        let row = ((place.channel + c) * params.out_h + oh) * params.out_w;
        if (place.oc + c < oc_end) {
            var y: array<f32, COLS>;
            for (var i = 0u; i < COLS; i++) {
                let four = (*sum)[i] + added;
                let one = select(select(four.x, four.y, c == 1u), select(four.z, four.w, c == 3u), c >= 2u);
                y[i] = activate(ACTIVATION, one);
            }
            if (RESIDUAL == 1u) {
                for (var i = 0u; i < COLS; i++) {
                    if (place.ow + i < ends) {
                        y[i] += residual[row + place.ow + i];
                    }
                }
            }
            for (var i = 0u; i < COLS; i++) {
                if (place.ow + i < ends) {
                    output[row + place.ow + i] = y[i];
                }
            }
        }
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
    let channel_tiles = (params.group_out + 3u) / 4u;
    if (tile >= pixel_tiles * channel_tiles * params.groups) {
        return;
    }
    let pixel_tile = tile / params.oc_lanes % pixel_tiles;
    let channel_tile = tile / params.oc_lanes / pixel_tiles * params.oc_lanes + tile % params.oc_lanes;
    let g = channel_tile / channel_tiles;
    let oc = channel_tile % channel_tiles * 4u;
    let ow = pixel_tile % params.col_tiles * COLS;
    let oh = pixel_tile / params.col_tiles % params.row_tiles * ROWS;
    let n = pixel_tile / image_tiles;

    let depth = params.group_in * TAPS * TAPS;
    let panels = (params.group_out + 7u) / 8u;
    var at = (g * panels + oc / 8u) * depth * 2u + oc / 4u % 2u;
    let end = at + depth * 2u;
    let plane = params.in_h * params.in_w;
    let blocks = params.batch * params.groups * params.group_in * plane / 4u;
    let iw = window_input(ow, 0u, 1u, 1u, params.before_w);
    let ih_first = window_input(oh, 0u, 1u, 1u, params.before_h);
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
    for (; at < end; at += TAPS * 2u) {
        for (; kept < ROWS; kept++) {
            x0 = x1;
            x1 = x2;
            x2 = x3;
            let row = channel + window_clamp(ih, params.in_h) * params.in_w;
            load_span(&x3, row, window_inside(ih, params.in_h), iw, params.in_w, blocks);
            ih++;
        }
        for (var k = 0u; k < TAPS; k++) {
            w[k] = weight[at + 2u * k];
        }
        multiply(&sum0, &w, &x0);
        multiply(&sum1, &w, &x1);
        multiply(&sum2, &w, &x2);
        multiply(&sum3, &w, &x3);
        kh++;
        let channel_done = kh == TAPS;
        kh = select(kh, 0u, channel_done);
        kept = select(ROWS - 1u, 0u, channel_done);
        ih = select(ih, ih_first, channel_done);
        channel += select(0u, plane, channel_done);
    }

    let first = g * params.group_out + oc;
    let bias_end = params.group_out * (params.flags & 1u);
    var added = vec4<f32>();
    if (oc < bias_end) {
        let last = u32(i32((g + 1u) * params.group_out) - 1);
        added = vec4<f32>(bias[first], bias[min(first + 1u, last)], bias[min(first + 2u, last)], bias[min(first + 3u, last)]);
    }
    let place = Place(n * params.groups * params.group_out + first, oc, ow);
    put(&sum0, place, added, oh);
    put(&sum1, place, added, oh + 1u);
    put(&sum2, place, added, oh + 2u);
    put(&sum3, place, added, oh + 3u);
}
