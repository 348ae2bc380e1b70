//! conv2d_depthwise
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_kh,kw weight[oc][kh][kw] * input[n][oc / multiplier][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     with ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! All tensors are dense: input [batch][channels][in_h][in_w], output and residual
//! [batch][channels * multiplier][out_h][out_w], weight [channels * multiplier][kernel_h][kernel_w], bias one number a
//! channel. flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is left out is bound but never read.
//!
//! Any window. An invocation makes PIXELS outputs of a row, pixel_step apart; a workgroup THREADS neighbours: the tiles
//! of a row, row_tiles for each of the pixel_step phases, then rows, channels and images. On GPUs one output each, and
//! the caches see to the rest. On software adapters, where the number of loads counts, a row of sixteen whose inputs
//! are handed on from tap to tap: see conv2d_register on pixel_step and tap_step. On lavapipe, 3x3 of stride 2 moves
//! 2.8 times the bytes of input and output a second that copy_strided does, 5x5 of stride 1 0.7 times.
//!
//! uses: activation, grid, window
//! variants:
//!   gpu   PIXELS=1 THREADS=64
//!   cpu   PIXELS=16 THREADS=8

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 64u;
const PIXELS: u32 = 1u;
const LAST: u32 = PIXELS - 1u;

struct Params {
    batch: u32,
    channels: u32,
    multiplier: u32,
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
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// One number of a row, 0 where it is outside.
fn load(row: u32, row_inside: bool, iw: i32) -> f32 {
    let x = input[row + window_clamp(iw, params.in_w)];
    return select(0.0, x, row_inside && window_inside(iw, params.in_w));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let out_channels = params.channels * params.multiplier;
    let plane_tiles = params.row_tiles * params.pixel_step * params.out_h;
    if (tile >= plane_tiles * out_channels * params.batch) {
        return;
    }
    let ow_first = tile % params.row_tiles * PIXELS * params.pixel_step + tile / params.row_tiles % params.pixel_step;
    let oh = tile / params.row_tiles / params.pixel_step % params.out_h;
    let out_plane = tile / plane_tiles; // n and oc in one
    let oc = out_plane % out_channels;
    let plane_row = out_plane / params.multiplier * params.in_h;
    let pixel_stride = i32(params.stride_w * params.pixel_step);

    let taps = params.kernel_h * params.kernel_w;
    let first = oc * taps;
    var kh = 0u;
    var kw = 0u;
    var kw_first = 0u;
    var x: array<f32, PIXELS>;
    var sum: array<f32, PIXELS>;
    for (var step = first; step < first + taps; step++) {
        let ih = window_input(oh, kh, params.stride_h, params.dilation_h, params.before_h);
        let row = (plane_row + window_clamp(ih, params.in_h)) * params.in_w;
        let row_inside = window_inside(ih, params.in_h);
        let iw = window_input(ow_first, kw, params.stride_w, params.dilation_w, params.before_w);
        if (kw < params.tap_step) {
            for (var i = 0u; i < LAST; i++) {
                x[i + 1u] = load(row, row_inside, iw + i32(i) * pixel_stride);
            }
        }
        for (var i = 0u; i < LAST; i++) {
            x[i] = x[i + 1u];
        }
        x[LAST] = load(row, row_inside, iw + i32(LAST) * pixel_stride);
        let w = weight[first + kh * params.kernel_w + kw];
        for (var i = 0u; i < PIXELS; i++) {
            sum[i] += w * x[i];
        }

        kw += params.tap_step;
        let taps_done = kw >= params.kernel_w;
        kw_first += select(0u, 1u, taps_done);
        let row_done = taps_done && kw_first >= min(params.tap_step, params.kernel_w);
        kw_first = select(kw_first, 0u, row_done);
        kw = select(kw, kw_first, taps_done);
        kh += select(0u, 1u, row_done);
    }

    let out_row = (out_plane * params.out_h + oh) * params.out_w;
    var added = 0.0;
    if (oc < out_channels * (params.flags & 1u)) {
        added = bias[oc];
    }
    for (var i = 0u; i < PIXELS; i++) {
        sum[i] = activate(ACTIVATION, sum[i] + added);
    }
    if (RESIDUAL == 1u) {
        for (var i = 0u; i < PIXELS; i++) {
            let ow = ow_first + i * params.pixel_step;
            if (ow < params.out_w) {
                sum[i] += residual[out_row + ow];
            }
        }
    }
    for (var i = 0u; i < PIXELS; i++) {
        let ow = ow_first + i * params.pixel_step;
        if (ow < params.out_w) {
            output[out_row + ow] = sum[i];
        }
    }
}
