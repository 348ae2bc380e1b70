//! upsample2d_nearest
//!
//! output[n][c][oh][ow] = input[n][c][floor(oh * scale_h)][floor(ow * scale_w)],  scale = in / out along each axis
//!
//! Input [planes][in_h][in_w] and output [planes][out_h][out_w] are dense; a plane is one channel of one image. The
//! host divides the extents, in f32, and the product is rounded to f32 here, as PyTorch does both: which element is
//! the nearest depends on it. Elements are moved as 32-bit words, so every bit arrives.
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

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
    let ih = window_nearest(row % params.out_h, params.scale_h, params.in_h);
    let base = (row / params.out_h * params.in_h + ih) * params.in_w;
    for (var j = 0u; j < OUTPUTS; j++) {
        let ow = index % params.row_groups * OUTPUTS + j;
        if (ow < params.out_w) {
            output[row * params.out_w + ow] = input[base + window_nearest(ow, params.scale_w, params.in_w)];
        }
    }
}
