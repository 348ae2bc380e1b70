//! gated
//!
//! output[row][col] = act(input[row][col]) * input[row][width + col]
//!
//! The gated linear units of Shazeer (2020): a product made both halves of each row, of which one, activated, is the gate of
//! the other. KIND is one of lib/activation.wgsl, an override, so the driver keeps one branch. `width` and `count` are
//! in values of NUMBER, a vector of four neighbours where the width allows.
//! One invocation makes one NUMBER of the output, a workgroup THREADS neighbours.
//!
//! uses: grid, activation
//! variants:
//!   quad     THREADS=64 NUMBER=vec4<f32>
//!   single   THREADS=64 NUMBER=f32

override THREADS: u32 = 64u;
override KIND: u32 = 0u;

struct Params {
    count: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> output: array<NUMBER>;

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
    // A row of the input is two of the output.
    let at = i + i / params.width * params.width;
    output[i] = activate(KIND, input[at]) * input[at + params.width];
}
