//! conv_transpose2d_gather
//!
//! output[n][g * group_out + o][oh][ow] = act(bias[g * group_out + o]
//!     + sum_ic,kh,kw weight[g * group_in + ic][o][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!     + residual[n][g * group_out + o][oh][ow]
//!     over the taps for which ih * stride_h + kh * dilation_h = oh + before_h has a solution in the input, iw likewise
//!
//! input [batch][groups * group_in][in_h][in_w], output and residual [batch][groups * group_out][out_h][out_w], bias
//! one number a channel of the output. weight is packed: [groups][panels][(kh * kernel_w + kw) * group_in + ic][8], the
//! eight being neighbouring output channels, zero past the last, as two vec4. flags: 1 bias, 2 residual; a buffer whose
//! bit is clear is bound but never read.
//!
//! Outputs whose coordinates agree modulo the stride make a phase: they meet the same taps, and a tap brings them
//! neighbouring inputs. So a phase is an ordinary convolution of stride 1, with those taps alone, which lie step_h =
//! stride_h / gcd(stride_h, dilation_h) and step_w apart. There are phases_h * phases_w of them, the stride or where it
//! is less the extent of the output, and the largest is phase_rows * phase_cols. An invocation makes PIXELS outputs of one
//! phase, for 16 channels, in registers, without workgroup memory or barriers; a workgroup has THREADS / PANEL_LANES of
//! them side by side, row by row, and PANEL_LANES pairs of panels. Workgroups: batch * groups * phases * channel tiles *
//! pixel_tiles, the last fastest. Legal: PANEL_LANES a divisor of THREADS.
//!
//! Taps are the outer loops, so that where a pixel lies is worked out once a tap, not once a channel. For the rest see
//! matmul_register, whose findings on lavapipe hold here.
//!
//! uses: activation, grid, window
//! variants:
//!   cpu64   THREADS=8  PIXELS=16 PANEL_LANES=4
//!   cpu16   THREADS=8  PIXELS=16 PANEL_LANES=1
//!   gpu64   THREADS=64 PIXELS=4  PANEL_LANES=4
//!   gpu16   THREADS=64 PIXELS=4  PANEL_LANES=1

override ACTIVATION: u32 = 0u;
const THREADS: u32 = 8u;
const PIXELS: u32 = 16u;
const PANEL_LANES: u32 = 4u;
const PIXEL_LANES: u32 = THREADS / PANEL_LANES;

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
    phase_cols: u32,
    panels: u32,
    pixel_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// The sixteen channels of one k: a matrix column for each half of a panel.
fn weight_load(first: u32, second: u32) -> mat4x4<f32> {
    return mat4x4<f32>(weight[first], weight[first + 1u], weight[second], weight[second + 1u]);
}

