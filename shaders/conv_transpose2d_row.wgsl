//! conv_transpose2d_row
//!
//! output[n][g * group_out + o][oh][ow] = act(bias[g * group_out + o]
//!     + sum_ic,kh,kw weight[g * group_in + ic][o][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!     + residual[n][g * group_out + o][oh][ow]
//!     over the taps for which ih * stride_h + kh * dilation_h = oh + before_h has a solution in the input, iw likewise
//!
//! Tensors, packed weight, flags, phases and steps are those of conv_transpose2d_gather, which takes any options. This
//! one is for software adapters. It takes TAPS taps of a window's row at once, from one span of inputs: step_w * TAPS
//! divides kernel_w, so that each phase meets a multiple of them, and dilation_w divides stride_w, so that they bring
//! neighbouring inputs. It loads these as vec4: an image has a multiple of four elements.
//!
//! An invocation makes PIXELS neighbours in a row of one phase, for 16 channels, in registers, without workgroup memory or
//! barriers. A workgroup is 8 of them, in this order: oc_lanes neighbouring tiles of channels, row_tiles of a row,
//! phase_rows, images, phases, and the other channels, groups last. oc_lanes divides the tiles of all channels, groups *
//! ceil(group_out / 16).
//!
//! What shaped it: see conv2d_register. One tap at once is no faster than conv_transpose2d_gather; two take 0.72 of its
//! time on lavapipe, three 0.65, as much as the convolution of such a window.
//!
//! uses: activation, grid, span, window
//! variants:
//!   row16_2  PIXELS=16 TAPS=2
//!   row14_2  PIXELS=14 TAPS=2
//!   row8_2   PIXELS=8  TAPS=2
//!   row16_3  PIXELS=16 TAPS=3
//!   row14_3  PIXELS=14 TAPS=3
//!   row8_3   PIXELS=8  TAPS=3

override ACTIVATION: u32 = 0u;
const THREADS: u32 = 8u;
const PIXELS: u32 = 16u;
const TAPS: u32 = 2u;
const LAST: u32 = TAPS - 1u;
const SPAN: u32 = PIXELS + LAST;

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
    step_h: u32,
    step_w: u32,
    phases_h: u32,
    phases_w: u32,
    phase_rows: u32,
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

alias Sums = array<vec4<f32>, PIXELS>;

