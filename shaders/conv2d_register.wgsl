//! conv2d_register
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! input is [batch][groups * group_in][in_h][in_w], output and residual [batch][groups * group_out][out_h][out_w], bias
//! one number a channel. weight is packed by matmul_pack: [group][panel][group_in][kernel_h][kernel_w][8], eight output
//! channels as two vec4 for each tap, zero past the last channel. flags: 1 bias. RESIDUAL: 1 adds the residual. A
//! buffer that is left out is bound but never read.
//!
//! For software adapters. An invocation makes PIXELS outputs of a row, pixel_step apart, for VECS * 4 channels in
//! registers, without workgroup memory or barriers. A workgroup is 8 of them, in this order: oc_lanes neighbouring
//! tiles of channels, the tiles of a row, row_tiles for each of the pixel_step phases, rows, images, and the other
//! channels, groups last. oc_lanes divides the tiles of all channels, groups * ceil(group_out / (VECS * 4)).
//!
//! The rows with WIDE=4 load the input as vec4, whole blocks whatever their alignment, and need a number of elements
//! that 4 divides, kernel_w = TAPS, stride_w = STRIDE, dilation_w = 1 where there are three taps, and pixel_step and
//! tap_step of 1. The others load one by one, from any window. With TAPS=3 they take a window row three taps at a time,
//! out of one span of inputs: kernel_w is a multiple of 3, dilation_w is pixel_step * stride_w, tap_step is 1. With
//! TAPS=1 neighbours hand their inputs on: when tap_step * dilation_w = pixel_step * stride_w, a tap finds all its
//! inputs but one where the tap before it had those of the next pixel; so taps that are tap_step apart follow each
//! other. tap_step = kernel_w is legal with any pixel_step, and loads all anew for each tap. A 1x1 convolution of
//! stride 1 without padding is one row of in_h * in_w pixels.
//!
//! What shaped it, on lavapipe: a load takes the time of some twenty multiply-adds, and a step of the loop that of ten
//! loads besides. So a step does as much as fits: beyond 16 x 16 or 28 x 8 sums of three taps, or 28 x 16 of one, code
//! and sums no longer do. Each level of loops around the sums costs a copy of them, so there is one loop over all taps;
//! a vector of weights is used on all pixels before the next is loaded; a branch that is not taken costs half of what
//! it holds, hence RESIDUAL; an integer division in the loop costs as much as ten loads; loops of more than some thirty
//! iterations or 800 instructions are not unrolled, which is ruin. Maps are often 7, 14, 28 .. pixels wide, hence the
//! tiles of 14 and 28. History, 3x3 at 64 channels of 112x112 and at 512 of 28x28, as rates against matmul_register at
//! 512^3 (CPU time): nested loops over channels, rows and taps 0.80 0.74; one tap a step, inputs handed on 0.99 0.92;
//! three taps a step 1.08 1.06; one loop 1.34 1.33; inputs as vec4 1.42 1.48; residual compiled out, less to do in a
//! step 1.6 1.68. First dispatches take 50 to 200 ms.
//!
//! uses: activation, grid, span, window
//! variants:
//!   row14_x3   PIXELS=14 VECS=4 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   row16_x3   PIXELS=16 VECS=4 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   row8_x3    PIXELS=8 VECS=4 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   thin28_x3  PIXELS=28 VECS=2 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   thin14_x3  PIXELS=14 VECS=2 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   slim28_x3  PIXELS=28 VECS=1 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   slim14_x3  PIXELS=14 VECS=1 TAPS=3 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   half_x3    PIXELS=14 VECS=4 TAPS=3 STRIDE=2 WIDE=4 INPUT=vec4<f32>
//!   row24_x1   PIXELS=24 VECS=4 TAPS=1 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   row8_x1    PIXELS=8 VECS=4 TAPS=1 STRIDE=1 WIDE=4 INPUT=vec4<f32>
//!   any14_x3   PIXELS=14 VECS=4 TAPS=3 STRIDE=1 WIDE=1 INPUT=f32
//!   any28      PIXELS=28 VECS=4 TAPS=1 STRIDE=1 WIDE=1 INPUT=f32
//!   any14      PIXELS=14 VECS=4 TAPS=1 STRIDE=1 WIDE=1 INPUT=f32
//!   any8       PIXELS=8 VECS=4 TAPS=1 STRIDE=1 WIDE=1 INPUT=f32
//!   thin28     PIXELS=28 VECS=2 TAPS=1 STRIDE=1 WIDE=1 INPUT=f32
//!   slim28     PIXELS=28 VECS=1 TAPS=1 STRIDE=1 WIDE=1 INPUT=f32

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const PIXELS: u32 = 16u;
const VECS: u32 = 4u;
const TAPS: u32 = 3u;
const WIDE: u32 = 4u;
const STRIDE: u32 = 1u;
alias INPUT = vec4<f32>;
const LAST: u32 = PIXELS - 1u;
// Where the second and third of three taps find a pixel's inputs. (With one tap they are not used.)
const SECOND: u32 = TAPS / 2u;
const THIRD: u32 = TAPS / 2u * 2u;
const SPAN: u32 = LAST * STRIDE + TAPS;

