//! pool2d_max_grad_pairs
//!
//! output[..][2 oh + i][2 ow + j] = grad[..][oh][ow] if that is where the maximum of input[..][2 oh + i][2 ow + j] over
//!     i and j in 0 and 1 lies, else 0
//!
//! The gradient of maximum pooling with windows of 2x2 side by side, not padded: of equals the first has the maximum,
//! of NaN the last, as in pool2d_max. Input and output [planes][in_h][in_w] and grad [planes][out_h][out_w] are dense,
//! in_w is even and out_w its half. Of an odd height the last row makes windows of its own where out_h counts them
//! (ceil_mode), else it is in none.
//!
//! One invocation makes both rows of WINDOWS neighbouring windows, from one load of each input row and one of grad; a
//! workgroup THREADS of these. `row_groups` of them make a row. PAIR is the binding's vector of 2 * WINDOWS elements of a
//! row, GRADS that of their windows: where a load costs about the same whatever its width, as on software adapters, width is
//! what counts. EVEN says that the height is even, whereupon rows follow each other through all planes: a division less,
//! and a tenth of the time. On lavapipe `four` takes three quarters of the time of `two`; two units an invocation are slower.
//!
//! uses: grid, numeric, words
//! variants:
//!   one   THREADS=64 WINDOWS=1 WORD=u32 BITS=32 PAIR=vec2<u32> GRADS=u32
//!   two   THREADS=64 WINDOWS=2 WORD=u32 BITS=32 PAIR=vec4<u32> GRADS=vec2<u32>
//!   four  THREADS=64 WINDOWS=4 WORD=u64 BITS=64 PAIR=vec4<u64> GRADS=vec2<u64>

override THREADS: u32 = 64u;
override EVEN: u32 = 0u;
const WINDOWS: u32 = 2u;
alias WORD = u32;
const BITS: u32 = 32u;
alias PAIR = vec4<u32>;
alias GRADS = vec2<u32>;

struct Params {
    count: u32,
    row_groups: u32,
    in_h: u32,
    out_h: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<PAIR>;
@group(0) @binding(2) var<storage, read> grad: array<GRADS>;
@group(0) @binding(3) var<storage, read_write> output: array<PAIR>;

// Two neighbours of a row: those of window i.
fn columns(row: PAIR, i: u32) -> vec2<f32> {
    if (BITS == 64u) {
        return vec2<f32>(low(row[i]), high(row[i]));
    }
    return vec2<f32>(low(row[2u * i]), low(row[2u * i + 1u]));
}

// Where in its window of two rows the maximum lies; without the lower one if there is none.
fn place(a: f32, b: f32, c: f32, d: f32, lower: bool) -> u32 {
    var best = a;
    var at = 0u;
    if (replaces(b, best)) {
        best = b;
        at = 1u;
    }
    if (lower && replaces(c, best)) {
        best = c;
        at = 2u;
    }
    if (lower && replaces(d, best)) {
        at = 3u;
    }
    return at;
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
    // Rows are counted in pairs; the last one of an odd height has a pair for itself.
    let pair = index / params.row_groups;
    var above = index + pair * params.row_groups;
    var window = index;
    var lower = true;
    var seen = true;
    if (EVEN == 0u) {
        let pairs = (params.in_h + 1u) / 2u;
        let plane = pair / pairs;
        let row = pair % pairs;
        let col = index % params.row_groups;
        above = (plane * params.in_h + 2u * row) * params.row_groups + col;
        window = (plane * params.out_h + row) * params.row_groups + col;
        lower = 2u * row + 1u < params.in_h;
        seen = row < params.out_h;
    }
    let under = above + params.row_groups;
    let top = input[above];
    // What is in no window or has no row below reads some place that is there, and makes nothing of it.
    let bottom = input[select(above, under, lower)];
    let grads = vec2<WORD>(grad[select(0u, window, seen)]);
    var first: PAIR;
    var second: PAIR;
    for (var i = 0u; i < WINDOWS; i++) {
        let a = columns(top, i);
        let b = columns(bottom, i);
        let at = place(a.x, a.y, b.x, b.y, lower);
        var own = low(grads[i * 32u / BITS]);
        if (BITS == 64u && i % 2u == 1u) {
            own = high(grads[i / 2u]);
        }
        let g = select(0.0, own, seen);
        let left = vec2<f32>(select(0.0, g, at == 0u), select(0.0, g, at == 2u));
        let right = vec2<f32>(select(0.0, g, at == 1u), select(0.0, g, at == 3u));
        if (BITS == 64u) {
            first[i] = word(left.x, right.x);
            second[i] = word(left.y, right.y);
        } else {
            first[2u * i] = word(left.x, 0.0);
            first[2u * i + 1u] = word(right.x, 0.0);
            second[2u * i] = word(left.y, 0.0);
            second[2u * i + 1u] = word(right.y, 0.0);
        }
    }
    output[above] = first;
    if (lower) {
        output[under] = second;
    }
}
