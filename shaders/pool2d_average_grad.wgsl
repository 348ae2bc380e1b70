//! pool2d_average_grad
//!
//! output[n][c][ih][iw] = sum of grad[n][c][oh][ow] / divisor(oh, ow) over the windows that the element is in
//!
//! The gradient of average pooling, as a gather. The divisor is the number of taps that lie on the input, or with
//! COUNT_PADDING on the input and its padding, as in pool2d_average. Grad [planes][out_h][out_w] and output
//! [planes][in_h][in_w] are dense; a plane is one channel of one image. With ADAPTIVE the windows are those of
//! lib/window.wgsl that share the input evenly, and kernel, stride and padding are not used.
//!
//! One invocation makes a patch of ROWS rows and as many neighbours as CELLS vectors of the output have, and loads each
//! window that reaches over any of it once; a workgroup makes THREADS patches, row_groups side by side and col_groups
//! below each other in a plane. A cell is CELL, its elements' distances from the first are OFFSETS, of type PLACES; cells
//! of four need a width that 4 divides. Software adapters take the larger patches: what counts there are loads and stores.
//!
//! uses: grid, window
//! variants:
//!   one     THREADS=64 ROWS=1 CELLS=1 WIDTH=1 CELL=f32 PLACES=i32 OFFSETS=0
//!   patch   THREADS=64 ROWS=2 CELLS=8 WIDTH=1 CELL=f32 PLACES=i32 OFFSETS=0
//!   wide    THREADS=64 ROWS=2 CELLS=2 WIDTH=4 CELL=vec4<f32> PLACES=vec4<i32> OFFSETS=vec4<i32>(0,1,2,3)

override THREADS: u32 = 64u;
override COUNT_PADDING: u32 = 0u;
override ADAPTIVE: u32 = 0u;
const ROWS: u32 = 1u;
const CELLS: u32 = 1u;
const WIDTH: u32 = 1u;
alias CELL = f32;
alias PLACES = i32;
const OFFSETS: PLACES = 0;

struct Params {
    count: u32,
    row_groups: u32,
    col_groups: u32,
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
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<CELL>;

// A window along an axis: its positions on the input, from `first` to before `end`, and what it divides by.
struct Share {
    first: i32,
    end: i32,
    places: f32,
}

fn share(taps: WindowTaps) -> Share {
    return Share(taps.start + taps.first, taps.start + taps.end, f32(taps.end - taps.first));
}

fn share_of_rows(oh: u32) -> Share {
    if (ADAPTIVE == 1u) {
        return share(window_adaptive(oh, params.out_h, params.in_h));
    }
    var rows = share(window_taps(oh, params.kernel_h, params.stride_h, 1u, params.before_h, params.in_h));
    if (COUNT_PADDING == 1u) {
        let padded = params.before_h + params.in_h + params.after_h;
        rows.places = f32(window_places(oh, params.kernel_h, params.stride_h, padded));
    }
    return rows;
}

fn share_of_cols(ow: u32) -> Share {
    if (ADAPTIVE == 1u) {
        return share(window_adaptive(ow, params.out_w, params.in_w));
    }
    var cols = share(window_taps(ow, params.kernel_w, params.stride_w, 1u, params.before_w, params.in_w));
    if (COUNT_PADDING == 1u) {
        let padded = params.before_w + params.in_w + params.after_w;
        cols.places = f32(window_places(ow, params.kernel_w, params.stride_w, padded));
    }
    return cols;
}

fn windows_over_rows(low: u32, high: u32) -> WindowRange {
    if (ADAPTIVE == 1u) {
        return window_adaptive_range(low, high, params.out_h, params.in_h);
    }
    return window_range(low, high, params.kernel_h, params.stride_h, params.before_h, params.out_h);
}

fn windows_over_cols(low: u32, high: u32) -> WindowRange {
    if (ADAPTIVE == 1u) {
        return window_adaptive_range(low, high, params.out_w, params.in_w);
    }
    return window_range(low, high, params.kernel_w, params.stride_w, params.before_w, params.out_w);
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
    let first = PLACES(i32(iw)) + OFFSETS;
    var sums: array<CELL, ROWS * CELLS>;
    for (var oh = h.first; oh < h.end; oh++) {
        let rows = share_of_rows(u32(oh));
        let line = (plane * params.out_h + u32(oh)) * params.out_w;
        for (var ow = w.first; ow < w.end; ow++) {
            let cols = share_of_cols(u32(ow));
            let g = grad[line + u32(ow)] / (rows.places * cols.places);
            for (var row = 0u; row < ROWS; row++) {
                let at_h = i32(ih + row);
                let part = CELL(select(0.0, g, at_h >= rows.first && at_h < rows.end));
                for (var cell = 0u; cell < CELLS; cell++) {
                    let at_w = first + PLACES(i32(cell * WIDTH));
                    let inside = (at_w >= PLACES(cols.first)) & (at_w < PLACES(cols.end));
                    sums[row * CELLS + cell] += select(CELL(0.0), part, inside);
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
