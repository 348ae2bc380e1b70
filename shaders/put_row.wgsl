//! put_row
//!
//! variable[index[0]][i] = row[i]
//!
//! One row of [rows][cols] is replaced, of any 32-bit type; an index past the last row changes nothing. One invocation
//! moves one element, a workgroup THREADS neighbours.
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
@group(0) @binding(1) var<storage, read_write> variable: array<u32>;
@group(0) @binding(2) var<storage, read> row: array<u32>;
@group(0) @binding(3) var<storage, read> index: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let col = flat_workgroup(group, groups) * THREADS + thread;
    let place = index[0];
    if (col >= params.cols || place >= params.rows) {
        return;
    }
    variable[place * params.cols + col] = row[col];
}