struct Params {
    batch: u32,
    groups: u32,
    group_in: u32,
    group_out: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    before_h: u32,
    before_w: u32,
    pixel_step: u32,
    tap_step: u32,
    row_tiles: u32,
    oc_lanes: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<INPUT>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

alias Sums = array<vec4<f32>, PIXELS>;

// A row of a channel: where it starts, and whether it is one of the input.
struct Row {
    start: u32,
    inside: bool,
}

struct Division {
    quotient: u32,
    rest: u32,
}

// A division is a hundred multiplications: the rest is not worth a second one.
fn divide(a: u32, b: u32) -> Division {
    let quotient = a / b;
    return Division(quotient, u32(i32(a) - i32(quotient * b)));
}

// One number of a row. The conversion is for the sake of the other type that INPUT may have.
fn load(row: Row, iw: i32) -> f32 {
    let x = vec4<f32>(input[row.start + window_clamp(iw, params.in_w)]).x;
    return select(0.0, x, row.inside && window_inside(iw, params.in_w));
}

// Four channels of all pixels; `at` is where their weights for the first tap lie.
fn multiply(sum: ptr<function, Sums>, x: ptr<function, array<f32, SPAN>>, at: u32) {
    let w0 = weight[at];
    if (TAPS == 1u) {
        for (var i = 0u; i < PIXELS; i++) {
            (*sum)[i] += w0 * (*x)[i * STRIDE];
        }
    } else {
        let w1 = weight[at + 2u];
        let w2 = weight[at + 4u];
        // In halves: as one, 28 pixels would be too many to unroll.
        for (var i = 0u; i < PIXELS / 2u; i++) {
            (*sum)[i] += w0 * (*x)[i * STRIDE] + w1 * (*x)[i * STRIDE + SECOND] + w2 * (*x)[i * STRIDE + THIRD];
        }
        for (var i = PIXELS / 2u; i < PIXELS; i++) {
            (*sum)[i] += w0 * (*x)[i * STRIDE] + w1 * (*x)[i * STRIDE + SECOND] + w2 * (*x)[i * STRIDE + THIRD];
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
    let image_tiles = params.row_tiles * params.pixel_step * params.out_h;
    let channel_tiles = (params.group_out + (VECS * 4u - 1u)) / (VECS * 4u);
    if (tile >= image_tiles * params.batch * channel_tiles * params.groups) {
        return;
    }
    // Neighbours: oc_lanes tiles of channels, then all tiles of pixels, then the other channels.
    let lanes = divide(tile, params.oc_lanes);
    let pixel_tile = divide(lanes.quotient, image_tiles * params.batch);
    let channel_tile = divide(pixel_tile.quotient * params.oc_lanes + lanes.rest, channel_tiles);
    let g = channel_tile.quotient;
    let oc_first = channel_tile.rest * VECS * 4u;
    let row_tile = divide(pixel_tile.rest, params.row_tiles);
    let phase = divide(row_tile.quotient, params.pixel_step);
    let ow_first = row_tile.rest * PIXELS * params.pixel_step + phase.rest;
    let image_row = divide(phase.quotient, params.out_h);
    let oh = image_row.rest;
    let n = image_row.quotient;

    let depth = params.group_in * params.kernel_h * params.kernel_w;
    let panels = (params.group_out + 7u) / 8u;
    let panel = oc_first / 8u;
    // Where the window's row starts in the one panel and in the next; the last panel stands in for one past it.
    var first = (g * panels + panel) * depth * 2u + oc_first / 4u % 2u;
    var second = (g * panels + min(panel + 1u, u32(i32(panels) - 1))) * depth * 2u;
    let end = first + depth * 2u;
    let pixel_stride = i32(params.stride_w * params.pixel_step);
    let plane = params.in_h * params.in_w;
    var channel = (n * params.groups + g) * params.group_in * plane;
    let blocks = params.batch * params.groups * params.group_in * plane / 4u;
    var kh = 0u;
    var kw = 0u;
    var kw_first = 0u;
    var x: array<f32, SPAN>;
    var sum0: Sums;
    var sum1: Sums;
    var sum2: Sums;
    var sum3: Sums;
    for (; first < end;) {
        let ih = window_input(oh, kh, params.stride_h, params.dilation_h, params.before_h);
        let row = Row(channel + window_clamp(ih, params.in_h) * params.in_w, window_inside(ih, params.in_h));
        let iw = window_input(ow_first, kw, params.stride_w, params.dilation_w, params.before_w);
        if (WIDE == 4u) {
            load_span(&x, row.start, row.inside, iw, params.in_w, blocks);
        } else if (TAPS == 3u) {
            for (var i = 0u; i < SPAN; i++) {
                x[i] = load(row, iw + i32(i) * pixel_stride);
            }
        } else {
            if (kw < params.tap_step) {
                for (var i = 0u; i < LAST; i++) {
                    x[i + 1u] = load(row, iw + i32(i) * pixel_stride);
                }
            }
            for (var i = 0u; i < LAST; i++) {
                x[i] = x[i + 1u];
            }
            x[LAST] = load(row, iw + i32(LAST) * pixel_stride);
        }

        multiply(&sum0, &x, first + kw * 2u);
        if (VECS >= 2u) {
            multiply(&sum1, &x, first + kw * 2u + 1u);
        }
        if (VECS >= 4u) {
            multiply(&sum2, &x, second + kw * 2u);
            multiply(&sum3, &x, second + kw * 2u + 1u);
        }

        var row_done = true;
        if (WIDE == 1u) {
            kw += params.tap_step * TAPS;
            let taps_done = kw >= params.kernel_w;
            kw_first += select(0u, 1u, taps_done);
            row_done = taps_done && kw_first >= min(params.tap_step, params.kernel_w);
            kw_first = select(kw_first, 0u, row_done);
            kw = select(kw, kw_first, taps_done);
        }
        kh += select(0u, 1u, row_done);
        let row_weights = select(params.kernel_w, TAPS, WIDE == 4u) * 2u;
        first += select(0u, row_weights, row_done);
        second += select(0u, row_weights, row_done);
        let channel_done = kh >= params.kernel_h;
        kh = select(kh, 0u, channel_done);
        channel += select(0u, plane, channel_done);
    }

    let oc_end = min(oc_first + VECS * 4u, params.group_out);
    let bias_end = params.group_out * (params.flags & 1u);
    for (var oc_four = oc_first; oc_four < oc_end; oc_four += 4u) {
        let v = u32(i32(oc_four) - i32(oc_first)) / 4u;
        var fours: Sums;
        for (var i = 0u; i < PIXELS; i++) {
            let low = select(sum0[i], sum1[i], v == 1u);
            fours[i] = select(low, select(sum2[i], sum3[i], v == 3u), v >= 2u);
        }
        for (var oc = oc_four; oc < min(oc_four + 4u, oc_end); oc++) {
            let out_channel = g * params.group_out + oc;
            let channel_row = ((n * params.groups * params.group_out + out_channel) * params.out_h + oh) * params.out_w;
            var added = 0.0;
            if (oc < bias_end) {
                added = bias[out_channel];
            }
            let c = oc % 4u;
            var y: array<f32, PIXELS>;
            for (var i = 0u; i < PIXELS; i++) {
                let four = fours[i];
                let one = select(select(four.x, four.y, c == 1u), select(four.z, four.w, c == 3u), c >= 2u);
                y[i] = activate(ACTIVATION, one + added);
            }
            if (RESIDUAL == 1u) {
                for (var i = 0u; i < PIXELS; i++) {
                    let ow = ow_first + i * params.pixel_step;
                    if (ow < params.out_w) {
                        y[i] += residual[channel_row + ow];
                    }
                }
            }
            for (var i = 0u; i < PIXELS; i++) {
                let ow = ow_first + i * params.pixel_step;
                if (ow < params.out_w) {
                    output[channel_row + ow] = y[i];
                }
            }
        }
    }
}
