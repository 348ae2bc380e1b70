//! pack_half
//!
//! output[i] = the halves nearest to input[2 i], in the low bits, and input[2 i + 1]
//!
//! Rounded to nearest even, infinite beyond 65504, as torch.Tensor.half: see lib/half.wgsl. The numbers are read as bits, so
//! that those below f32's least normal one are no matter to the driver.
//! One invocation makes one word, a workgroup THREADS neighbours. Runs once a weight, at load.
//!
//! uses: grid, half
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

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
    let pair = input[i];
    output[i] = pack_halves(pair.x, pair.y);
}
