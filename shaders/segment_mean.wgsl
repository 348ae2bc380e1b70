//! segment_mean
//!
//! output[s][d] = sum_{t = offsets[s]}^{offsets[s+1] - 1} input[t][d] / (offsets[s+1] - offsets[s])
//!
//! input [rows][width], offsets [segments + 1], output [segments][width]; an empty segment gives 0. Mean pooling
//! over packed sequences. One invocation makes one element, a workgroup THREADS neighbours.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
    width: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

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
    let segment = index / params.width;
    let column = index % params.width;
    let start = offsets[segment];
    let end = min(offsets[segment + 1u], params.rows);
    var sum = 0.0;
    var count = 0.0;
    for (var row = start; row < end; row++) {
        sum += input[row * params.width + column];
        count += 1.0;
    }
    output[index] = select(sum / count, 0.0, count == 0.0);
}
