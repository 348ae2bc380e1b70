//! conv2d_grad_weight_shared
//!
//! output[part][oc][ic][kh][kw] = (what it held +) sum over the part's n,oh,ow of
//!     grad[n][oc][oh][ow] * input[n][g * group_in + ic][ih][iw]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! Tensors, parts and flags are those of conv2d_grad_weight_gather.
//!
//! For GPUs, and any window: a product of matrices, [channels of a group][pixels of all images] by [pixels][terms], where
//! a term is one of [ic][kh][kw]. Neither is laid out: each slice of DEPTH = 16 pixels is gathered into workgroup memory.
//! A workgroup makes TILE_OC x TILE_TERMS outputs of a part, an invocation 4 x 4 of them. Workgroups: parts * groups *
//! tiles of channels * tiles of terms, terms fastest. Legal: THREADS = TILE_OC * TILE_TERMS / 16, a multiple of DEPTH.
//! t64 uses 8.2 KiB of workgroup memory.
//!
//! uses: grid, window
//! variants:
//!   t64   TILE_OC=64 TILE_TERMS=64 THREADS=256
//!   t32   TILE_OC=32 TILE_TERMS=32 THREADS=64
//!   t16   TILE_OC=16 TILE_TERMS=64 THREADS=64

override THREADS: u32 = 256u;
const TILE_OC: u32 = 64u;
const TILE_TERMS: u32 = 64u;
const DEPTH: u32 = 16u;
// One more than a tile's side: the columns that a transposing store writes fall into different banks.
const PITCH_OC: u32 = TILE_OC + 1u;
const PITCH_TERMS: u32 = TILE_TERMS + 1u;

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

// [pixel][oc] and [pixel][term]
var<workgroup> tile_grad: array<f32, PITCH_OC * DEPTH>;
var<workgroup> tile_input: array<f32, PITCH_TERMS * DEPTH>;

fn put(first: u32, oc: u32, term: u32, depth: u32, sum: vec4<f32>) {
    let row = i32(first + oc) - i32(params.row_start);
    let inside = oc < params.group_out && window_inside(row, params.rows);
    for (var i = 0u; i < 4u; i++) {
        if (inside && term + i < depth) {
            let at = u32(row) * depth + term + i;
            var x = sum[i];
            if ((params.flags & 1u) > 0u) {
                x += output[at];
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
    let taps = params.kernel_h * params.kernel_w;
    let depth = params.group_in * taps;
    let term_tiles = (depth + (TILE_TERMS - 1u)) / TILE_TERMS;
    let oc_tiles = (params.group_out + (TILE_OC - 1u)) / TILE_OC;
    let term_first = tile % term_tiles * TILE_TERMS;
    let oc_first = tile / term_tiles % oc_tiles * TILE_OC;
    let g = tile / term_tiles / oc_tiles % params.groups;
    let part = tile / term_tiles / oc_tiles / params.groups;
    if (part >= params.parts) {
        return;
    }
    let in_plane = params.in_h * params.in_w;
    let out_plane = params.out_h * params.out_w;
    let pixel_first = part * params.part_pixels;
    let pixel_end = min(pixel_first + params.part_pixels, params.batch * out_plane);

    // What this invocation gathers: one pixel of each slice, for every so-manieth channel and term. Neighbours take
    // neighbouring pixels, which lie side by side in both tensors.
    let own_k = thread % DEPTH;
    let own_row = thread / DEPTH;
    let oc = thread / (TILE_TERMS / 4u) * 4u;
    let term = thread % (TILE_TERMS / 4u) * 4u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var first = pixel_first; first < pixel_end; first += DEPTH) {
        let pixel = first + own_k;
        let n = pixel / out_plane;
        let oh = pixel % out_plane / params.out_w;
        let ow = pixel % params.out_w;
        let grad_at = (n * params.groups + g) * params.group_out * out_plane + pixel % out_plane;
        let input_at = (n * params.groups + g) * params.group_in * in_plane;
        for (var i = 0u; i < TILE_OC * DEPTH / THREADS; i++) {
            let row = own_row + i * (THREADS / DEPTH);
            var value = 0.0;
            if (pixel < pixel_end && oc_first + row < params.group_out) {
                value = grad[grad_at + (oc_first + row) * out_plane];
            }
            tile_grad[own_k * PITCH_OC + row] = value;
        }
        for (var i = 0u; i < TILE_TERMS * DEPTH / THREADS; i++) {
            let row = own_row + i * (THREADS / DEPTH);
            let k = term_first + row;
            let ih = window_input(oh, k % taps / params.kernel_w, params.stride_h, params.dilation_h, params.before_h);
            let iw = window_input(ow, k % params.kernel_w, params.stride_w, params.dilation_w, params.before_w);
            let inside = window_inside(ih, params.in_h) && window_inside(iw, params.in_w);
            var value = 0.0;
            if (inside && k < depth && pixel < pixel_end) {
                value = input[input_at + (k / taps * params.in_h + u32(ih)) * params.in_w + u32(iw)];
            }
            tile_input[own_k * PITCH_TERMS + row] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * PITCH_OC + oc;
            let r = k * PITCH_TERMS + term;
            let right = vec4<f32>(tile_input[r], tile_input[r + 1u], tile_input[r + 2u], tile_input[r + 3u]);
            sum0 += tile_grad[l] * right;
            sum1 += tile_grad[l + 1u] * right;
            sum2 += tile_grad[l + 2u] * right;
            sum3 += tile_grad[l + 3u] * right;
        }
        workgroupBarrier();
    }
    let first = (part * params.groups + g) * params.group_out;
    put(first, oc_first + oc, term_first + term, depth, sum0);
    put(first, oc_first + oc + 1u, term_first + term, depth, sum1);
    put(first, oc_first + oc + 2u, term_first + term, depth, sum2);
    put(first, oc_first + oc + 3u, term_first + term, depth, sum3);
}
