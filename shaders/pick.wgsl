//! pick
//!
//! output[n] = input[n][index[n]]
//!
//! One element of each row of [rows][cols], of any 32-bit type. An index past the last column gives NaN (bits
//! 0x7fc00000), and nothing is read there. One invocation makes one element, a workgroup THREADS neighbours.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = flat_workgroup(group, groups) * THREADS + thread;
    if (row >= params.rows) {
        return;
    }
    let col = index[row];
    let known = col < params.cols;
    output[row] = select(0x7fc00000u, input[row * params.cols + select(0u, col, known)], known);
}
