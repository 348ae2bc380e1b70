//! fill
//!
//! output[i] = value, for i < count
//!
//! One invocation makes one element, a workgroup THREADS of them. Used by the start-up probe, whose answer must be
//! known beforehand.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    value: f32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

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
    output[index] = params.value;
}
