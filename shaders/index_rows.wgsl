//! index_rows
//!
//! output = starts[extent + 1], order[count], spare[count]
//!
//! Which places of a list of indices name a row: those that name row r are order[starts[r]] up to order[starts[r + 1]],
//! in ascending order. Places whose index is extent or more come last. A merge sort that never compares places, and so
//! keeps equal indices as they lie; each STAGE is a dispatch of its own:
//!   0  sorts runs of RUN places, each by the number of those before it; invocations make places
//!   1  merges pairs of sorted runs of params.run places, each place by a search in the other run
//!   2  searches in order for the starts; invocations make rows, and one end
//! Sorted places go to and fro between order and spare: they are read from output[source] on, and written from
//! output[result] on. One invocation makes one number, a workgroup THREADS neighbours. For a list of n indices stage 0
//! loads n * RUN of them, stage 1 in all about n log(n / RUN) log(n) numbers.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64 RUN=256

override THREADS: u32 = 64u;
override RUN: u32 = 256u;
override STAGE: u32 = 0u;

struct Params {
    count: u32,
    extent: u32,
    run: u32,
    source: u32,
    result: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// How many of the places from begin to end, sorted and at output[source] on, come before: those with an index below
// this one, or up to it.
fn before(begin: u32, end: u32, row: u32, or_equal: bool) -> u32 {
    var low = begin;
    var high = end;
    while (low < high) {
        let middle = (low + high) / 2u;
        let other = index[output[params.source + middle]];
        if (other < row || (or_equal && other == row)) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return u32(i32(low) - i32(begin));
}

fn sort_run(place: u32) {
    let begin = place / RUN * RUN;
    let end = min(begin + RUN, params.count);
    let row = index[place];
    var rank = 0u;
    for (var i = begin; i < end; i++) {
        let other = index[i];
        rank += select(0u, 1u, other < row || (other == row && i < place));
    }
    if (place < params.count) {
        output[params.result + begin + rank] = place;
    }
}

fn merge_runs(at: u32) {
    let run = at / params.run;
    let place = output[params.source + at];
    // The first of two runs holds the earlier places.
    let second = run % 2u == 1u;
    let pair = run / 2u * 2u * params.run;
    let begin = min(select(pair + params.run, pair, second), params.count);
    let end = min(begin + params.run, params.count);
    let rank = at % params.run + before(begin, end, index[place], second);
    if (at < params.count) {
        output[params.result + pair + rank] = place;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = flat_workgroup(group, groups) * THREADS + thread;
    if (STAGE == 2u) {
        if (i <= params.extent) {
            output[i] = before(0u, params.count, i, false);
        }
        return;
    }
    if (i >= params.count) {
        return;
    }
    if (STAGE == 0u) {
        sort_run(i);
    } else {
        merge_runs(i);
    }
}
