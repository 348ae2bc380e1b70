//! segment_mean_grad
//!
//! output[t][d] = grad[s][d] / (offsets[s+1] - offsets[s]) for the segment s with offsets[s] <= t < offsets[s+1]
//!
//! or 0 where no segment has the row. The gradient of segment_mean: grad [segments][width], offsets [segments + 1],
//! ascending, output [rows][width]; the end of a segment beyond the rows counts as their end. One invocation finds the
//! segment of a row by halving and makes COLUMNS neighbours of it, a workgroup THREADS such runs.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64 COLUMNS=16

override THREADS: u32 = 64u;
override COLUMNS: u32 = 16u;

struct Params {
    rows: u32,
    width: u32,
    segments: u32,
    runs_per_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let run = flat_workgroup(group, groups) * THREADS + thread;
    let row = run / params.runs_per_row;
    if (row >= params.rows) {
        return;
    }
    // How many offsets are at most `row`: the last of them starts the row's segment, if that is not the end of all.
    var low = 0u;
    var high = params.segments + 1u;
    while (low < high) {
        let middle = (low + high) / 2u;
        if (offsets[middle] <= row) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    let inside = low > 0u && low <= params.segments;
    let segment = select(0u, u32(i32(low) - 1), inside);
    let count = i32(min(offsets[segment + 1u], params.rows)) - i32(offsets[segment]);
    let start = run % params.runs_per_row * COLUMNS;
    let end = min(start + COLUMNS, params.width);
    for (var column = start; column < end; column++) {
        let mean = grad[segment * params.width + column] / f32(count);
        output[row * params.width + column] = select(0.0, mean, inside);
    }
}
