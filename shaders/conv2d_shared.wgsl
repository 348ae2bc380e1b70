//! conv2d_shared
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! All tensors are dense: input [batch][groups * group_in][in_h][in_w], output and residual [batch][groups *
//! group_out][out_h][out_w], bias one number a channel. The bound piece of weight [oc][group_in][kernel_h][kernel_w]
//! holds the channels [oc_start, oc_start + piece_oc). flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is
//! left out is bound but never read.
//!
//! For GPUs: a product of matrices, [channels of a group][depth] by [depth][pixels of all images], of which the right
//! one is never laid out: each slice of DEPTH = 16 terms is gathered from the input into workgroup memory by the rule
//! above. A workgroup makes TILE_OC x TILE_PIXELS outputs, an invocation 4 x 4 of them. Workgroups: groups that the
//! piece touches * tiles of min(group_out, piece_oc) channels * ceil(batch * out_h * out_w / TILE_PIXELS), pixels
//! fastest. Legal: THREADS = TILE_OC * TILE_PIXELS / 16, a multiple of TILE_PIXELS and of DEPTH. t64 uses 8.2 KiB of
//! workgroup memory. t16 is for groups of few channels. Not for software adapters: on lavapipe it runs at 4 to 5 times
//! the rate of conv2d_naive, where conv2d_register runs at 50 to 70 times.
//!
//! uses: activation, grid, window
//! variants:
//!   t64   TILE_OC=64 TILE_PIXELS=64 THREADS=256
//!   t32   TILE_OC=32 TILE_PIXELS=32 THREADS=64
//!   t16   TILE_OC=16 TILE_PIXELS=64 THREADS=64

override THREADS: u32 = 256u;
override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const TILE_OC: u32 = 64u;
const TILE_PIXELS: u32 = 64u;
const DEPTH: u32 = 16u;
// One more than a tile's side: the columns that a transposing store writes fall into different banks.
const PITCH_OC: u32 = TILE_OC + 1u;
const PITCH_PIXELS: u32 = TILE_PIXELS + 1u;

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
    oc_start: u32,
    piece_oc: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// [k][oc] and [k][pixel]
var<workgroup> tile_weight: array<f32, PITCH_OC * DEPTH>;
var<workgroup> tile_input: array<f32, PITCH_PIXELS * DEPTH>;

fn put(oc: u32, oc_end: u32, pixel: u32, sum: vec4<f32>) {
    let plane = params.out_h * params.out_w;
    for (var i = 0u; i < 4u; i++) {
        if (oc < oc_end && pixel + i < params.batch * plane) {
            let image = (pixel + i) / plane * params.groups * params.group_out * plane;
            let at = image + oc * plane + (pixel + i) % plane;
            var x = sum[i];
            if ((params.flags & 1u) > 0u) {
                x += bias[oc];
            }
            x = activate(ACTIVATION, x);
            if (RESIDUAL == 1u) {
                x += residual[at];
            }
            output[at] = x;
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups);
    let plane = params.out_h * params.out_w;
    let pixels = params.batch * plane;
    let pixel_tiles = (pixels + (TILE_PIXELS - 1u)) / TILE_PIXELS;
    let oc_tiles = (min(params.group_out, params.piece_oc) + (TILE_OC - 1u)) / TILE_OC;
    let g = params.oc_start / params.group_out + tile / pixel_tiles / oc_tiles;
    if (g >= params.groups) {
        return;
    }
    // The part of the group that the piece holds.
    let oc_first = max(g * params.group_out, params.oc_start) + tile / pixel_tiles % oc_tiles * TILE_OC;
    let oc_end = min((g + 1u) * params.group_out, params.oc_start + params.piece_oc);
    let pixel_first = tile % pixel_tiles * TILE_PIXELS;
    let taps = params.kernel_h * params.kernel_w;
    let depth = select(0u, params.group_in * taps, g < params.groups);

    // What this invocation gathers: one pixel, every THREADS / TILE_PIXELS-th term; and one term of some channels.
    let own_pixel = pixel_first + thread % TILE_PIXELS;
    let channel = (own_pixel / plane * params.groups + g) * params.group_in;
    let oh = own_pixel % plane / params.out_w;
    let ow = own_pixel % params.out_w;
    let own_k = thread / TILE_PIXELS;
    let weight_k = thread % DEPTH;
    let weight_oc = thread / DEPTH;

    let oc = thread / (TILE_PIXELS / 4u) * 4u;
    let pixel = thread % (TILE_PIXELS / 4u) * 4u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var first = 0u; first < depth; first += DEPTH) {
        for (var i = 0u; i < TILE_OC * DEPTH / THREADS; i++) {
            let row = weight_oc + i * (THREADS / DEPTH);
            var value = 0.0;
            if (first + weight_k < depth && oc_first + row < oc_end) {
                let piece_oc = u32(i32(oc_first + row) - i32(params.oc_start));
                value = weight[piece_oc * depth + first + weight_k];
            }
            tile_weight[weight_k * PITCH_OC + row] = value;
        }
        for (var i = 0u; i < TILE_PIXELS * DEPTH / THREADS; i++) {
            let row = own_k + i * (THREADS / TILE_PIXELS);
            let k = first + row;
            let ic = k / taps;
            let ih = window_input(oh, k % taps / params.kernel_w, params.stride_h, params.dilation_h, params.before_h);
            let iw = window_input(ow, k % params.kernel_w, params.stride_w, params.dilation_w, params.before_w);
            var value = 0.0;
            let inside = window_inside(ih, params.in_h) && window_inside(iw, params.in_w);
            if (inside && k < depth && own_pixel < pixels) {
                value = input[((channel + ic) * params.in_h + u32(ih)) * params.in_w + u32(iw)];
            }
            tile_input[row * PITCH_PIXELS + thread % TILE_PIXELS] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * PITCH_OC + oc;
            let r = k * PITCH_PIXELS + pixel;
            let right = vec4<f32>(tile_input[r], tile_input[r + 1u], tile_input[r + 2u], tile_input[r + 3u]);
            sum0 += tile_weight[l] * right;
            sum1 += tile_weight[l + 1u] * right;
            sum2 += tile_weight[l + 2u] * right;
            sum3 += tile_weight[l + 3u] * right;
        }
        workgroupBarrier();
    }
    put(oc_first + oc, oc_end, pixel_first + pixel, sum0);
    put(oc_first + oc + 1u, oc_end, pixel_first + pixel, sum1);
    put(oc_first + oc + 2u, oc_end, pixel_first + pixel, sum2);
    put(oc_first + oc + 3u, oc_end, pixel_first + pixel, sum3);
}
