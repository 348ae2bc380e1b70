//! pool2d_max_grad_patch
//!
//! output[n][c][ih][iw] = grad[n][c][oh][ow] if the maximum of the window (oh, ow) of input lies there, else 0
//!
//! The gradient of maximum pooling with windows that do not overlap (kernel <= stride, no dilation): an element is in one
//! window at most. The maximum is the first of equals and the last NaN, as in pool2d_max. Input and output
//! [planes][in_h][in_w] and grad [planes][out_h][out_w] are dense; a plane is one channel of one image.
//!
//! The padded input is cut into patches of stride_h x stride_w that begin with a window's first element each, cells_h
//! times cells_w to a plane, so that they cover it. One invocation makes a patch, a workgroup THREADS of them: each
//! element is read once at most, and written once.
//!
//! uses: grid, numeric, window
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

// The maximum of a window that sees nothing.
const NOWHERE: u32 = 0xffffffffu;

struct Params {
    count: u32,
    cells_h: u32,
    cells_w: u32,
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

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
    let row = index / params.cells_w;
    let oh = row % params.cells_h;
    let ow = index % params.cells_w;
    let plane = row / params.cells_h;
    let base = plane * params.in_h * params.in_w;
    var at_maximum = NOWHERE;
    var g = 0.0;
    if (oh < params.out_h && ow < params.out_w) {
        let h = window_taps(oh, params.kernel_h, params.stride_h, 1u, params.before_h, params.in_h);
        let w = window_taps(ow, params.kernel_w, params.stride_w, 1u, params.before_w, params.in_w);
        var best = 0.0;
        for (var kh = h.first; kh < h.end; kh++) {
            let line = (h.start + kh) * i32(params.in_w) + w.start;
            for (var kw = w.first; kw < w.end; kw++) {
                let at = u32(line + kw);
                let x = input[base + at];
                if (at_maximum == NOWHERE || replaces(x, best)) {
                    best = x;
                    at_maximum = at;
                }
            }
        }
        g = grad[(plane * params.out_h + oh) * params.out_w + ow];
    }
    let h = window_taps(oh, params.stride_h, params.stride_h, 1u, params.before_h, params.in_h);
    let w = window_taps(ow, params.stride_w, params.stride_w, 1u, params.before_w, params.in_w);
    for (var kh = h.first; kh < h.end; kh++) {
        let line = (h.start + kh) * i32(params.in_w) + w.start;
        for (var kw = w.first; kw < w.end; kw++) {
            let at = u32(line + kw);
            output[base + at] = select(0.0, g, at == at_maximum);
        }
    }
}
