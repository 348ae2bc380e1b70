//! copy_strided
//!
//! output[output_offset + sum_a i_a * output_stride_a] = input[input_offset + sum_a i_a * input_stride_a]
//!
//! Copies 32-bit elements of any type between two strided views: permute, slice and concat are this kernel with
//! other strides. Up to eight dimensions, the fastest first; strides and offsets count elements.
//! One invocation copies one element, a workgroup THREADS neighbours of the index space.
//!
//! uses: grid, strided
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
    rank: u32,
    input_offset: u32,
    output_offset: u32,
    shape_low: vec4<u32>,
    shape_high: vec4<u32>,
    input_low: vec4<u32>,
    input_high: vec4<u32>,
    output_low: vec4<u32>,
    output_high: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

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
    var rest = index;
    var source = params.input_offset;
    var destination = params.output_offset;
    for (var a = 0u; a < params.rank; a++) {
        let extent = axis(params.shape_low, params.shape_high, a);
        let i = rest % extent;
        rest = rest / extent;
        source += i * axis(params.input_low, params.input_high, a);
        destination += i * axis(params.output_low, params.output_high, a);
    }
    output[destination] = input[source];
}
