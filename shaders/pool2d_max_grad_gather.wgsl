//! pool2d_max_grad_gather
//!
//! output[n][c][ih][iw] = sum of grad[n][c][oh][ow] over the windows with indices[n][c][oh][ow] = ih * in_w + iw
//!
//! The gradient of maximum pooling with any windows: each element looks through those that reach over it for the ones
//! whose maximum it is. Indices are those of pool2d_max: 0xffffffff for a window that has none. Grad and indices
//! [planes][out_h][out_w] and output [planes][in_h][in_w] are dense; a plane is one channel of one image. span is
//! dilation * (kernel - 1) + 1. With ADAPTIVE the windows are those of lib/window.wgsl that share the input evenly, and
//! span, stride and padding are not used.
//!
//! One invocation makes a patch of ROWS rows and as many neighbours as CELLS vectors of the output have, and loads each
//! window that reaches over any of it once; a workgroup makes THREADS patches, row_groups side by side and col_groups
//! below each other in a plane. A cell is CELL, its elements' distances from the first are OFFSETS, of type PLACES; cells
//! of four need a width that 4 divides. Software adapters take the larger patches: what counts there are loads and stores.
//!
//! uses: grid, window
//! variants:
//!   one     THREADS=64 ROWS=1 CELLS=1 WIDTH=1 CELL=f32 PLACES=u32 OFFSETS=0u
//!   patch   THREADS=64 ROWS=2 CELLS=8 WIDTH=1 CELL=f32 PLACES=u32 OFFSETS=0u
//!   wide    THREADS=64 ROWS=2 CELLS=2 WIDTH=4 CELL=vec4<f32> PLACES=vec4<u32> OFFSETS=vec4<u32>(0u,1u,2u,3u)

override THREADS: u32 = 64u;
override ADAPTIVE: u32 = 0u;
const ROWS: u32 = 1u;
const CELLS: u32 = 1u;
const WIDTH: u32 = 1u;
alias CELL = f32;
alias PLACES = u32;
const OFFSETS: PLACES = 0u;

struct Params {
    count: u32,
    row_groups: u32,
    col_groups: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    span_h: u32,
    span_w: u32,
    stride_h: u32,
    stride_w: u32,
    before_h: u32,
    before_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<CELL>;

fn windows_over_rows(low: u32, high: u32) -> WindowRange {
    if (ADAPTIVE == 1u) {
        return window_adaptive_range(low, high, params.out_h, params.in_h);
    }
    return window_range(low, high, params.span_h, params.stride_h, params.before_h, params.out_h);
}

fn windows_over_cols(low: u32, high: u32) -> WindowRange {
    if (ADAPTIVE == 1u) {
        return window_adaptive_range(low, high, params.out_w, params.in_w);
    }
    return window_range(low, high, params.span_w, params.stride_w, params.before_w, params.out_w);
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
    let patch_row = index / params.row_groups;
    let plane = patch_row / params.col_groups;
    let ih = patch_row % params.col_groups * ROWS;
    let iw = index % params.row_groups * (CELLS * WIDTH);
    let h = windows_over_rows(ih, window_clamp(i32(ih + (ROWS - 1u)), params.in_h));
    let w = windows_over_cols(iw, window_clamp(i32(iw + (CELLS * WIDTH - 1u)), params.in_w));
    let first = PLACES(ih * params.in_w + iw) + OFFSETS;
    var sums: array<CELL, ROWS * CELLS>;
    for (var oh = h.first; oh < h.end; oh++) {
        let line = (plane * params.out_h + u32(oh)) * params.out_w;
        for (var ow = w.first; ow < w.end; ow++) {
            let place = PLACES(indices[line + u32(ow)]);
            let g = CELL(grad[line + u32(ow)]);
            for (var row = 0u; row < ROWS; row++) {
                for (var cell = 0u; cell < CELLS; cell++) {
                    let own = first + PLACES(row * params.in_w + cell * WIDTH);
                    sums[row * CELLS + cell] += select(CELL(0.0), g, place == own);
                }
            }
        }
    }
    for (var row = 0u; row < ROWS; row++) {
        for (var cell = 0u; cell < CELLS; cell++) {
            let col = iw + cell * WIDTH;
            if (ih + row < params.in_h && col < params.in_w) {
                output[((plane * params.in_h + ih + row) * params.in_w + col) / WIDTH] = sums[row * CELLS + cell];
            }
        }
    }
}
