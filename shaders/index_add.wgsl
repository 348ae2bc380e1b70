//! index_add
//!
//! output[o][r][i] = sum_n input[o][order[n]][i],  starts[r] <= n < starts[r + 1]
//!
//! torch.index_add into zeros, as a gather: rows = starts[extent + 1], order[..] as index_rows makes them, so that each
//! element adds up what belongs to it and no more, in the order of the list. input is [outer][places][inner], output
//! [outer][rows][inner].
//! The output may be a block that begins at first_row; the input may be one that begins at first_place, of which places
//! beside it are left out. Of each row the list's entries skip to skip + part are added, to what is there unless fresh
//! is 1: further pieces and parts are further dispatches.
//! One invocation makes one NUMBER (four neighbours of inner, or one), a workgroup THREADS neighbours.
//! lavapipe ends an invocation after 65,535 loop iterations: there part is at most 400,000.
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 STEPS=8 NUMBER=vec4<f32>
//!   single   THREADS=64 STEPS=8 NUMBER=f32

override THREADS: u32 = 64u;
alias NUMBER = f32;
// Entries an iteration; loops of constant length are unrolled.
const STEPS: u32 = 8u;

struct Params {
    // Of outputs and inner, in units of NUMBER.
    count: u32,
    inner: u32,
    rows: u32,
    extent: u32,
    places: u32,
    first_row: u32,
    first_place: u32,
    skip: u32,
    part: u32,
    fresh: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<NUMBER>;

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
    let column = index % params.inner;
    let row = params.first_row + index / params.inner % params.rows;
    let base = index / (params.inner * params.rows) * params.places;
    let start = rows[row] + params.skip;
    let end = min(rows[row + 1u], start + params.part);
    let order = params.extent + 1u;
    var sum = NUMBER();
    for (var n = start; n < end; n += STEPS) {
        // A short sum of its own first: a long list then loses fewer digits.
        var some = NUMBER();
        for (var i = 0u; i < STEPS; i++) {
            if (n + i < end) {
                let place = rows[order + n + i];
                if (place >= params.first_place && place < params.first_place + params.places) {
                    let own = u32(i32(place) - i32(params.first_place));
                    some += input[(base + own) * params.inner + column];
                }
            }
        }
        sum += some;
    }
    if (params.fresh == 0u) {
        sum += output[index];
    }
    output[index] = sum;
}
