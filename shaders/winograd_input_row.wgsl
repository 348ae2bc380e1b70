//! winograd_input_row
//!
//! output[POINTS * r + s][c][tile] = (B^T d B)[r][s], with d the POINTS x POINTS inputs that the tile's outputs meet:
//!     d[a][b] = input[n][c][OUTPUTS * i + a - before_h][OUTPUTS * j + b - before_w], 0 outside of the input,
//!     tile = (n * tiles_h + i) * tiles_w + j, POINTS = OUTPUTS + 2; B as in lib/winograd
//!
//! What the wide rows of winograd_input make, with the same layouts, where 4 divides tiles_w: the four tiles of an
//! invocation lie in one row, so that it loads what they share once, and transforms them as vectors. For software adapters.
//! On lavapipe, 64 channels of 224x224: winograd_input 1, this 0.76; with words of 64 bits written, two numbers each, the
//! same.
//!
//! uses: grid, span, window, winograd
//! variants:
//!   four   OUTPUTS=4 SPAN=18
//!   two    OUTPUTS=2 SPAN=10

const THREADS: u32 = 8u;
const OUTPUTS: u32 = 4u;
// Inputs in a row of four tiles.
const SPAN: u32 = 18u;
const POINTS: u32 = OUTPUTS + 2u;
alias NUMBER = vec4<f32>;

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
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

// Where the inputs of four tiles begin, and whether there are such tiles.
struct Window {
    plane: u32,
    inside: bool,
    ih: i32,
    iw: i32,
}

// B^T of the row at a distance of so many from the first.
fn row(tiles: Window, a: u32) -> Line {
    let ih = tiles.ih + i32(a);
    let start = tiles.plane + window_clamp(ih, params.in_h) * params.in_w;
    let blocks = params.batch * params.channels * params.in_h * params.in_w / 4u;
    var x: array<f32, SPAN>;
    load_span(&x, start, tiles.inside && window_inside(ih, params.in_h), tiles.iw, params.in_w, blocks);
    var line: Line;
    for (var b = 0u; b < POINTS; b++) {
        line[b] = vec4<f32>(x[b], x[b + OUTPUTS], x[b + 2u * OUTPUTS], x[b + 3u * OUTPUTS]);
    }
    return winograd_inputs(line);
}

// A column of places.
fn write(line: Line, s: u32, run: u32) {
    let places = winograd_inputs(line);
    for (var r = 0u; r < POINTS; r++) {
        if (run < params.count) {
            output[(r * POINTS + s) * params.count + run] = places[r];
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
    let first = (in_panels / params.channels * params.panel_tiles + run % params.panel_tiles) * 4u;
    let n = min(first / (params.tiles_h * params.tiles_w), u32(i32(params.batch) - 1));
    let tiles = Window(
        (n * params.channels + c) * params.in_h * params.in_w,
        first < params.tiles,
        window_input(first / params.tiles_w % params.tiles_h, 0u, OUTPUTS, 1u, params.before_h),
        window_input(first % params.tiles_w, 0u, OUTPUTS, 1u, params.before_w),
    );
    let d0 = row(tiles, 0u);
    let d1 = row(tiles, 1u);
    let d2 = row(tiles, 2u);
    let d3 = row(tiles, 3u);
    var d4: Line;
    var d5: Line;
    if (POINTS > 4u) {
        d4 = row(tiles, 4u);
        d5 = row(tiles, 5u);
    }
    write(Line(d0[0], d1[0], d2[0], d3[0], d4[0], d5[0]), 0u, run);
    write(Line(d0[1], d1[1], d2[1], d3[1], d4[1], d5[1]), 1u, run);
    write(Line(d0[2], d1[2], d2[2], d3[2], d4[2], d5[2]), 2u, run);
    write(Line(d0[3], d1[3], d2[3], d3[3], d4[3], d5[3]), 3u, run);
    if (POINTS > 4u) {
        write(Line(d0[4], d1[4], d2[4], d3[4], d4[4], d5[4]), 4u, run);
        write(Line(d0[5], d1[5], d2[5], d3[5], d4[5], d5[5]), 5u, run);
    }
}
