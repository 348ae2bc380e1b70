//! one_hot
//!
//! output[n][c] = [c = labels[n]]
//!
//! 1 at each row's label and 0 elsewhere. A label past the last class makes the whole row NaN (bits 0x7fc00000).
//! One invocation makes one element, a workgroup THREADS neighbours.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

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
    let label = labels[element / params.classes];
    let hit = select(0.0, 1.0, element % params.classes == label);
    output[element] = select(0x7fc00000u, bitcast<u32>(hit), label < params.classes);
}
