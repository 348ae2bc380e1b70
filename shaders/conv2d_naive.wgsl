//! conv2d_naive
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! All tensors are dense: input [batch][groups * group_in][in_h][in_w], output and residual [batch][groups *
//! group_out][out_h][out_w], bias one number a channel. The bound piece of weight [oc][group_in][kernel_h][kernel_w]
//! holds the channels [oc_start, oc_start + piece_oc). flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is
//! left out is bound but never read.
//!
//! The yardstick: one invocation makes one output, a workgroup THREADS neighbours.
//!
//! uses: activation, grid, window
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;

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
    oc_start: u32,
    piece_oc: u32,
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
    if (index >= params.batch * params.piece_oc * pixels) {
        return;
    }
    let ow = index % params.out_w;
    let oh = index / params.out_w % params.out_h;
    let piece_oc = index / pixels % params.piece_oc;
    let n = index / pixels / params.piece_oc;
    let oc = params.oc_start + piece_oc;
    let channel = (n * params.groups + oc / params.group_out) * params.group_in;
    var at = piece_oc * params.group_in * params.kernel_h * params.kernel_w;
    var sum = 0.0;
    for (var ic = 0u; ic < params.group_in; ic++) {
        for (var kh = 0u; kh < params.kernel_h; kh++) {
            let ih = window_input(oh, kh, params.stride_h, params.dilation_h, params.before_h);
            let row = (channel + ic) * params.in_h + window_clamp(ih, params.in_h);
            for (var kw = 0u; kw < params.kernel_w; kw++) {
                let iw = window_input(ow, kw, params.stride_w, params.dilation_w, params.before_w);
                if (window_inside(ih, params.in_h) && window_inside(iw, params.in_w)) {
                    sum += weight[at] * input[row * params.in_w + u32(iw)];
                }
                at++;
            }
        }
    }
    var x = sum;
    if ((params.flags & 1u) > 0u) {
        x += bias[oc];
    }
    x = activate(ACTIVATION, x);
    let position = (n * params.groups * params.group_out + oc) * pixels + index % pixels;
    if (RESIDUAL == 1u) {
        x += residual[position];
    }
    output[position] = x;
}
