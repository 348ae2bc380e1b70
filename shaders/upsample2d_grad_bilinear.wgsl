//! upsample2d_grad_bilinear
//!
//! output[n][c][ih][iw] = sum over oh, ow of share_h[oh][ih] * share_w[ow][iw] * grad[n][c][oh][ow]
//!
//! The gradient of upsample2d_bilinear, as a gather: an element is asked for by the places between its neighbours, each
//! for the share that it takes there. Grad [planes][out_h][out_w] and output [planes][in_h][in_w] are dense; a plane is
//! one channel of one image. A place falls to the position (place * step + offset) / below, not before 0; `reach` is 1, but
//! 0 on an axis that keeps its extent. The host keeps in * below + |offset| within i32. A place without a share hands on
//! nothing, not even NaN.
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
    step_h: u32,
    step_w: u32,
    offset_h: i32,
    offset_w: i32,
    below_h: u32,
    below_w: u32,
    reach_h: u32,
    reach_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn places_of_row(ih: u32) -> WindowRange {
    return window_between_range(ih, params.step_h, params.offset_h, params.below_h, params.reach_h, params.out_h);
}

fn places_of_col(iw: u32) -> WindowRange {
    return window_between_range(iw, params.step_w, params.offset_w, params.below_w, params.reach_w, params.out_w);
}

fn share_of_row(oh: u32, ih: u32) -> f32 {
    let p = params;
    return window_between_share(oh, ih, p.step_h, p.offset_h, p.below_h, p.reach_h, p.in_h);
}

fn share_of_col(ow: u32, iw: u32) -> f32 {
    let p = params;
    return window_between_share(ow, iw, p.step_w, p.offset_w, p.below_w, p.reach_w, p.in_w);
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
    let ih = row % params.in_h;
    let plane = row / params.in_h * params.out_h;
    let h = places_of_row(ih);
    for (var j = 0u; j < OUTPUTS; j++) {
        let iw = index % params.row_groups * OUTPUTS + j;
        if (iw < params.in_w) {
            let w = places_of_col(iw);
            var sum = 0.0;
            for (var ow = w.first; ow < w.end; ow++) {
                var column = 0.0;
                for (var oh = h.first; oh < h.end; oh++) {
                    let share = share_of_row(u32(oh), ih);
                    let part = share * grad[(plane + u32(oh)) * params.out_w + u32(ow)];
                    column += select(0.0, part, share > 0.0);
                }
                let share = share_of_col(u32(ow), iw);
                sum += select(0.0, share * column, share > 0.0);
            }
            output[row * params.in_w + iw] = sum;
        }
    }
}
