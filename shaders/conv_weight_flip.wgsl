//! conv_weight_flip
//!
//! output[g * group_out + o][i][kh][kw] = input[g * group_in + i][o][kernel_h - 1 - kh][kernel_w - 1 - kw]
//!
//! The weight of the convolution that a transposed convolution of stride 1 is: input is [groups * group_in][group_out][taps]
//! and output [groups * group_out][group_in][taps], with the taps of both axes in one. The bound piece of the output holds
//! the channels [oc_start, oc_start + piece_oc). An invocation copies the taps of one pair of channels, and makes a row of
//! `row` numbers of them: past the last tap zeros, as the kernels want them that read taps in rows.
//!
//! uses: grid
//! variants:
//!   base   THREADS=8

override THREADS: u32 = 8u;

struct Params {
    group_in: u32,
    group_out: u32,
    taps: u32,
    row: u32,
    oc_start: u32,
    piece_oc: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let pair = flat_workgroup(group, groups) * THREADS + thread;
    if (pair >= params.piece_oc * params.group_in) {
        return;
    }
    let oc = params.oc_start + pair / params.group_in;
    let i = pair % params.group_in;
    let plane = (oc / params.group_out * params.group_in + i) * params.group_out + oc % params.group_out;
    // A bound that depends on the invocation, where params alone would do: see matmul_register.
    let end = (pair + 1u) * params.row;
    let first = i32(plane * params.taps);
    var from_end = first + i32(params.taps);
    for (var at = pair * params.row; at < end; at++) {
        from_end -= 1;
        output[at] = select(0.0, input[max(from_end, first)], from_end >= first);
    }
}
