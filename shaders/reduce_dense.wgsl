//! reduce_dense
//!
//! output[row] = op over c of input[row][c]
//!
//! reduce_row for rows of neighbours, on software adapters: no address is computed, and vectors of four, where 4 divides the
//! columns, take a quarter of the loads. OP and the output's bits as there. `cols` counts values of NUMBER.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows: one with `serial`, for many rows, all eight with
//! `octet`, for a few long ones, such as the scores of a vocabulary. A row past the end has no elements instead of returning
//! early, so that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce, best
//! variants:
//!   serial        THREADS=8 LANES=1 WIDTH=1 NUMBER=f32 INDEX=u32
//!   serial_wide   THREADS=8 LANES=1 WIDTH=4 NUMBER=vec4<f32> INDEX=vec4<u32>
//!   octet         THREADS=8 LANES=8 WIDTH=1 NUMBER=f32 INDEX=u32
//!   octet_wide    THREADS=8 LANES=8 WIDTH=4 NUMBER=vec4<f32> INDEX=vec4<u32>

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override OP: u32 = 0u;
const WIDTH: u32 = 1u;
alias NUMBER = f32;
alias INDEX = u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let base = row * params.cols;
    let cols = select(0u, params.cols, row < params.rows);
    if (OP < 2u) {
        var sums = NUMBER();
        for (var col = lane; col < cols; col += LANES) {
            sums += input[base + col];
        }
        let four = vec4<f32>(sums);
        let sum = row_sum(thread, select(four.x, (four.x + four.y) + (four.z + four.w), WIDTH == 4u));
        if (lane == 0u && row < params.rows) {
            output[row] = bitcast<u32>(select(sum, sum / f32(params.cols * WIDTH), OP == 1u));
        }
        return;
    }
    // The first column of a lane starts each of its WIDTH races; a later one must be greater, or the first NaN.
    var bests = input[select(0u, base + lane, lane < cols)];
    var places = INDEX(select(EMPTY, lane, lane < cols));
    for (var col = lane + LANES; col < cols; col += LANES) {
        let x = input[base + col];
        let x_nan = (bitcast<INDEX>(x) & INDEX(0x7fffffffu)) > INDEX(0x7f800000u);
        let best_nan = (bitcast<INDEX>(bests) & INDEX(0x7fffffffu)) > INDEX(0x7f800000u);
        let replaces = (x > bests) | (x_nan & !best_nan);
        bests = select(bests, x, replaces);
        places = select(places, INDEX(col), replaces);
    }
    var best = Best(vec4<f32>(bests).x, vec4<u32>(places).x);
    if (best.index != EMPTY) {
        best.index = best.index * WIDTH;
        for (var i = 1u; i < WIDTH; i++) {
            let next = Best(vec4<f32>(bests)[i], vec4<u32>(places)[i] * WIDTH + i);
            if (is_better(next, best)) {
                best = next;
            }
        }
    }
    best = row_best(thread, best);
    if (lane == 0u && row < params.rows) {
        output[row] = select(bitcast<u32>(best.value), best.index, OP == 3u);
    }
}
