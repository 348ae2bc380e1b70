//! conv_transpose2d_naive
//!
//! output[n][g * group_out + o][oh][ow] = act(bias[g * group_out + o]
//!     + sum_ic,kh,kw weight[g * group_in + ic][o][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!     + residual[n][g * group_out + o][oh][ow]
//!     over the taps for which ih * stride_h + kh * dilation_h = oh + before_h has a solution in the input, iw likewise
//!
//! All tensors are dense: input [batch][groups * group_in][in_h][in_w], weight [groups * group_in][group_out][kernel_h]
//! [kernel_w], output and residual [batch][groups * group_out][out_h][out_w], bias one number a channel of the output.
//! step_h is stride_h / gcd(stride_h, dilation_h): so far apart lie the taps that an output meets; step_w likewise. flags:
//! 1 bias, 2 residual; a buffer whose bit is clear is bound but never read.
//!
//! The yardstick, and the kernel for groups of a few channels, where panels of eight would stay empty: one invocation
//! makes one output, a workgroup THREADS neighbours. It gathers what the definition scatters, so nothing is added twice
//! or in another order.
//!
//! uses: activation, grid, window
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override ACTIVATION: u32 = 0u;

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
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    let pixels = params.out_h * params.out_w;
    let channels = params.groups * params.group_out;
    let ow = index % params.out_w;
    let oh = index / params.out_w % params.out_h;
    let oc = index / pixels % channels;
    let n = index / pixels / channels;
    // Bounds that depend on the invocation, where params alone would do: see matmul_register.
    let kernel_h = select(0u, params.kernel_h, n < params.batch);
    let bias_end = channels * (params.flags & 1u);
    let residual_end = channels * ((params.flags / 2u) & 1u);
    if (n >= params.batch) {
        return;
    }
    let first = oc / params.group_out * params.group_in;
    let taps = params.kernel_h * params.kernel_w;
    var sum = 0.0;
    let tap_w = window_first(ow, params.kernel_w, params.step_w, params.stride_w, params.dilation_w, params.before_w);
    for (
        var kh = window_first(oh, params.kernel_h, params.step_h, params.stride_h, params.dilation_h, params.before_h);
        kh < kernel_h;
        kh += params.step_h
    ) {
        let ih = window_shift(oh, kh, params.stride_h, params.dilation_h, params.before_h);
        let kernel_w = select(0u, params.kernel_w, window_inside(ih, params.in_h));
        for (var kw = tap_w; kw < kernel_w; kw += params.step_w) {
            let iw = window_shift(ow, kw, params.stride_w, params.dilation_w, params.before_w);
            let end = select(0u, params.group_in, window_inside(iw, params.in_w));
            for (var ic = 0u; ic < end; ic++) {
                let channel = first + ic;
                let row = (n * params.groups * params.group_in + channel) * params.in_h + u32(ih);
                let weight_at = (channel * params.group_out + oc % params.group_out) * taps + kh * params.kernel_w + kw;
                sum += weight[weight_at] * input[row * params.in_w + u32(iw)];
            }
        }
    }
    if (oc < bias_end) {
        sum += bias[oc];
    }
    var result = activate(ACTIVATION, sum);
    if (oc < residual_end) {
        result += residual[index];
    }
    output[index] = result;
}
