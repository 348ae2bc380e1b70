//! conv2d_lanes_one
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_kh,kw weight[oc][0][kh][kw] * input[n][0][oh + kh][ow + kw])
//!                         + residual[n][oc][oh][ow]
//!     for TAPS x TAPS taps of stride 1, no padding, and one channel of the input
//!
//! Tensors, weight and flags are those of conv2d_lanes. In row_tiles steps of ROWS rows the outputs of an image are made.
//!
//! For software adapters whose subgroups are the eight lanes of a vector, and the first convolution of a network. A workgroup
//! is one: its lanes are TILES groups that have an image each, a channel to a lane. It loads the taps once and goes down the
//! image: without a loop over channels, sums are written without a mask, and loads and stores weigh more than products.
//! Images, channels of one fastest.
//!
//! What shaped it, on lavapipe: see conv2d_lanes, against which, of 20 channels, five_28 takes 0.69 of the time and three_28
//! 0.71, with TILES=1 0.74 and 0.89. Four rows a step are slower: 0.8 of the speed, and the code exceeds the cache.
//!
//! uses: activation, eight, grid, shared_rows, tap_rows, window, words
//! subgroups: 8
//! variants:
//!   five_28         TAPS=5 WIDTH=28 ROWS=2 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=2
//!   five_28_plain   TAPS=5 WIDTH=28 ROWS=2 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=2
//!   three_28        TAPS=3 WIDTH=28 ROWS=2 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=4 OUTPUT=vec2<u64> TILES=2
//!   three_28_plain  TAPS=3 WIDTH=28 ROWS=2 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=2

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const WIDTH: u32 = 28u;
const PAD: u32 = 0u;
const ROWS: u32 = 2u;
const COLS: u32 = WIDTH - (TAPS - 1u);
// Rows of outputs of a step, and of inputs that meet them.
const OUT_ROWS: u32 = ROWS;
const IN_ROWS: u32 = ROWS + (TAPS - 1u);
alias WORD = u32;
const BITS: u32 = 32u;
// Numbers of a load of the input and of a store.
const INS: u32 = 4u;
alias INPUT = vec4<u32>;
const OUTS: u32 = 4u;
alias OUTPUT = vec4<u32>;
const TILES: u32 = 2u;

struct Params {
    batch: u32,
    out_channels: u32,
    in_blocks: u32,
    out_blocks: u32,
    row_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<INPUT>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<OUTPUT>;

// All that row q of the inputs adds to the sums.
fn feed(sum: ptr<function, Sums>, w: ptr<function, Taps>, tile: ptr<function, Tile>, q: u32) {
    if (q >= IN_ROWS) {
        return;
    }
    var x: Row;
    shared_row(&x, tile, q);
    multiply(sum, w, &x, 0u, i32(q));
    multiply(sum, w, &x, 1u, i32(q) - 1);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let panels = (params.out_channels + (SHARE - 1u)) / SHARE;
    let tile = flat_workgroup(group, groups);
    let oc = tile % panels * SHARE + lane % SHARE;
    let first_image = tile / panels * TILES;
    if (first_image >= params.batch) {
        return;
    }
    let n = first_image + lane / SHARE;
    first_lane = lane / SHARE * SHARE;
    // The last channel and image stand in for those past them, whose sums are not written.
    let own = window_clamp(i32(oc), params.out_channels);
    let plane = window_clamp(i32(n), params.batch) * params.in_blocks;
    var w: Taps;
    load_taps(&w, own * WEIGHTS);
    var added = 0.0;
    if (params.flags > 0u) {
        added = bias[own];
    }
    for (var row_tile = 0u; row_tile < params.row_tiles; row_tile++) {
        var x: Tile;
        load_rows(&x, plane, i32(row_tile * (ROWS * WIDTH / INS) + lane % SHARE));
        var sum: Sums;
        feed(&sum, &w, &x, 0u);
        feed(&sum, &w, &x, 1u);
        feed(&sum, &w, &x, 2u);
        feed(&sum, &w, &x, 3u);
        feed(&sum, &w, &x, 4u);
        feed(&sum, &w, &x, 5u);
        if (oc < params.out_channels && n < params.batch) {
            let base = (n * params.out_channels + oc) * params.out_blocks;
            for (var i = 0u; i < ROWS * COLS / OUTS; i++) {
                put_block(&sum, i, added, base, row_tile * (ROWS * COLS / OUTS) + i);
            }
        }
    }
}
