//! pool2d_average
//!
//! output[n][c][oh][ow] = 1 / divisor * sum over kh, kw of input[n][c][oh * stride_h + kh - before_h][iw],
//!     iw likewise, over the taps that lie on the input
//!
//! Input [planes][in_h][in_w] and output [planes][out_h][out_w] are dense; a plane is one channel of one image. The
//! divisor is the number of taps that lie on the input, or with COUNT_PADDING on the input and its padding: a window
//! that reaches past the padding has fewer than kernel_h * kernel_w. A window that sees nothing but padding gives 0.
//! With ADAPTIVE the windows are those of lib/window.wgsl that share the input evenly, and kernel, stride and padding
//! are not used. NaN passes through.
//!
//! One invocation makes one output, a workgroup THREADS neighbours: for GPUs, and for what pool2d_row does not do.
//! COUNT_PADDING and ADAPTIVE are overrides, so the driver keeps one branch of each.
//!
//! uses: grid, window
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override COUNT_PADDING: u32 = 0u;
override ADAPTIVE: u32 = 0u;

struct Params {
    count: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    before_h: u32,
    before_w: u32,
    after_h: u32,
    after_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn rows_of(oh: u32) -> WindowTaps {
    if (ADAPTIVE == 1u) {
        return window_adaptive(oh, params.out_h, params.in_h);
    }
    return window_taps(oh, params.kernel_h, params.stride_h, 1u, params.before_h, params.in_h);
}

fn cols_of(ow: u32) -> WindowTaps {
    if (ADAPTIVE == 1u) {
        return window_adaptive(ow, params.out_w, params.in_w);
    }
    return window_taps(ow, params.kernel_w, params.stride_w, 1u, params.before_w, params.in_w);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.count) {
        return;
    }
    let row = index / params.out_w;
    let oh = row % params.out_h;
    let ow = index % params.out_w;
    let plane = row / params.out_h * params.in_h * params.in_w;
    let h = rows_of(oh);
    let w = cols_of(ow);
    var sum = 0.0;
    for (var kh = h.first; kh < h.end; kh++) {
        let base = (h.start + kh) * i32(params.in_w) + w.start;
        for (var kw = w.first; kw < w.end; kw++) {
            sum += input[plane + u32(base + kw)];
        }
    }
    var places_h = h.end - h.first;
    var places_w = w.end - w.first;
    let seen = places_h > 0 && places_w > 0;
    if (COUNT_PADDING == 1u) {
        places_h = window_places(oh, params.kernel_h, params.stride_h, params.before_h + params.in_h + params.after_h);
        places_w = window_places(ow, params.kernel_w, params.stride_w, params.before_w + params.in_w + params.after_w);
    }
    output[index] = select(0.0, sum / (f32(places_h) * f32(places_w)), seen);
}
