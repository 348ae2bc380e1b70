//! conv2d_lanes
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][ic][oh + kh - PAD][ow + kw - PAD])
//!                         + residual[n][oc][oh][ow]
//!     for TAPS x TAPS taps of stride 1; 0 outside of the input
//!
//! Input [batch][in_channels][..][WIDTH] and output [batch][out_channels][..][COLS] are dense, the weight is
//! [out_channels][in_channels][WEIGHTS * 8]: the taps of a channel in rows, then zeros. in_blocks are the loads of INS
//! numbers of a plane of the input, out_blocks the stores of OUTS numbers of one of the output; both are made of whole ones.
//! flags: 1 bias. Where there is no bias or no residual, their bindings are not read.
//!
//! For software adapters whose subgroups are the eight lanes of a vector. A workgroup is one: it makes ROWS whole rows of
//! outputs, of which row_tiles cover an image, for eight channels, a channel to a lane, in registers. All lanes meet the
//! same inputs, so they load them together, each another vector of the tile's rows, which follow each other in memory, and
//! hand them on by shuffles from a lane that is known when the kernel is compiled. A load costs as much as some forty
//! multiply-adds; this way a step over one input channel, of 400 to 1200 of them, takes five to nine loads. With HEIGHT the
//! tile is a whole image of so many rows, and no product meets the padding; otherwise only the padding beside a row is left
//! out. With TILES=2 each half of the lanes has a tile and four channels of its own: for 20 or 50 channels, of which eights
//! leave lanes idle, at twice the loads of inputs. Tiles, channels of an image fastest; then those of the next.
//!
//! What shaped it, on lavapipe: lanes, rows and columns must be constants once loops are unrolled, which Mesa does up to
//! some 800 instructions; what it does not unroll is ten times as slow. The driver takes time with the square of the
//! accesses to an array: 0.3 s for most variants, 10 s for tiles of 144 outputs. Loads and stores take their time by lanes
//! and words, of whatever length: with WORD=u64 they move two numbers a word, for 1.03 to 1.2 times the speed, most with one
//! channel of the input. Rates against conv2d_block for batches of 100 (CPU time), before that: five_12 1.5, five_28 1.05;
//! three_28 1.4, three_26 1.6, three_12 2.1, three_10 1.5, three_full8 2.1, three_full10 1.4; batches of 32: three_same8 1.8,
//! three_same16 1.5, three_same32 1.6. TILES=2 against 1, 20 channels: three_full10 1.1, three_26 0.99, three_28 0.88; 50:
//! five_12 1.04, three_full8 1.03, three_10 0.96.
//!
//! uses: activation, eight, grid, shared_rows, tap_rows, window, words
//! subgroups: 8
//! variants:
//!   five_28         TAPS=5 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1
//!   five_28_plain   TAPS=5 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=1
//!   five_12         TAPS=5 WIDTH=12 PAD=0 ROWS=4  HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=2
//!   three_28        TAPS=3 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=4 OUTPUT=vec2<u64> TILES=1
//!   three_28_plain  TAPS=3 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=1
//!   three_26        TAPS=3 WIDTH=26 PAD=0 ROWS=4  HEIGHT=0 WORD=u64 BITS=64 INS=4 INPUT=vec2<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1
//!   three_12        TAPS=3 WIDTH=12 PAD=0 ROWS=10 HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=4 OUTPUT=vec2<u64> TILES=1
//!   three_10        TAPS=3 WIDTH=10 PAD=0 ROWS=8  HEIGHT=0 WORD=u64 BITS=64 INS=4 INPUT=vec2<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1
//!   three_full10    TAPS=3 WIDTH=10 PAD=2 ROWS=6  HEIGHT=0 WORD=u64 BITS=64 INS=4 INPUT=vec2<u64> OUTS=8 OUTPUT=vec4<u64> TILES=2
//!   three_full8     TAPS=3 WIDTH=8  PAD=2 ROWS=10 HEIGHT=8 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=4 OUTPUT=vec2<u64> TILES=2
//!   three_same32    TAPS=3 WIDTH=32 PAD=1 ROWS=3  HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1
//!   three_same16    TAPS=3 WIDTH=16 PAD=1 ROWS=4  HEIGHT=0 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1
//!   three_same8     TAPS=3 WIDTH=8  PAD=1 ROWS=8  HEIGHT=8 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=1

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const WIDTH: u32 = 12u;
const PAD: u32 = 0u;
const ROWS: u32 = 4u;
const HEIGHT: u32 = 0u;
const COLS: u32 = WIDTH + 2u * PAD - (TAPS - 1u);
// Rows of outputs of a tile.
const OUT_ROWS: u32 = ROWS;
// Rows of inputs that meet a tile.
const IN_ROWS: u32 = select(ROWS + (TAPS - 1u), HEIGHT, HEIGHT > 0u);
alias WORD = u32;
const BITS: u32 = 32u;
// Numbers of a load of the input and of a store.
const INS: u32 = 4u;
alias INPUT = vec4<u32>;
const OUTS: u32 = 4u;
alias OUTPUT = vec4<u32>;
const TILES: u32 = 1u;

