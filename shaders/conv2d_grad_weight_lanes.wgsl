//! conv2d_grad_weight_lanes
//!
//! output[part][oc][ic][kh][kw] = (what it held +) sum over the part's n,oh,ow of
//!     grad[n][oc][oh][ow] * input[n][ic][oh + kh - PAD][ow + kw - PAD]
//!     for TAPS x TAPS taps of stride 1; 0 outside of the input
//!
//! Tensors and flags are those of conv2d_grad_weight_gather, with one group. Input [..][WIDTH] and grad [..][COLS] have
//! planes of in_blocks loads of INS numbers and out_blocks of GRADS, all of them whole. An image's outputs are cut into
//! row_tiles units of ROWS rows; those of all images into `parts` runs of part_units, the last of which may be short or empty.
//!
//! For software adapters whose subgroups are the eight lanes of a vector; conv2d_lanes is the forward direction. A workgroup
//! is one: it makes all taps of eight channels of the output, one to a lane, by ICS of the input, in registers. Each lane
//! loads the gradients of its own channel. The inputs are the same for all: the rows that meet a unit follow each other in
//! memory, each lane loads another vector of them, and shuffles hand them on. Order: tiles of oc, tiles of ic, parts.
//!
//! Rows past the last of an image count with gradients of 0, so that a NaN of the input may reach more taps than meet it.
//!
//! What shaped it, on lavapipe: see conv2d_lanes. Some 800 multiply-adds a step are best: twice as many, from two channels of
//! the input more, were slower than one. Loads of 64-bit words: 1.06 (five_12) to 1.2 times as fast; halves of the lanes with
//! four channels of the output each, and channels of the input of their own, which leaves no lane of 20 channels idle: no
//! faster for the loads that it takes. Rates against conv2d_grad_weight_rows, a hundred images (CPU time): five_12 1.35,
//! three_10 1.5, three_28 1.4, three_26 1.35, three_12 1.15; 32 images, three_same8 1.55, three_same16 1.25.
//!
//! uses: grid, shared_rows, window, words
//! subgroups: 8
//! variants:
//!   five_12         TAPS=5 WIDTH=12 PAD=0 ROWS=4  ICS=1 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> GRADS=8 GRAD=vec4<u64>
//!   three_28        TAPS=3 WIDTH=28 PAD=0 ROWS=2  ICS=1 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> GRADS=4 GRAD=vec2<u64>
//!   three_28_plain  TAPS=3 WIDTH=28 PAD=0 ROWS=2  ICS=1 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> GRADS=4 GRAD=vec4<u32>
//!   three_26        TAPS=3 WIDTH=26 PAD=0 ROWS=2  ICS=2 WORD=u64 BITS=64 INS=4 INPUT=vec2<u64> GRADS=8 GRAD=vec4<u64>
//!   three_12        TAPS=3 WIDTH=12 PAD=0 ROWS=10 ICS=1 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> GRADS=4 GRAD=vec2<u64>
//!   three_12_plain  TAPS=3 WIDTH=12 PAD=0 ROWS=10 ICS=1 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> GRADS=4 GRAD=vec4<u32>
//!   three_10        TAPS=3 WIDTH=10 PAD=0 ROWS=8  ICS=2 WORD=u64 BITS=64 INS=4 INPUT=vec2<u64> GRADS=8 GRAD=vec4<u64>
//!   three_same16    TAPS=3 WIDTH=16 PAD=1 ROWS=4  ICS=2 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> GRADS=8 GRAD=vec4<u64>
//!   three_same8     TAPS=3 WIDTH=8  PAD=1 ROWS=8  ICS=2 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> GRADS=8 GRAD=vec4<u64>

const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const WIDTH: u32 = 12u;
const PAD: u32 = 0u;
const ROWS: u32 = 4u;
const ICS: u32 = 2u;
alias WORD = u32;
const BITS: u32 = 32u;
const COLS: u32 = WIDTH + 2u * PAD - (TAPS - 1u);
// Rows of inputs that meet a unit.
const IN_ROWS: u32 = ROWS + (TAPS - 1u);
// Numbers of a load of the input and of the gradient.
const INS: u32 = 4u;
alias INPUT = vec4<u32>;
const GRADS: u32 = 4u;
alias GRAD = vec4<u32>;
const TILES: u32 = 1u;
// Loads of a unit's gradients, and the words of one.
const GRAD_LOADS: u32 = (ROWS * COLS + (GRADS - 1u)) / GRADS;
const GRAD_WORDS: u32 = GRADS * 32u / BITS;
// Columns of a loop that is unrolled.
const STRETCH: u32 = (COLS + 1u) / 2u;

