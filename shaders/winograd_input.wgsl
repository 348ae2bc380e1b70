//! winograd_input
//!
//! output[POINTS * r + s][c][tile] = (B^T d B)[r][s], with d the POINTS x POINTS inputs that the tile's outputs meet:
//!     d[a][b] = input[n][c][OUTPUTS * i + a - before_h][OUTPUTS * j + b - before_w], 0 outside of the input,
//!     tile = (n * tiles_h + i) * tiles_w + j, POINTS = OUTPUTS + 2; B as in lib/winograd
//!
//! The first of three steps of a 3x3 convolution: one matrix for each place of a transformed tile, the right sides of a
//! batch of products. input is [batch][channels][in_h][in_w]. The tiles lie in panels of panel_tiles * LANES, as a product
//! reads them: output is [POINTS^2][panel][channel][panel_tiles * LANES], zero past the last tile. One panel that holds
//! all tiles is the plain [POINTS^2][channel][tiles].
//!
//! One invocation makes LANES neighbouring tiles of a channel, a workgroup THREADS such runs; `count` runs are a matrix.
//! Neighbours write neighbouring addresses. A NaN or an infinity of the input reaches every place of the tiles that hold
//! it.
//!
//! The rows wide4 and wide2 are for software adapters, where a load costs the same whatever its width: they load the input
//! as vec4, whole blocks whatever their alignment, and need a number of elements that 4 divides. Loops of more than thirty
//! iterations or some 800 instructions are not unrolled there, and what they index stays in memory: hence rows and columns
//! spelled out, which halved the time. winograd_input_row is faster where it can be taken.
//!
//! uses: grid, span, window, winograd
//! variants:
//!   wide4   OUTPUTS=4 THREADS=8  LANES=4 INPUT=vec4<f32> NUMBERS=vec4<f32> LANE=vec4<f32>(0.0,1.0,2.0,3.0)
//!   wide2   OUTPUTS=2 THREADS=8  LANES=4 INPUT=vec4<f32> NUMBERS=vec4<f32> LANE=vec4<f32>(0.0,1.0,2.0,3.0)
//!   base4   OUTPUTS=4 THREADS=64 LANES=1 INPUT=f32 NUMBERS=f32 LANE=0.0
//!   base2   OUTPUTS=2 THREADS=64 LANES=1 INPUT=f32 NUMBERS=f32 LANE=0.0

override THREADS: u32 = 64u;
const OUTPUTS: u32 = 4u;
const LANES: u32 = 1u;
alias INPUT = f32;
alias NUMBER = f32;
alias NUMBERS = f32;
const LANE: NUMBERS = 0.0;
const POINTS: u32 = OUTPUTS + 2u;
const SPAN: u32 = POINTS;

struct Params {
    count: u32,
    tiles: u32,
    tiles_h: u32,
    tiles_w: u32,
    channels: u32,
    panel_tiles: u32,
    batch: u32,
    in_h: u32,
    in_w: u32,
    before_h: u32,
    before_w: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<INPUT>;
@group(0) @binding(2) var<storage, read_write> output: array<NUMBERS>;

// A row of a tile: where its channel starts, and whether there is such a tile.
struct Window {
    plane: u32,
    inside: bool,
    ih: i32,
    iw: i32,
}

// B^T of the row at a distance of so many from the first.
fn row(tile: Window, a: u32) -> Line {
    let ih = tile.ih + i32(a);
    let start = tile.plane + window_clamp(ih, params.in_h) * params.in_w;
    let inside = tile.inside && window_inside(ih, params.in_h);
    var x: array<f32, SPAN>;
    if (LANES > 1u) {
        let blocks = params.batch * params.channels * params.in_h * params.in_w / 4u;
        load_span(&x, start, inside, tile.iw, params.in_w, blocks);
    } else {
        for (var b = 0u; b < SPAN; b++) {
            // The conversion is for the sake of the other type that INPUT may have.
            let value = vec4<f32>(input[start + window_clamp(tile.iw + i32(b), params.in_w)]).x;
            x[b] = select(0.0, value, inside && window_inside(tile.iw + i32(b), params.in_w));
        }
    }
    var line: Line;
    for (var b = 0u; b < SPAN; b++) {
        line[b] = x[b];
    }
    return winograd_inputs(line);
}

alias Places = array<NUMBERS, 6>;

fn insert(places: ptr<function, Places>, line: Line, lane: u32) {
    for (var r = 0u; r < POINTS; r++) {
        (*places)[r] = select((*places)[r], NUMBERS(line[r]), LANE == NUMBERS(f32(lane)));
    }
}

// A column of places of a run.
fn write(places: ptr<function, Places>, s: u32, run: u32) {
    for (var r = 0u; r < POINTS; r++) {
        if (run < params.count) {
            output[(r * POINTS + s) * params.count + run] = (*places)[r];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let run = flat_workgroup(group, groups) * THREADS + thread;
    if (run >= params.count) {
        return;
    }
    let in_panels = run / params.panel_tiles;
    let c = in_panels % params.channels;
    let panel = in_panels / params.channels;
    let first = (panel * params.panel_tiles + run % params.panel_tiles) * LANES;
    var n = first / (params.tiles_h * params.tiles_w);
    var i = first / params.tiles_w % params.tiles_h;
    var j = first % params.tiles_w;
    var places0: Places;
    var places1: Places;
    var places2: Places;
    var places3: Places;
    var places4: Places;
    var places5: Places;
    let end = first + LANES;
    for (var tile = first; tile < end; tile++) {
        let image = min(n, u32(i32(params.batch) - 1));
        let window = Window(
            (image * params.channels + c) * params.in_h * params.in_w,
            tile < params.tiles,
            window_input(i, 0u, OUTPUTS, 1u, params.before_h),
            window_input(j, 0u, OUTPUTS, 1u, params.before_w),
        );
        let d0 = row(window, 0u);
        let d1 = row(window, 1u);
        let d2 = row(window, 2u);
        let d3 = row(window, 3u);
        var d4: Line;
        var d5: Line;
        if (POINTS > 4u) {
            d4 = row(window, 4u);
            d5 = row(window, 5u);
        }
        let lane = u32(i32(tile) - i32(first));
        insert(&places0, winograd_inputs(Line(d0[0], d1[0], d2[0], d3[0], d4[0], d5[0])), lane);
        insert(&places1, winograd_inputs(Line(d0[1], d1[1], d2[1], d3[1], d4[1], d5[1])), lane);
        insert(&places2, winograd_inputs(Line(d0[2], d1[2], d2[2], d3[2], d4[2], d5[2])), lane);
        insert(&places3, winograd_inputs(Line(d0[3], d1[3], d2[3], d3[3], d4[3], d5[3])), lane);
        if (POINTS > 4u) {
            insert(&places4, winograd_inputs(Line(d0[4], d1[4], d2[4], d3[4], d4[4], d5[4])), lane);
            insert(&places5, winograd_inputs(Line(d0[5], d1[5], d2[5], d3[5], d4[5], d5[5])), lane);
        }
        // The next tile: the next row at the end of one, the next image at the end of its rows.
        j++;
        let row_done = j == params.tiles_w;
        j = select(j, 0u, row_done);
        i += select(0u, 1u, row_done);
        let image_done = i == params.tiles_h;
        i = select(i, 0u, image_done);
        n += select(0u, 1u, image_done);
    }
    write(&places0, 0u, run);
    write(&places1, 1u, run);
    write(&places2, 2u, run);
    write(&places3, 3u, run);
    if (POINTS > 4u) {
        write(&places4, 4u, run);
        write(&places5, 5u, run);
    }
}
