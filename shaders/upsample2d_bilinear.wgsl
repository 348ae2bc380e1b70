//! upsample2d_bilinear
//!
//! output[n][c][oh][ow] = sum over i, j of share_h[i] * share_w[j] * input[n][c][ih + i][iw + j],  i, j in 0 and 1,
//!     share[1] = position - floor(position), share[0] = 1 - share[1], ih and iw the floors
//!
//! Input [planes][in_h][in_w] and output [planes][out_h][out_w] are dense; a plane is one channel of one image. The
//! position on an axis is (place * step + offset) / below, not before 0: integers that the host makes of the extents,
//! so that the shares are as exact as a quotient of small integers. `reach` is 1, but 0 on an axis that keeps its
//! extent; there, and behind the last element, the element itself stands for its neighbour. The host keeps
//! (out - 1) * step + |offset| within i32.
//!
//! One invocation makes OUTPUTS neighbours of a row, a workgroup THREADS times as many. NaN passes through.
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
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

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
    let h = window_between(row % params.out_h, params.step_h, params.offset_h, params.below_h);
    let plane = row / params.out_h * params.in_h;
    let above = (plane + h.first) * params.in_w;
    let under = (plane + window_clamp(i32(h.first + params.reach_h), params.in_h)) * params.in_w;
    for (var j = 0u; j < OUTPUTS; j++) {
        let ow = index % params.row_groups * OUTPUTS + j;
        if (ow < params.out_w) {
            let w = window_between(ow, params.step_w, params.offset_w, params.below_w);
            let next = window_clamp(i32(w.first + params.reach_w), params.in_w);
            let top = (1.0 - w.share) * input[above + w.first] + w.share * input[above + next];
            let bottom = (1.0 - w.share) * input[under + w.first] + w.share * input[under + next];
            output[row * params.out_w + ow] = (1.0 - h.share) * top + h.share * bottom;
        }
    }
}
