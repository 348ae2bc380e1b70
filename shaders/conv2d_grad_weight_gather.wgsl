//! conv2d_grad_weight_gather
//!
//! output[part][oc][ic][kh][kw] = (what it held +) sum over the part's n,oh,ow of
//!     grad[n][oc][oh][ow] * input[n][g * group_in + ic][ih][iw]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! input is [batch][groups * group_in][in_h][in_w], grad [batch][groups * group_out][out_h][out_w], output
//! [parts][groups * group_out][group_in][kernel_h][kernel_w], of which the bound piece holds the rows, parts and channels in
//! one, from row_start on. The pixels of all images, batch * out_h * out_w, are cut into `parts` runs of part_pixels; the
//! last may be short or empty. flags: 1 adds to what the output holds, so that a batch may come in pieces, one dispatch
//! after the other.
//!
//! For software adapters, and any window. An invocation makes 16 channels of the output by 16 terms, neighbours in
//! [ic][kh][kw], in registers, without workgroup memory or barriers; it loads 16 gradients and 16 inputs for each pixel. A
//! workgroup is 8 of them, in this order: tiles of terms, tiles of channels, groups, parts.
//!
//! uses: grid, window
//! variants:
//!   base   THREADS=8

const THREADS: u32 = 8u;
const TERMS: u32 = 16u;

struct Params {
    batch: u32,
    groups: u32,
    group_in: u32,
    group_out: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    before_h: u32,
    before_w: u32,
    parts: u32,
    part_pixels: u32,
    row_start: u32,
    rows: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// Channels past the group's last repeat it; their sums are not written.
fn four(at: u32, oc: u32) -> vec4<f32> {
    let plane = params.out_h * params.out_w;
    let last = u32(i32(params.group_out) - 1);
    return vec4<f32>(
        grad[at + min(oc, last) * plane],
        grad[at + min(oc + 1u, last) * plane],
        grad[at + min(oc + 2u, last) * plane],
        grad[at + min(oc + 3u, last) * plane],
    );
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let taps = params.kernel_h * params.kernel_w;
    let depth = params.group_in * taps;
    let term_tiles = (depth + (TERMS - 1u)) / TERMS;
    let channel_tiles = (params.group_out + 15u) / 16u;
    let term_first = tile % term_tiles * TERMS;
    let oc_first = tile / term_tiles % channel_tiles * 16u;
    let g = tile / term_tiles / channel_tiles % params.groups;
    let part = tile / term_tiles / channel_tiles / params.groups;
    if (part >= params.parts) {
        return;
    }
    let in_plane = params.in_h * params.in_w;
    let out_plane = params.out_h * params.out_w;

    // Where each term lies from a window's corner. Terms past the last repeat it.
    var row: array<i32, TERMS>;
    var col: array<i32, TERMS>;
    var channel: array<u32, TERMS>;
    var sum: array<mat4x4<f32>, TERMS>;
    for (var t = 0u; t < TERMS; t++) {
        let term = min(term_first + t, u32(i32(depth) - 1));
        row[t] = window_input(0u, term % taps / params.kernel_w, params.stride_h, params.dilation_h, params.before_h);
        col[t] = window_input(0u, term % params.kernel_w, params.stride_w, params.dilation_w, params.before_w);
        channel[t] = term / taps * in_plane;
    }

    var pixel = part * params.part_pixels;
    let end = min(pixel + params.part_pixels, params.batch * out_plane);
    var oh = pixel % out_plane / params.out_w;
    var ow = pixel % params.out_w;
    let image_in = params.groups * params.group_in * in_plane;
    let image_out = params.groups * params.group_out * out_plane;
    var image = (pixel / out_plane * params.groups + g) * params.group_in * in_plane;
    var at = (pixel / out_plane * params.groups + g) * params.group_out * out_plane + pixel % out_plane;
    for (; pixel < end; pixel++) {
        let right = mat4x4<f32>(
            four(at, oc_first),
            four(at, oc_first + 4u),
            four(at, oc_first + 8u),
            four(at, oc_first + 12u),
        );
        let ih_first = i32(oh * params.stride_h);
        let iw_first = i32(ow * params.stride_w);
        for (var t = 0u; t < TERMS; t++) {
            let ih = ih_first + row[t];
            let iw = iw_first + col[t];
            let place = window_clamp(ih, params.in_h) * params.in_w + window_clamp(iw, params.in_w);
            let x = input[image + channel[t] + place];
            sum[t] += right * select(0.0, x, window_inside(ih, params.in_h) && window_inside(iw, params.in_w));
        }
        ow++;
        let row_done = ow == params.out_w;
        ow = select(ow, 0u, row_done);
        oh += select(0u, 1u, row_done);
        let image_done = oh == params.out_h;
        oh = select(oh, 0u, image_done);
        image += select(0u, image_in, image_done);
        at += select(1u, 1u + u32(i32(image_out) - i32(out_plane)), image_done);
    }

    let oc_end = min(oc_first + 16u, params.group_out);
    let term_end = min(term_first + TERMS, depth);
    for (var term = term_first; term < term_end; term++) {
        var sums = sum[0];
        for (var t = 1u; t < TERMS; t++) {
            let own = term_first + t == term;
            sums = mat4x4<f32>(
                select(sums[0], sum[t][0], own),
                select(sums[1], sum[t][1], own),
                select(sums[2], sum[t][2], own),
                select(sums[3], sum[t][3], own),
            );
        }
        for (var oc = oc_first; oc < oc_end; oc++) {
            let c = u32(i32(oc) - i32(oc_first));
            let low = select(sums[0], sums[1], c >= 4u);
            let high = select(sums[2], sums[3], c >= 12u);
            let x = select(low, high, c >= 8u)[c % 4u];
            let channel = (part * params.groups + g) * params.group_out + oc;
            let row = i32(channel) - i32(params.row_start);
            if (window_inside(row, params.rows) && term < depth) {
                let place = u32(row) * depth + term;
                output[place] = x + select(0.0, output[place], (params.flags & 1u) > 0u);
            }
        }
    }
}
