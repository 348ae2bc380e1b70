//! dropout
//!
//! output[i] = input[i] * scale where word(first + i) >= threshold, else input[i] * 0
//!
//! Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014), scaled in training as PyTorch does. The
//! word of an element is one of four that Philox makes for the counter (element / 4, 4, step, stream), 4 being the
//! purpose, under the seed; random = (seed low, seed high, step, 0). Elements are counted over the whole tensor: a block
//! of it says with which it begins, as a block of four and a place in that. A factor of 0 keeps NaN.
//! One invocation makes the elements of one block of four, a workgroup THREADS neighbours.
//!
//! uses: grid, random
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

const PURPOSE: u32 = 4u;

struct Params {
    count: u32,
    first_block: u32,
    first_place: u32,
    stream: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> random: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = flat_workgroup(group, groups) * THREADS + thread;
    // Among the elements here; the first block may begin before them.
    let start = i32(4u * block) - i32(params.first_place);
    if (start >= i32(params.count)) {
        return;
    }
    let counter = vec4<u32>(params.first_block + block, PURPOSE, random[2], params.stream);
    let words = philox(counter, vec2<u32>(random[0], random[1]));
    let factors = select(vec4<f32>(), vec4<f32>(params.scale), words >= vec4<u32>(params.threshold));
    for (var i = 0; i < 4; i++) {
        let at = start + i;
        if (at >= 0 && at < i32(params.count)) {
            output[at] = input[at] * factors[i];
        }
    }
}
