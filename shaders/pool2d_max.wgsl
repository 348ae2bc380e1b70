//! pool2d_max
//!
//! output[n][c][oh][ow] = max over kh, kw of input[n][c][oh * stride_h + kh * dilation_h - before_h][iw],
//!     iw likewise, over the taps that lie on the input
//!
//! Input [planes][in_h][in_w] and output [planes][out_h][out_w] are dense; a plane is one channel of one image. With
//! INDEX the output holds u32: where in its plane the maximum lies, ih * in_w + iw; the first of equals, and the last
//! NaN, as in PyTorch. A window that sees nothing but padding gives `empty`, which the host sets to minus infinity, and
//! the index 0xffffffff. With ADAPTIVE the windows are those of lib/window.wgsl that share the input evenly, and
//! kernel, stride, dilation and padding are not used. NaN passes through.
//!
//! One invocation makes one output, a workgroup THREADS neighbours: for GPUs, and for what pool2d_row does not do.
//! INDEX and ADAPTIVE are overrides, so the driver keeps one branch of each.
//!
//! uses: grid, numeric, window
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override INDEX: u32 = 0u;
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
    dilation_h: u32,
    dilation_w: u32,
    before_h: u32,
    before_w: u32,
    empty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

fn rows_of(oh: u32) -> WindowTaps {
    if (ADAPTIVE == 1u) {
        return window_adaptive(oh, params.out_h, params.in_h);
    }
    return window_taps(oh, params.kernel_h, params.stride_h, params.dilation_h, params.before_h, params.in_h);
}

fn cols_of(ow: u32) -> WindowTaps {
    if (ADAPTIVE == 1u) {
        return window_adaptive(ow, params.out_w, params.in_w);
    }
    return window_taps(ow, params.kernel_w, params.stride_w, params.dilation_w, params.before_w, params.in_w);
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
    let plane = row / params.out_h * params.in_h * params.in_w;
    let h = rows_of(row % params.out_h);
    let w = cols_of(index % params.out_w);
    let step_h = i32(select(params.dilation_h, 1u, ADAPTIVE == 1u));
    let step_w = i32(select(params.dilation_w, 1u, ADAPTIVE == 1u));
    var best = params.empty;
    // Where every element is minus infinity, none is greater than the start: the first stands for them all.
    var best_at = u32((h.start + h.first * step_h) * i32(params.in_w) + w.start + w.first * step_w);
    if (h.first >= h.end || w.first >= w.end) {
        best_at = 0xffffffffu;
    }
    for (var kh = h.first; kh < h.end; kh++) {
        let base = (h.start + kh * step_h) * i32(params.in_w) + w.start;
        for (var kw = w.first; kw < w.end; kw++) {
            let at = u32(base + kw * step_w);
            let x = input[plane + at];
            if (is_nan(x) || (x > best && !is_nan(best))) {
                best = x;
                best_at = at;
            }
        }
    }
    output[index] = select(bitcast<u32>(best), best_at, INDEX == 1u);
}
