//! upsample2d_grad_nearest
//!
//! output[n][c][ih][iw] = sum of grad[n][c][oh][ow] over the places with floor(oh * scale_h) = ih, floor(ow * scale_w) = iw
//!
//! The gradient of upsample2d_nearest, as a gather: the places of an element are consecutive, along each axis. Grad
//! [planes][out_h][out_w] and output [planes][in_h][in_w] are dense; a plane is one channel of one image. `scale` is
//! in / out and `inverse` out / in, divided by the host in f32; where places begin is found by trying, from `slack` places
//! before that, with the arithmetic of the forward direction.
//!
//! One invocation makes OUTPUTS neighbours of a row, a workgroup THREADS times as many.
//!
//! uses: grid, window
//! variants:
//!   one    THREADS=64 OUTPUTS=1
//!   four   THREADS=64 OUTPUTS=4

override THREADS: u32 = 64u;
override OUTPUTS: u32 = 1u;

struct Params {
    count: u32,
    row_groups: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    scale_h: f32,
    scale_w: f32,
    inverse_h: f32,
    inverse_w: f32,
    slack_h: u32,
    slack_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn first_row(ih: u32) -> u32 {
    return window_nearest_first(ih, params.scale_h, params.inverse_h, params.slack_h, params.in_h, params.out_h);
}

fn first_col(iw: u32) -> u32 {
    return window_nearest_first(iw, params.scale_w, params.inverse_w, params.slack_w, params.in_w, params.out_w);
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
    let row = index / params.row_groups;
    let start = index % params.row_groups * OUTPUTS;
    let plane = row / params.in_h * params.out_h;
    let above = first_row(row % params.in_h);
    let below = first_row(row % params.in_h + 1u);
    var ow = first_col(start);
    for (var j = 0u; j < OUTPUTS; j++) {
        let iw = start + j;
        if (iw < params.in_w) {
            var sum = 0.0;
            while (ow < params.out_w && window_nearest(ow, params.scale_w, params.in_w) == iw) {
                for (var oh = above; oh < below; oh++) {
                    sum += grad[(plane + oh) * params.out_w + ow];
                }
                ow++;
            }
            output[row * params.in_w + iw] = sum;
        }
    }
}