// Four channels of all pixels; `at` is where their weights for the first tap lie, `apart` how far apart those of the
// taps. A later tap brings an earlier input.
fn multiply(sum: ptr<function, Sums>, x: ptr<function, array<f32, SPAN>>, at: u32, apart: u32) {
    let w0 = weight[at];
    let w1 = weight[at + apart];
    if (TAPS == 2u) {
        for (var i = 0u; i < PIXELS; i++) {
            (*sum)[i] += w0 * (*x)[i + LAST] + w1 * (*x)[i];
        }
    } else {
        let w2 = weight[at + 2u * apart];
        for (var i = 0u; i < PIXELS; i++) {
            (*sum)[i] += w0 * (*x)[i + LAST] + w1 * (*x)[i + LAST / 2u] + w2 * (*x)[i];
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
    let channel_tiles = (params.group_out + 15u) / 16u;
    let image_tiles = params.row_tiles * params.phase_rows;
    let pixel_tiles = image_tiles * params.batch * params.phases_h * params.phases_w;
    if (tile >= pixel_tiles * channel_tiles * params.groups) {
        return;
    }
    let pixel_tile = tile / params.oc_lanes % pixel_tiles;
    let channel_tile = tile / params.oc_lanes / pixel_tiles * params.oc_lanes + tile % params.oc_lanes;
    let g = channel_tile / channel_tiles;
    let oc_first = channel_tile % channel_tiles * 16u;
    let col = pixel_tile % params.row_tiles * PIXELS;
    let row = pixel_tile / params.row_tiles % params.phase_rows;
    let n = pixel_tile / image_tiles % params.batch;
    let phase = pixel_tile / image_tiles / params.batch;
    let oh_first = phase / params.phases_w;
    let ow_first = phase % params.phases_w;

    let depth = params.kernel_h * params.kernel_w * params.group_in;
    let panels = (params.group_out + 7u) / 8u;
    let panel = oc_first / 8u;
    // The last panel stands in for one past it; its sums are not written.
    let panel_a = (g * panels + panel) * depth * 2u;
    let panel_b = (g * panels + min(panel + 1u, u32(i32(panels) - 1))) * depth * 2u;
    let plane = params.in_h * params.in_w;
    let channel_first = (n * params.groups + g) * params.group_in * plane;
    let blocks = params.batch * params.groups * params.group_in * plane / 4u;

    var x: array<f32, SPAN>;
    var sum0: Sums;
    var sum1: Sums;
    var sum2: Sums;
    var sum3: Sums;
    // Bounds that depend on the invocation, where params alone would do: see matmul_register.
    let kernel_h = select(0u, params.kernel_h, n < params.batch);
    let apart = params.step_w * params.group_in * 2u;
    let tap_w =
        window_first(ow_first, params.kernel_w, params.step_w, params.stride_w, params.dilation_w, params.before_w);
    for (
        var kh =
            window_first(oh_first, params.kernel_h, params.step_h, params.stride_h, params.dilation_h, params.before_h);
        kh < kernel_h;
        kh += params.step_h
    ) {
        let ih = i32(row) + window_shift(oh_first, kh, params.stride_h, params.dilation_h, params.before_h);
        let inside = window_inside(ih, params.in_h);
        let row_first = channel_first + window_clamp(ih, params.in_h) * params.in_w;
        for (var kw = tap_w; kw < params.kernel_w; kw += params.step_w * TAPS) {
            let shift = window_shift(ow_first, kw, params.stride_w, params.dilation_w, params.before_w);
            let iw = i32(col) + shift - i32(LAST);
            var first = panel_a + (kh * params.kernel_w + kw) * params.group_in * 2u;
            var second = panel_b + (kh * params.kernel_w + kw) * params.group_in * 2u;
            var start = row_first;
            let end = first + params.group_in * 2u;
            for (; first < end; first += 2u) {
                load_span(&x, start, inside, iw, params.in_w, blocks);
                multiply(&sum0, &x, first, apart);
                multiply(&sum1, &x, first + 1u, apart);
                multiply(&sum2, &x, second, apart);
                multiply(&sum3, &x, second + 1u, apart);
                second += 2u;
                start += plane;
            }
        }
    }

    let oh = oh_first + row * params.stride_h;
    let ow = ow_first + col * params.stride_w;
    // Phases past the first may be a row short.
    let oc_end = select(oc_first, min(oc_first + 16u, params.group_out), oh < params.out_h);
    let bias_end = params.group_out * (params.flags & 1u);
    let residual_end = params.group_out * ((params.flags / 2u) & 1u);
    for (var oc_four = oc_first; oc_four < oc_end; oc_four += 4u) {
        let v = u32(i32(oc_four) - i32(oc_first)) / 4u;
        var fours: Sums;
        for (var i = 0u; i < PIXELS; i++) {
            let low = select(sum0[i], sum1[i], v == 1u);
            fours[i] = select(low, select(sum2[i], sum3[i], v == 3u), v >= 2u);
        }
        for (var oc = oc_four; oc < min(oc_four + 4u, oc_end); oc++) {
            let channel = g * params.group_out + oc;
            let row_start = ((n * params.groups * params.group_out + channel) * params.out_h + oh) * params.out_w;
            var added = 0.0;
            if (oc < bias_end) {
                added = bias[channel];
            }
            let c = oc % 4u;
            var y: array<f32, PIXELS>;
            for (var i = 0u; i < PIXELS; i++) {
                let four = fours[i];
                let one = select(select(four.x, four.y, c == 1u), select(four.z, four.w, c == 3u), c >= 2u);
                y[i] = activate(ACTIVATION, one + added);
            }
            if (oc < residual_end) {
                for (var i = 0u; i < PIXELS; i++) {
                    let place = ow + i * params.stride_w;
                    if (place < params.out_w) {
                        y[i] += residual[row_start + place];
                    }
                }
            }
            for (var i = 0u; i < PIXELS; i++) {
                let place = ow + i * params.stride_w;
                if (place < params.out_w) {
                    output[row_start + place] = y[i];
                }
            }
        }
    }
}
