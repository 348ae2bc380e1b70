//! lerp
//!
//! variable[i] += momentum[i] (factor[i] input[i] - variable[i])
//!
//! Running means that move towards new values, in place: the running statistics of batch norms. Where guard[0] is 0
//! nothing changes. NUMBER is four neighbours where lengths allow; a dispatch makes those from `begin` to before `end`.
//! One invocation makes STEPS numbers at a distance of THREADS.
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 STEPS=4 NUMBER=vec4<f32>
//!   single   THREADS=64 STEPS=1 NUMBER=f32

override THREADS: u32 = 64u;
override STEPS: u32 = 4u;

alias NUMBER = vec4<f32>;

struct Params {
    begin: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> variable: array<NUMBER>;
@group(0) @binding(2) var<storage, read> input: array<NUMBER>;
@group(0) @binding(3) var<storage, read> momentum: array<NUMBER>;
@group(0) @binding(4) var<storage, read> factor: array<NUMBER>;
@group(0) @binding(5) var<storage, read> guard: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let start = params.begin + flat_workgroup(group, groups) * (THREADS * STEPS) + thread;
    if (start >= params.end || guard[0] == 0.0) {
        return;
    }
    for (var step = 0u; step < STEPS; step++) {
        let i = start + step * THREADS;
        if (i < params.end) {
            let old = variable[i];
            variable[i] = old + momentum[i] * (factor[i] * input[i] - old);
        }
    }
}