struct Params {
    batch: u32,
    in_channels: u32,
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

// All that row q of the inputs adds to the tile.
fn feed(sum: ptr<function, Sums>, w: ptr<function, Taps>, tile: ptr<function, Tile>, q: u32) {
    if (q >= IN_ROWS) {
        return;
    }
    var x: Row;
    shared_row(&x, tile, q);
    let kh = i32(q) + select(0, i32(PAD), HEIGHT > 0u);
    multiply(sum, w, &x, 0u, kh);
    multiply(sum, w, &x, 1u, kh - 1);
    multiply(sum, w, &x, 2u, kh - 2);
    multiply(sum, w, &x, 3u, kh - 3);
    multiply(sum, w, &x, 4u, kh - 4);
    multiply(sum, w, &x, 5u, kh - 5);
    multiply(sum, w, &x, 6u, kh - 6);
    multiply(sum, w, &x, 7u, kh - 7);
    multiply(sum, w, &x, 8u, kh - 8);
    multiply(sum, w, &x, 9u, kh - 9);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let panels = (params.out_channels + (SHARE - 1u)) / SHARE;
    let pair = flat_workgroup(group, groups);
    // The last channel stands in for those past it, whose sums are not written.
    let oc = pair % panels * SHARE + lane % SHARE;
    let first_tile = pair / panels * TILES;
    if (first_tile >= params.batch * params.row_tiles) {
        return;
    }
    let tile = first_tile + lane / SHARE;
    first_lane = lane / SHARE * SHARE;
    let row_tile = tile % params.row_tiles;
    let n = tile / params.row_tiles;
    var weight_at = window_clamp(i32(oc), params.out_channels) * params.in_channels * WEIGHTS;
    let above = select(i32(PAD * WIDTH / INS), 0, HEIGHT > 0u);
    let first = i32(row_tile * (ROWS * WIDTH / INS) + lane % SHARE) - above;
    // The last image stands in for one past it.
    var plane = window_clamp(i32(n), params.batch) * params.in_channels * params.in_blocks;
    var x: Tile;
    var w: Taps;
    var sum: Sums;
    for (var ic = 0u; ic < params.in_channels; ic++) {
        load_rows(&x, plane, first);
        load_taps(&w, weight_at);
        feed(&sum, &w, &x, 0u);
        feed(&sum, &w, &x, 1u);
        feed(&sum, &w, &x, 2u);
        feed(&sum, &w, &x, 3u);
        feed(&sum, &w, &x, 4u);
        feed(&sum, &w, &x, 5u);
        feed(&sum, &w, &x, 6u);
        feed(&sum, &w, &x, 7u);
        feed(&sum, &w, &x, 8u);
        feed(&sum, &w, &x, 9u);
        feed(&sum, &w, &x, 10u);
        feed(&sum, &w, &x, 11u);
        weight_at += WEIGHTS;
        plane += params.in_blocks;
    }

    if (oc < params.out_channels && n < params.batch) {
        var added = 0.0;
        if (params.flags > 0u) {
            added = bias[oc];
        }
        let base = (n * params.out_channels + oc) * params.out_blocks;
        for (var i = 0u; i < ROWS * COLS / OUTS; i++) {
            put_block(&sum, i, added, base, row_tile * (ROWS * COLS / OUTS) + i);
        }
    }
}
