//! fill
//!
//! output[i] = value, for i < count
//!
//! One invocation makes one NUMBER, a workgroup THREADS of them; `count` counts units of NUMBER. `base` is used by the
//! start-up probe, whose answer must be known beforehand.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64 NUMBER=f32
//!   quad   THREADS=64 NUMBER=vec4<f32>

override THREADS: u32 = 64u;

alias NUMBER = f32;

struct Params {
    value: f32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<NUMBER>;

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
    output[index] = NUMBER(params.value);
}
