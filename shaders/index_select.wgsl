//! index_select
//!
//! output[o][j][i] = input[o][index[j]][i]
//!
//! The input is seen as [outer][extent][inner]; embedding lookup is outer = 1. A large input comes in pieces of
//! rows [first, first + rows) of its middle dimension, one dispatch each: an invocation writes only where its
//! index falls into the piece. An index past the extent gives NaN (bits 0x7fc00000), written with the piece that
//! starts at 0. One invocation makes one element of any 32-bit type, a workgroup THREADS neighbours.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
    extent: u32,
    inner: u32,
    indices: u32,
    first: u32,
    rows: u32,
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
    let element = flat_workgroup(group, groups) * THREADS + thread;
    if (element >= params.count) {
        return;
    }
    let i = element % params.inner;
    let j = (element / params.inner) % params.indices;
    let o = element / (params.inner * params.indices);
    let row = index[j];
    if (row >= params.extent) {
        if (params.first == 0u) {
            output[element] = 0x7fc00000u;
        }
        return;
    }
    if (row >= params.first && row < params.first + params.rows) {
        let local = u32(i32(row) - i32(params.first));
        output[element] = input[(o * params.rows + local) * params.inner + i];
    }
}
