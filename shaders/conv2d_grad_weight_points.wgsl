//! conv2d_grad_weight_points
//!
//! output[part][oc][ic] = (what it held +) sum over the part's n,p of
//!     grad[n][oc][p] * input[n][g * group_in + ic][p],  g = oc / group_out
//!
//! The gradient of a 1x1 convolution's weight, without stride or padding. Tensors and flags are those of
//! conv2d_grad_weight_gather. A plane of pixels p is `blocks` vectors of four; the blocks of all images are cut into
//! `parts` runs of part_blocks, the last of which may be short or empty.
//!
//! For software adapters. An invocation makes eight channels of the input by eight or, with HALVES=2, sixteen of the
//! output, in registers, without workgroup memory or barriers, four pixels at a step. A workgroup is 8 of them, in this
//! order: tiles of ic, tiles of oc, groups, parts. On lavapipe it takes two fifths of conv2d_grad_weight_rows's time for
//! such a window, and 0.7 of the forward convolution's: 24 loads for 512 multiply-adds.
//!
//! uses: grid, window
//! variants:
//!   wide     HALVES=2
//!   narrow   HALVES=1

const THREADS: u32 = 8u;
const HALVES: u32 = 2u;

struct Params {
    batch: u32,
    groups: u32,
    group_in: u32,
    group_out: u32,
    blocks: u32,
    parts: u32,
    part_blocks: u32,
    row_start: u32,
    rows: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

alias Eight = array<vec4<f32>, 8>;
alias Sums = array<f32, 64>;

fn accumulate(sum: ptr<function, Sums>, g: ptr<function, Eight>, x: ptr<function, Eight>) {
    for (var o = 0u; o < 8u; o++) {
        for (var i = 0u; i < 8u; i++) {
            (*sum)[o * 8u + i] += dot((*g)[o], (*x)[i]);
        }
    }
}

// Channels past the group's last repeat it; their sums are not written.
fn load_grads(g: ptr<function, Eight>, at: u32, oc: u32) {
    let last = u32(i32(params.group_out) - 1);
    for (var o = 0u; o < 8u; o++) {
        (*g)[o] = grad[at + min(oc + o, last) * params.blocks];
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let ic_tiles = (params.group_in + 7u) / 8u;
    let oc_tiles = (params.group_out + (HALVES * 8u - 1u)) / (HALVES * 8u);
    let ic_first = tile % ic_tiles * 8u;
    let oc_first = tile / ic_tiles % oc_tiles * HALVES * 8u;
    let g = tile / ic_tiles / oc_tiles % params.groups;
    let part = tile / ic_tiles / oc_tiles / params.groups;
    if (part >= params.parts) {
        return;
    }
    let ic_last = u32(i32(params.group_in) - 1);

    var block = part * params.part_blocks;
    let end = min(block + params.part_blocks, params.batch * params.blocks);
    let n = block / params.blocks;
    var within = block % params.blocks;
    var in_at = (n * params.groups + g) * params.group_in * params.blocks + within;
    var out_at = (n * params.groups + g) * params.group_out * params.blocks + within;
    // From an image's last block to the next one's first.
    let in_jump = u32(i32(params.groups * params.group_in * params.blocks) - i32(params.blocks));
    let out_jump = u32(i32(params.groups * params.group_out * params.blocks) - i32(params.blocks));
    var x: Eight;
    var grads: Eight;
    var low: Sums;
    var high: Sums;
    for (; block < end; block++) {
        for (var i = 0u; i < 8u; i++) {
            x[i] = input[in_at + min(ic_first + i, ic_last) * params.blocks];
        }
        load_grads(&grads, out_at, oc_first);
        accumulate(&low, &grads, &x);
        if (HALVES > 1u) {
            load_grads(&grads, out_at, oc_first + 8u);
            accumulate(&high, &grads, &x);
        }
        within++;
        let image_done = within == params.blocks;
        within = select(within, 0u, image_done);
        in_at += select(1u, 1u + in_jump, image_done);
        out_at += select(1u, 1u + out_jump, image_done);
    }

    let oc_end = min(oc_first + HALVES * 8u, params.group_out);
    let adds = (params.flags & 1u) > 0u;
    for (var oc = oc_first; oc < oc_end; oc++) {
        let o = oc % 8u;
        let second = HALVES > 1u && oc >= oc_first + 8u;
        var sum: array<f32, 8>;
        for (var i = 0u; i < 8u; i++) {
            for (var k = 0u; k < 8u; k++) {
                sum[i] = select(sum[i], select(low[k * 8u + i], high[k * 8u + i], second), o == k);
            }
        }
        let row = i32((part * params.groups + g) * params.group_out + oc) - i32(params.row_start);
        if (window_inside(row, params.rows)) {
            for (var i = 0u; i < 8u; i++) {
                if (ic_first + i < params.group_in) {
                    let at = u32(row) * params.group_in + ic_first + i;
                    output[at] = sum[i] + select(0.0, output[at], adds);
                }
            }
        }
    }
}