fn pick(a: mat4x4<f32>, b: mat4x4<f32>, second: bool) -> mat4x4<f32> {
    return mat4x4<f32>(
        select(a[0], b[0], second),
        select(a[1], b[1], second),
        select(a[2], b[2], second),
        select(a[3], b[3], second),
    );
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let panel_tiles = (params.panels + (2u * PANEL_LANES - 1u)) / (2u * PANEL_LANES);
    let phases = params.phases_h * params.phases_w;
    let phase = tile / params.pixel_tiles / panel_tiles % phases;
    let g = tile / params.pixel_tiles / panel_tiles / phases % params.groups;
    let n = tile / params.pixel_tiles / panel_tiles / phases / params.groups;
    if (n >= params.batch) {
        return;
    }
    let oh_first = phase / params.phases_w;
    let ow_first = phase % params.phases_w;
    let pixel_first = tile % params.pixel_tiles * (PIXELS * PIXEL_LANES) + thread / PANEL_LANES;
    let panel = (tile / params.pixel_tiles % panel_tiles * PANEL_LANES + thread % PANEL_LANES) * 2u;
    let last_panel = u32(i32(params.panels) - 1);
    let depth = params.kernel_h * params.kernel_w * params.group_in;
    let panel_a = (g * params.panels + min(panel, last_panel)) * depth * 2u;
    let panel_b = (g * params.panels + min(panel + 1u, last_panel)) * depth * 2u;
    let plane = params.in_h * params.in_w;
    let channel_first = (n * params.groups + g) * params.group_in * plane;

    var row: array<i32, PIXELS>;
    var col: array<i32, PIXELS>;
    var at: array<u32, PIXELS>;
    var inside: array<bool, PIXELS>;
    var sum: array<mat4x4<f32>, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) {
        let pixel = pixel_first + p * PIXEL_LANES;
        row[p] = i32(pixel / params.phase_cols);
        col[p] = i32(pixel % params.phase_cols);
    }
    // Bounds that depend on the invocation, where params alone would do: see matmul_register.
    let kernel_h = select(0u, params.kernel_h, n < params.batch);
    let tap_w = window_first(ow_first, params.kernel_w, params.step_w, params.stride_w, params.dilation_w, params.before_w);
    for (
        var kh = window_first(oh_first, params.kernel_h, params.step_h, params.stride_h, params.dilation_h, params.before_h);
        kh < kernel_h;
        kh += params.step_h
    ) {
        let shift_h = window_shift(oh_first, kh, params.stride_h, params.dilation_h, params.before_h);
        for (var kw = tap_w; kw < params.kernel_w; kw += params.step_w) {
            let shift_w = window_shift(ow_first, kw, params.stride_w, params.dilation_w, params.before_w);
            for (var p = 0u; p < PIXELS; p++) {
                let ih = row[p] + shift_h;
                let iw = col[p] + shift_w;
                inside[p] = window_inside(ih, params.in_h) && window_inside(iw, params.in_w);
                at[p] = channel_first + window_clamp(ih, params.in_h) * params.in_w + window_clamp(iw, params.in_w);
            }
            var first = panel_a + (kh * params.kernel_w + kw) * params.group_in * 2u;
            var second = panel_b + (kh * params.kernel_w + kw) * params.group_in * 2u;
            let end = first + params.group_in * 2u;
            var offset = 0u;
            for (; first < end; first += 2u) {
                let right = weight_load(first, second);
                for (var p = 0u; p < PIXELS; p++) {
                    sum[p] += right * select(0.0, input[at[p] + offset], inside[p]);
                }
                second += 2u;
                offset += plane;
            }
        }
    }

    let channel = g * params.group_out;
    let out_first = panel * 8u;
    let out_end = min(out_first + 16u, params.group_out);
    let pixel_end = min(pixel_first + PIXELS * PIXEL_LANES, params.phase_rows * params.phase_cols);
    let bias_end = params.group_out * (params.flags & 1u);
    let residual_end = params.group_out * ((params.flags / 2u) & 1u);
    var p = 0u;
    for (var pixel = pixel_first; pixel < pixel_end; pixel += PIXEL_LANES) {
        let oh = oh_first + pixel / params.phase_cols * params.stride_h;
        let ow = ow_first + pixel % params.phase_cols * params.stride_w;
        var sums = sum[0];
        for (var i = 1u; i < PIXELS; i++) {
            sums = pick(sums, sum[i], p == i);
        }
        p++;
        // Phases past the first may be a row or a column short.
        let end = select(out_first, out_end, oh < params.out_h && ow < params.out_w);
        for (var o = out_first; o < end; o++) {
            let c = u32(i32(o) - i32(out_first));
            let low = select(sums[0], sums[1], c >= 4u);
            let high = select(sums[2], sums[3], c >= 12u);
            var x = select(low, high, c >= 8u)[c % 4u];
            if (o < bias_end) {
                x += bias[channel + o];
            }
            x = activate(ACTIVATION, x);
            let position = ((n * params.groups * params.group_out + channel + o) * params.out_h + oh) * params.out_w + ow;
            if (o < residual_end) {
                x += residual[position];
            }
            output[position] = x;
        }
    }
}
