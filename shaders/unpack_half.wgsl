//! unpack_half
//!
//! output[2 i], output[2 i + 1] = the halves in the low and in the high bits of input[i]
//!
//! One invocation makes two numbers, a workgroup THREADS neighbouring pairs.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<vec2<f32>>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = flat_workgroup(group, groups) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    output[i] = unpack2x16float(input[i]);
}