struct Params {
    batch: u32,
    in_channels: u32,
    out_channels: u32,
    in_blocks: u32,
    out_blocks: u32,
    row_tiles: u32,
    parts: u32,
    part_units: u32,
    row_start: u32,
    rows: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<INPUT>;
@group(0) @binding(2) var<storage, read> grad: array<GRAD>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

alias Grads = array<f32, GRADS * GRAD_LOADS>;
alias Sums = array<f32, ICS * TAPS * TAPS>;

// A row of the taps by columns from `first` on of a row of gradients and the row of inputs that meets both.
fn stretch(sum: ptr<function, Sums>, g: ptr<function, Grads>, x: ptr<function, Row>, tap: u32, row: u32, first: u32) {
    for (var k = 0u; k < TAPS; k++) {
        var products = 0.0;
        for (var i = 0u; i < STRETCH; i++) {
            let col = first + i;
            let iw = window_input(col, k, 1u, 1u, PAD);
            if (col < COLS && window_inside(iw, WIDTH)) {
                products += (*g)[row * COLS + col] * (*x)[u32(iw)];
            }
        }
        (*sum)[tap + k] += products;
    }
}

fn multiply(sum: ptr<function, Sums>, g: ptr<function, Grads>, x: ptr<function, Row>, ic: u32, row: u32, kh: i32) {
    if (row >= ROWS || !window_inside(kh, TAPS)) {
        return;
    }
    let tap = (ic * TAPS + u32(kh)) * TAPS;
    stretch(sum, g, x, tap, row, 0u);
    stretch(sum, g, x, tap, row, STRETCH);
}

// All that row q of the inputs adds.
fn feed(sum: ptr<function, Sums>, g: ptr<function, Grads>, tile: ptr<function, Tile>, ic: u32, q: u32) {
    if (q >= IN_ROWS) {
        return;
    }
    var x: Row;
    shared_row(&x, tile, q);
    multiply(sum, g, &x, ic, 0u, i32(q));
    multiply(sum, g, &x, ic, 1u, i32(q) - 1);
    multiply(sum, g, &x, ic, 2u, i32(q) - 2);
    multiply(sum, g, &x, ic, 3u, i32(q) - 3);
    multiply(sum, g, &x, ic, 4u, i32(q) - 4);
    multiply(sum, g, &x, ic, 5u, i32(q) - 5);
    multiply(sum, g, &x, ic, 6u, i32(q) - 6);
    multiply(sum, g, &x, ic, 7u, i32(q) - 7);
    multiply(sum, g, &x, ic, 8u, i32(q) - 8);
    multiply(sum, g, &x, ic, 9u, i32(q) - 9);
}

// All that a channel of the input adds, whose plane begins at the block `plane`.
fn meet(sum: ptr<function, Sums>, g: ptr<function, Grads>, plane: u32, first: i32, ic: u32) {
    if (ic >= ICS) {
        return;
    }
    var x: Tile;
    load_rows(&x, plane, first);
    feed(sum, g, &x, ic, 0u);
    feed(sum, g, &x, ic, 1u);
    feed(sum, g, &x, ic, 2u);
    feed(sum, g, &x, ic, 3u);
    feed(sum, g, &x, ic, 4u);
    feed(sum, g, &x, ic, 5u);
    feed(sum, g, &x, ic, 6u);
    feed(sum, g, &x, ic, 7u);
    feed(sum, g, &x, ic, 8u);
    feed(sum, g, &x, ic, 9u);
    feed(sum, g, &x, ic, 10u);
    feed(sum, g, &x, ic, 11u);
}

// A unit's gradients, from load `first` of the plane on that begins at load `plane`; zeros past the plane's end.
fn load_grads(g: ptr<function, Grads>, plane: u32, first: u32) {
    for (var i = 0u; i < GRAD_LOADS; i++) {
        let inside = first + i < params.out_blocks;
        let words = grad[plane + window_clamp(i32(first + i), params.out_blocks)];
        let a = select(vec4<f32>(), four(words[0], words[1], words[2u % GRAD_WORDS], words[3u % GRAD_WORDS]), inside);
        (*g)[GRADS * i] = a.x;
        (*g)[GRADS * i + 1u] = a.y;
        (*g)[GRADS * i + 2u] = a.z;
        (*g)[GRADS * i + 3u] = a.w;
        if (GRADS == 8u) {
            let b = select(vec4<f32>(), four(words[2u % GRAD_WORDS], words[3u % GRAD_WORDS], words[0], words[1]), inside);
            (*g)[GRADS * i + 4u] = b.x;
            (*g)[GRADS * i + 5u] = b.y;
            (*g)[GRADS * i + 6u] = b.z;
            (*g)[GRADS * i + 7u] = b.w;
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let panels = (params.out_channels + 7u) / 8u;
    let ic_tiles = (params.in_channels + (ICS - 1u)) / ICS;
    let tile = flat_workgroup(group, groups);
    let oc = tile % panels * 8u + lane;
    let ic = tile / panels % ic_tiles * ICS;
    let part = tile / panels / ic_tiles;
    if (part >= params.parts) {
        return;
    }
    // The last channels stand in for those past them, whose sums are not written.
    let own = window_clamp(i32(oc), params.out_channels);
    var sum: Sums;
    let end = min((part + 1u) * params.part_units, params.batch * params.row_tiles);
    for (var unit = part * params.part_units; unit < end; unit++) {
        let n = unit / params.row_tiles;
        let row_tile = unit % params.row_tiles;
        var g: Grads;
        load_grads(&g, (n * params.out_channels + own) * params.out_blocks, row_tile * (ROWS * COLS / GRADS));
        let first = i32(row_tile * (ROWS * WIDTH / INS) + lane) - i32(PAD * WIDTH / INS);
        let channels = n * params.in_channels;
        meet(&sum, &g, (channels + ic) * params.in_blocks, first, 0u);
        meet(&sum, &g, (channels + window_clamp(i32(ic) + 1, params.in_channels)) * params.in_blocks, first, 1u);
    }

    let first_term = ic * TAPS * TAPS;
    let depth = params.in_channels * TAPS * TAPS;
    let adds = (params.flags & 1u) > 0u;
    let row = i32(part * params.out_channels + oc) - i32(params.row_start);
    if (oc < params.out_channels && window_inside(row, params.rows)) {
        for (var i = 0u; i < ICS * TAPS * TAPS; i++) {
            if (first_term + i < depth) {
                let at = u32(row) * depth + first_term + i;
                output[at] = sum[i] + select(0.0, output[at], adds);
            }
        }
    }
}
