//! conv2d_spread
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw]
//!                                                     * input[n][ic][oh + kh - TAPS + 1][ow + kw - TAPS + 1])
//!                         + residual[n][oc][oh][ow]
//!     for TAPS x TAPS taps of stride 1; 0 outside of the input
//!
//! A convolution with as much padding as a window reaches, as the gradient of one without padding is. Tensors, weight and
//! flags are those of conv2d_lanes, with COLS = WIDTH + TAPS - 1.
//!
//! For software adapters whose subgroups are the eight lanes of a vector. A workgroup is one, and makes eight channels of an
//! image, a channel to a lane. It goes down the image by ROWS rows of inputs, row_tiles times, loads them as conv2d_lanes
//! does, and adds each to all rows of outputs that it meets, OUT_ROWS of them for all, in registers; then the first ROWS of
//! these are whole, and the others move up. So no product meets the padding, where conv2d_lanes has a third of them do so
//! for images of 8x8 and 5x5 taps. With TILES=2 each half of the lanes has an image and four channels of its own. Images,
//! channels of one fastest.
//!
//! What shaped it, on lavapipe: see conv2d_lanes. Rates (CPU time, batches of 100): five_8 2.0 times conv2d_block's and 1.4
//! times conv2d_lanes's; three_24 2.1 and 1.07. For 3x3 of 10x10 and 8x8 conv2d_lanes is as fast. Loads and stores of 64-bit
//! words 1.1 times as fast as without, and with TILES=2 1.24 (five_8) and 1.14 (three_24), at 20 channels.
//!
//! uses: activation, eight, grid, shared_rows, tap_rows, window, words
//! subgroups: 8
//! variants:
//!   five_8          TAPS=5 WIDTH=8  ROWS=4 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=8 OUTPUT=vec4<u64> TILES=2
//!   five_8_plain    TAPS=5 WIDTH=8  ROWS=4 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=1
//!   three_24        TAPS=3 WIDTH=24 ROWS=2 WORD=u64 BITS=64 INS=8 INPUT=vec4<u64> OUTS=4 OUTPUT=vec2<u64> TILES=2
//!   three_24_plain  TAPS=3 WIDTH=24 ROWS=2 WORD=u32 BITS=32 INS=4 INPUT=vec4<u32> OUTS=4 OUTPUT=vec4<u32> TILES=1

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 5u;
const WIDTH: u32 = 8u;
const ROWS: u32 = 4u;
// The padding on either side.
const PAD: u32 = TAPS - 1u;
const COLS: u32 = WIDTH + PAD;
const IN_ROWS: u32 = ROWS;
// Rows of outputs that ROWS rows of inputs meet.
const OUT_ROWS: u32 = ROWS + PAD;
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

// All that row q of the inputs adds.
fn feed(sum: ptr<function, Sums>, w: ptr<function, Taps>, tile: ptr<function, Tile>, q: u32) {
    if (q >= ROWS) {
        return;
    }
    var x: Row;
    shared_row(&x, tile, q);
    multiply(sum, w, &x, 0u, i32(q + PAD));
    multiply(sum, w, &x, 1u, i32(q + PAD) - 1);
    multiply(sum, w, &x, 2u, i32(q + PAD) - 2);
    multiply(sum, w, &x, 3u, i32(q + PAD) - 3);
    multiply(sum, w, &x, 4u, i32(q + PAD) - 4);
    multiply(sum, w, &x, 5u, i32(q + PAD) - 5);
    multiply(sum, w, &x, 6u, i32(q + PAD) - 6);
    multiply(sum, w, &x, 7u, i32(q + PAD) - 7);
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
    let own = window_clamp(i32(oc), params.out_channels) * params.in_channels * WEIGHTS;
    var sum: Sums;
    for (var row_tile = 0u; row_tile < params.row_tiles; row_tile++) {
        let first = i32(row_tile * (ROWS * WIDTH / INS) + lane % SHARE);
        var weight_at = own;
        var plane = window_clamp(i32(n), params.batch) * params.in_channels * params.in_blocks;
        var x: Tile;
        var w: Taps;
        for (var ic = 0u; ic < params.in_channels; ic++) {
            load_rows(&x, plane, first);
            load_taps(&w, weight_at);
            feed(&sum, &w, &x, 0u);
            feed(&sum, &w, &x, 1u);
            feed(&sum, &w, &x, 2u);
            feed(&sum, &w, &x, 3u);
            weight_at += WEIGHTS;
            plane += params.in_blocks;
        }

        // As many rows are whole as the tile has of inputs, and behind the last tile all.
        let begin = row_tile * (ROWS * COLS / OUTS);
        let whole = min(begin + ROWS * COLS / OUTS, params.out_blocks);
        let end = select(whole, params.out_blocks, row_tile + 1u == params.row_tiles);
        if (oc < params.out_channels && n < params.batch) {
            var added = 0.0;
            if (params.flags > 0u) {
                added = bias[oc];
            }
            let base = (n * params.out_channels + oc) * params.out_blocks;
            // put_block with an end of its own, spelled out: with a call Mesa leaves the loop rolled, at a fifth of the speed.
            for (var i = 0u; i < OUT_ROWS * COLS / OUTS; i++) {
                var a = outputs(&sum, OUTS * i, added);
                var b = a;
                if (OUTS == 8u) {
                    b = outputs(&sum, OUTS * i + 4u, added);
                }
                let block = begin + i;
                if (block < end && block < params.out_blocks) {
                    if (RESIDUAL == 1u) {
                        a += residual[(base + block) * (OUTS / 4u)];
                        b += residual[(base + block) * (OUTS / 4u) + (OUTS / 4u - 1u)];
                    }
                    output[base + block] = stored(a, b);
                }
            }
        }
        // The rest is where the next tile's rows begin.
        for (var r = 0u; r < OUT_ROWS; r++) {
            for (var i = 0u; i < COLS; i++) {
                let next = min((r + ROWS) * COLS + i, OUT_ROWS * COLS - 1u);
                sum[r * COLS + i] = select(0.0, sum[next], r + ROWS < OUT_ROWS);
            }
        }
    }
}
