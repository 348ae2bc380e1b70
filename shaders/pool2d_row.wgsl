//! pool2d_row
//!
//! output[n][c][oh][ow] = max, or 1 / divisor * sum, over kh, kw of
//!     input[n][c][oh * stride_h + kh * dilation_h - before_h][ow * STRIDE_W + kw - before_w]
//!     over the taps that lie on the input
//!
//! What pool2d_max and pool2d_average make, for windows that overlap or touch along the rows: one invocation makes
//! OUTPUTS neighbours of a row and loads each input column of theirs once. First every column is reduced over kh, then
//! each output over its columns. OP: 0 max, 1 average over the taps on the input, 2 average over input and padding, 3 the
//! place of the maximum in its plane, ih * in_w + iw, as u32: of equals the first in row-major order, of NaN the last, and
//! 0xffffffff where a window sees no row.
//! KERNEL_W and STRIDE_W are set by the host, so that the driver keeps the columns in registers;
//! (OUTPUTS - 1) * STRIDE_W + KERNEL_W is at most COLUMNS. No dilation along the rows, and every window sees a column
//! of the input. `empty` is what a window that sees no row gives: minus infinity for the maximum, 0 for an average.
//! A workgroup makes THREADS * OUTPUTS outputs, as bits. NaN passes through.
//!
//! On lavapipe, where loads are what costs: 2x2 windows of stride 2 take half the time of pool2d_max, 3x3 of stride 1 a
//! third; places of 3x3 of stride 1 a fifth.
//!
//! uses: grid, numeric, window
//! variants:
//!   four    THREADS=64 OUTPUTS=4 COLUMNS=32
//!   eight   THREADS=64 OUTPUTS=8 COLUMNS=32

override THREADS: u32 = 64u;
override OP: u32 = 0u;
override KERNEL_W: u32 = 1u;
override STRIDE_W: u32 = 1u;
const OUTPUTS: u32 = 8u;
const COLUMNS: u32 = 32u;

struct Params {
    count: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    row_groups: u32,
    kernel_h: u32,
    stride_h: u32,
    dilation_h: u32,
    before_h: u32,
    before_w: u32,
    after_h: u32,
    after_w: u32,
    empty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const NOWHERE: u32 = 0xffffffffu;

// A candidate for the maximum and its place.
struct Candidate {
    value: f32,
    place: u32,
}

// The better of two, in whatever order they come.
fn better(a: Candidate, b: Candidate) -> Candidate {
    let other_nan = is_nan(b.value) && (!is_nan(a.value) || b.place > a.place);
    let greater = !is_nan(a.value) && (b.value > a.value || (b.value == a.value && b.place < a.place));
    let takes = a.place == NOWHERE || other_nan || greater;
    return Candidate(select(a.value, b.value, takes), select(a.place, b.place, takes));
}

fn join(a: f32, b: f32) -> f32 {
    if (OP == 0u) {
        return max_nan(a, b);
    }
    return a + b;
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
    let oh = row % params.out_h;
    let h = window_taps(oh, params.kernel_h, params.stride_h, params.dilation_h, params.before_h, params.in_h);
    var columns: array<f32, COLUMNS>;
    var places: array<u32, COLUMNS>;
    for (var x = 0u; x < (OUTPUTS - 1u) * STRIDE_W + KERNEL_W; x++) {
        columns[x] = params.empty;
        places[x] = NOWHERE;
    }
    for (var kh = h.first; kh < h.end; kh++) {
        let ih = u32(h.start + kh * i32(params.dilation_h));
        let base = (row / params.out_h * params.in_h + ih) * params.in_w;
        for (var x = 0u; x < (OUTPUTS - 1u) * STRIDE_W + KERNEL_W; x++) {
            let iw = window_input(start, x, STRIDE_W, 1u, params.before_w);
            // Past the edge of the input its last column is read. That lies in the same windows, so it leaves their
            // maximum as it is.
            let col = window_clamp(iw, params.in_w);
            let value = input[base + col];
            if (OP == 3u) {
                let best = better(Candidate(columns[x], places[x]), Candidate(value, ih * params.in_w + col));
                columns[x] = best.value;
                places[x] = best.place;
            } else {
                columns[x] = join(columns[x], select(0.0, value, OP == 0u || window_inside(iw, params.in_w)));
            }
        }
    }
    for (var j = 0u; j < OUTPUTS; j++) {
        var best = Candidate(columns[j * STRIDE_W], places[j * STRIDE_W]);
        for (var kw = 1u; kw < KERNEL_W; kw++) {
            let column = Candidate(columns[j * STRIDE_W + kw], places[j * STRIDE_W + kw]);
            if (OP == 3u) {
                best = better(best, column);
            } else {
                best.value = join(best.value, column.value);
            }
        }
        var value = best.value;
        let ow = start + j;
        if (OP == 1u || OP == 2u) {
            var places_h = h.end - h.first;
            let w = window_taps(ow, KERNEL_W, STRIDE_W, 1u, params.before_w, params.in_w);
            var places_w = w.end - w.first;
            if (OP == 2u) {
                let padded_h = params.before_h + params.in_h + params.after_h;
                places_h = window_places(oh, params.kernel_h, params.stride_h, padded_h);
                places_w = window_places(ow, KERNEL_W, STRIDE_W, params.before_w + params.in_w + params.after_w);
            }
            value = select(0.0, value / (f32(places_h) * f32(places_w)), h.first < h.end);
        }
        if (ow < params.out_w) {
            output[row * params.out_w + ow] = select(bitcast<u32>(value), best.place, OP == 3u);
        }
    }
}
