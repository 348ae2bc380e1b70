//! conv2d_lanes
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][ic][oh + kh - PAD][ow + kw - PAD])
//!                         + residual[n][oc][oh][ow]
//!     for TAPS x TAPS taps of stride 1; 0 outside of the input
//!
//! Input [batch][in_channels][..][WIDTH] and output [batch][out_channels][..][COLS] are dense, the weight is
//! [out_channels][in_channels][WEIGHTS * 8]: the taps of a channel in rows, then zeros. in_blocks and out_blocks are the
//! vectors of a plane, which is made of whole ones. flags: 1 bias. Where there is no bias or no residual, their bindings
//! are not read.
//!
//! For software adapters whose subgroups are the eight lanes of a vector. A workgroup is one: it makes ROWS whole rows of
//! outputs, of which row_tiles cover an image, for eight channels, a channel to a lane, in registers. All lanes meet the
//! same inputs, so they load them together, each another vector of the tile's rows, which follow each other in memory, and
//! hand them on by shuffles from a lane that is known when the kernel is compiled. A load costs as much as some forty
//! multiply-adds; this way a step over one input channel, of 400 to 1200 of them, takes five to nine loads; with WORD=u64
//! one brings eight taps. With HEIGHT the tile is a whole image of so many rows, and no product meets the padding; otherwise
//! only the padding beside a row is left out. Tiles, channels of an image fastest.
//!
//! What shaped it, on lavapipe: lanes, rows and columns must be constants once loops are unrolled, which Mesa does up to
//! some 800 instructions; what it does not unroll is ten times as slow. The driver takes time with the square of the
//! accesses to an array: 0.3 s for most variants, 10 s for tiles of 144 outputs. Rates against conv2d_block for batches of
//! 100 (CPU time): five_12 1.5, five_28 1.05; three_28 1.4, three_26 1.6, three_12 2.1, three_10 1.5, three_full8 2.1,
//! three_full10 1.4; batches of 32: three_same8 1.8, three_same16 1.5, three_same32 1.6.
//!
//! uses: activation, eight, grid, shared_rows, tap_rows, window
//! subgroups: 8
//! variants:
//!   five_28       TAPS=5 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0  WORD=u32 BITS=32
//!   five_12       TAPS=5 WIDTH=12 PAD=0 ROWS=4  HEIGHT=0  WORD=u64 BITS=64
//!   three_28      TAPS=3 WIDTH=28 PAD=0 ROWS=2  HEIGHT=0  WORD=u32 BITS=32
//!   three_26      TAPS=3 WIDTH=26 PAD=0 ROWS=4  HEIGHT=0  WORD=u64 BITS=64
//!   three_12      TAPS=3 WIDTH=12 PAD=0 ROWS=10 HEIGHT=0  WORD=u64 BITS=64
//!   three_10      TAPS=3 WIDTH=10 PAD=0 ROWS=8  HEIGHT=0  WORD=u64 BITS=64
//!   three_full10  TAPS=3 WIDTH=10 PAD=2 ROWS=6  HEIGHT=0  WORD=u64 BITS=64
//!   three_full8   TAPS=3 WIDTH=8  PAD=2 ROWS=10 HEIGHT=8  WORD=u64 BITS=64
//!   three_same32  TAPS=3 WIDTH=32 PAD=1 ROWS=3  HEIGHT=0  WORD=u64 BITS=64
//!   three_same16  TAPS=3 WIDTH=16 PAD=1 ROWS=4  HEIGHT=0  WORD=u64 BITS=64
//!   three_same8   TAPS=3 WIDTH=8  PAD=1 ROWS=8  HEIGHT=8  WORD=u64 BITS=64

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
// Rows of inputs that meet a tile, and the loads that all lanes together take for them.
const IN_ROWS: u32 = select(ROWS + (TAPS - 1u), HEIGHT, HEIGHT > 0u);
const LOADS: u32 = (IN_ROWS * WIDTH + 31u) / 32u;
alias WORD = u32;
const BITS: u32 = 32u;

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
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

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
    let panels = (params.out_channels + 7u) / 8u;
    let tile = flat_workgroup(group, groups);
    // The last channel stands in for those past it, whose sums are not written.
    let oc = tile % panels * 8u + lane;
    let row_tile = tile / panels % params.row_tiles;
    let n = tile / panels / params.row_tiles;
    if (n >= params.batch) {
        return;
    }
    var weight_at = window_clamp(i32(oc), params.out_channels) * params.in_channels * WEIGHTS;
    let above = select(i32(PAD * WIDTH / 4u), 0, HEIGHT > 0u);
    let first = i32(row_tile * (ROWS * WIDTH / 4u) + lane) - above;
    var plane = n * params.in_channels * params.in_blocks;
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

    if (oc < params.out_channels) {
        var added = 0.0;
        if (params.flags > 0u) {
            added = bias[oc];
        }
        let base = (n * params.out_channels + oc) * params.out_blocks;
        for (var i = 0u; i < ROWS * COLS / 4u; i++) {
            let block = row_tile * (ROWS * COLS / 4u) + i;
            var y = vec4<f32>(
                activate(ACTIVATION, sum[4u * i] + added),
                activate(ACTIVATION, sum[4u * i + 1u] + added),
                activate(ACTIVATION, sum[4u * i + 2u] + added),
                activate(ACTIVATION, sum[4u * i + 3u] + added),
            );
            if (block < params.out_blocks) {
                if (RESIDUAL == 1u) {
                    y += residual[base + block];
                }
                output[base + block] = y;
            }
        }
    }
}
