//! conv2d_shared
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_ic,kh,kw weight[oc][ic][kh][kw] * input[n][g * group_in + ic][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     with g = oc / group_out, ih = oh * stride_h + kh * dilation_h - before_h, iw likewise; 0 outside of the input
//!
//! All tensors are dense: input [batch][groups * group_in][in_h][in_w], output and residual [batch][groups *
//! group_out][out_h][out_w], bias one number a channel. The bound piece of weight [oc][group_in][kernel_h][kernel_w]
//! holds the channels [oc_start, oc_start + piece_oc). flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is
//! left out is bound but never read. WINDOW: the side of a square window, baked since each term is divided by it; 0 where
//! the kernel takes it from the parameters.
//! The wide variants read the weights in vectors of four: the depth group_in * kernel_h * kernel_w is divisible by 4.
//!
//! For GPUs: a product of matrices, [channels of a group][depth] by [depth][pixels of all images], of which the right
//! one is never laid out: each slice of DEPTH = 16 terms is gathered from the input into workgroup memory by the rule
//! above. A workgroup makes TILE_OC x TILE_PIXELS outputs, an invocation OWN_OC x OWN_PIXELS of them, 4 or 8 each way.
//! Workgroups: parts * groups that the piece touches * tiles of min(group_out, piece_oc) channels * ceil(batch * out_h *
//! out_w / TILE_PIXELS), pixels fastest. Part p sums the terms [p * part_depth, (p + 1) * part_depth) and makes an output
//! of its own, all in a row; part_depth is a multiple of 4, and the depth itself where there is one part.
//!
//! Slices lie in workgroup memory as in matmul_shared: vectors of four channels, or pixels, a quarter of the tile apart, so
//! that neighbouring invocations gather and store neighbouring pixels. While one is multiplied, the loads of the next are
//! under way. An invocation's pixels are the same for all slices.
//! Legal: THREADS = TILE_OC * TILE_PIXELS / OWN_OC / OWN_PIXELS; sides of tiles are powers of two, at least 16, or 64 where
//! OWN is 8; LOADS covers the 4 x 4 blocks of a slice. t128 uses 16 KiB of workgroup memory, all that is there. t16 is for
//! groups of few channels. Not for software adapters, for which a barrier is a switch of coroutines: conv2d_register is.
//!
//! uses: activation, grid, quads, window
//! variants:
//!   t128           TILE_OC=128 TILE_PIXELS=128 OWN_OC=8 OWN_PIXELS=8 THREADS=256 LOADS=1 WIDE=1 Weight=f32
//!   t128_wide      TILE_OC=128 TILE_PIXELS=128 OWN_OC=8 OWN_PIXELS=8 THREADS=256 LOADS=1 WIDE=4 Weight=vec4<f32>
//!   t64x128        TILE_OC=64 TILE_PIXELS=128 OWN_OC=8 OWN_PIXELS=8 THREADS=128 LOADS=2 WIDE=1 Weight=f32
//!   t64x128_wide   TILE_OC=64 TILE_PIXELS=128 OWN_OC=8 OWN_PIXELS=8 THREADS=128 LOADS=2 WIDE=4 Weight=vec4<f32>
//!   t64            TILE_OC=64 TILE_PIXELS=64 OWN_OC=8 OWN_PIXELS=4 THREADS=128 LOADS=1 WIDE=1 Weight=f32
//!   t64_wide       TILE_OC=64 TILE_PIXELS=64 OWN_OC=8 OWN_PIXELS=4 THREADS=128 LOADS=1 WIDE=4 Weight=vec4<f32>
//!   t32            TILE_OC=32 TILE_PIXELS=32 OWN_OC=4 OWN_PIXELS=4 THREADS=64 LOADS=1 WIDE=1 Weight=f32
//!   t32_wide       TILE_OC=32 TILE_PIXELS=32 OWN_OC=4 OWN_PIXELS=4 THREADS=64 LOADS=1 WIDE=4 Weight=vec4<f32>
//!   t16            TILE_OC=16 TILE_PIXELS=64 OWN_OC=4 OWN_PIXELS=4 THREADS=64 LOADS=2 WIDE=1 Weight=f32
//!   t16_wide       TILE_OC=16 TILE_PIXELS=64 OWN_OC=4 OWN_PIXELS=4 THREADS=64 LOADS=2 WIDE=4 Weight=vec4<f32>

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
override WINDOW: u32 = 0u;
const TILE_OC: u32 = 64u;
const TILE_PIXELS: u32 = 64u;
const OWN_OC: u32 = 8u;
const OWN_PIXELS: u32 = 4u;
const THREADS: u32 = 128u;
// Blocks that an invocation loads of a slice: 1, or 2 at most, of which the second may be past the last.
const LOADS: u32 = 1u;
// Elements of a Weight.
const WIDE: u32 = 1u;
alias Weight = f32;
const DEPTH: u32 = 16u;
// Blocks along the depth in a slice; vectors of four channels, or pixels, in a tile.
const STEPS: u32 = DEPTH / 4u;
const OC_QUADS: u32 = TILE_OC / 4u;
const PIXEL_QUADS: u32 = TILE_PIXELS / 4u;
// Pixels first: an invocation has the same in both of its blocks, since THREADS is a multiple of PIXEL_QUADS.
const PIXEL_BLOCKS: u32 = PIXEL_QUADS * STEPS;
const BLOCKS: u32 = PIXEL_BLOCKS + OC_QUADS * STEPS;
const PIXEL_THREADS: u32 = TILE_PIXELS / OWN_PIXELS;

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
    parts: u32,
    part_depth: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<Weight>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// [k][quad]
var<workgroup> tile_weight: array<vec4<f32>, OC_QUADS * DEPTH>;
var<workgroup> tile_input: array<vec4<f32>, PIXEL_QUADS * DEPTH>;

fn kernel_w() -> u32 {
    return select(params.kernel_w, WINDOW, WINDOW > 0u);
}

fn taps() -> u32 {
    return select(params.kernel_h * params.kernel_w, WINDOW * WINDOW, WINDOW > 0u);
}

// Where a tile begins and ends.
struct Tile {
    g: u32,
    oc_first: u32,
    oc_end: u32,
    depth_end: u32,
}

// Four terms of one channel.
fn weight_run(tile: Tile, oc: u32, k: u32) -> vec4<f32> {
    var run = vec4<f32>();
    if (oc < tile.oc_end) {
        let depth = params.group_in * taps();
        let at = u32(i32(oc) - i32(params.oc_start)) * depth + k;
        if (WIDE == 4u) {
            if (k < tile.depth_end) {
                run = vec4<f32>(weight[at / 4u]);
            }
        } else {
            if (k < tile.depth_end) {
                run.x = vec4<f32>(weight[at]).x;
            }
            if (k + 1u < tile.depth_end) {
                run.y = vec4<f32>(weight[at + 1u]).x;
            }
            if (k + 2u < tile.depth_end) {
                run.z = vec4<f32>(weight[at + 2u]).x;
            }
            if (k + 3u < tile.depth_end) {
                run.w = vec4<f32>(weight[at + 3u]).x;
            }
        }
    }
    return run;
}

// The windows of four pixels: of each the first channel of its group, and where it starts; those past the last pixel far
// outside of the input.
struct Windows {
    channel: vec4<u32>,
    top: vec4<i32>,
    left: vec4<i32>,
}

fn windows_of(g: u32, first: u32) -> Windows {
    let plane = params.out_h * params.out_w;
    let pixel = vec4<u32>(first, first + PIXEL_QUADS, first + 2u * PIXEL_QUADS, first + 3u * PIXEL_QUADS);
    let oh = pixel % plane / params.out_w;
    let ow = pixel % params.out_w;
    let top = vec4<i32>(oh * params.stride_h) - i32(params.before_h);
    let left = vec4<i32>(ow * params.stride_w) - i32(params.before_w);
    let channel = (pixel / plane * params.groups + g) * params.group_in;
    return Windows(channel, select(vec4<i32>(-0x40000000), top, pixel < vec4<u32>(params.batch * plane)), left);
}

fn input_number(channel: u32, ih: i32, iw: i32) -> f32 {
    var value = 0.0;
    if (window_inside(ih, params.in_h) && window_inside(iw, params.in_w)) {
        value = input[(channel * params.in_h + u32(ih)) * params.in_w + u32(iw)];
    }
    return value;
}

// One term of four pixels.
fn input_vector(windows: Windows, k: u32, depth_end: u32) -> vec4<f32> {
    var vector = vec4<f32>();
    if (k < depth_end) {
        let tap = k % taps();
        let channel = windows.channel + k / taps();
        let ih = windows.top + i32(tap / kernel_w() * params.dilation_h);
        let iw = windows.left + i32(tap % kernel_w() * params.dilation_w);
        vector = vec4<f32>(
            input_number(channel.x, ih.x, iw.x),
            input_number(channel.y, ih.y, iw.y),
            input_number(channel.z, ih.z, iw.z),
            input_number(channel.w, ih.w, iw.w),
        );
    }
    return vector;
}

// A block of the slice that starts at `first`: a column for each term of four pixels, or for each of four channels. What is
// past an end is 0.
fn load(index: u32, tile: Tile, windows: Windows, first: u32) -> mat4x4<f32> {
    if (index < PIXEL_BLOCKS) {
        let k = first + index / PIXEL_QUADS * 4u;
        return mat4x4<f32>(
            input_vector(windows, k, tile.depth_end),
            input_vector(windows, k + 1u, tile.depth_end),
            input_vector(windows, k + 2u, tile.depth_end),
            input_vector(windows, k + 3u, tile.depth_end),
        );
    }
    if (index < BLOCKS) {
        // Neighbours along the depth, which is contiguous.
        let block = u32(i32(index) - i32(PIXEL_BLOCKS));
        let oc = tile.oc_first + block / STEPS;
        let k = first + block % STEPS * 4u;
        return mat4x4<f32>(
            weight_run(tile, oc, k),
            weight_run(tile, oc + OC_QUADS, k),
            weight_run(tile, oc + 2u * OC_QUADS, k),
            weight_run(tile, oc + 3u * OC_QUADS, k),
        );
    }
    return mat4x4<f32>();
}

// Puts a block into its tile: a vector for each k.
fn put_down(index: u32, block: mat4x4<f32>) {
    if (index < PIXEL_BLOCKS) {
        let k = index / PIXEL_QUADS * 4u;
        let at = k * PIXEL_QUADS + place(index % PIXEL_QUADS, k, PIXEL_QUADS);
        tile_input[at] = block[0];
        tile_input[at + PIXEL_QUADS] = block[1];
        tile_input[at + 2u * PIXEL_QUADS] = block[2];
        tile_input[at + 3u * PIXEL_QUADS] = block[3];
    } else if (index < BLOCKS) {
        let vectors = transpose(block);
        let channels = u32(i32(index) - i32(PIXEL_BLOCKS));
        let k = channels % STEPS * 4u;
        let at = k * OC_QUADS + place(channels / STEPS, k, OC_QUADS);
        tile_weight[at] = vectors[0];
        tile_weight[at + OC_QUADS] = vectors[1];
        tile_weight[at + 2u * OC_QUADS] = vectors[2];
        tile_weight[at + 3u * OC_QUADS] = vectors[3];
    }
}

fn put(part: u32, oc: u32, oc_end: u32, pixel: u32, sum: f32) {
    let plane = params.out_h * params.out_w;
    if (oc < oc_end && pixel < params.batch * plane) {
        let image = (part * params.batch + pixel / plane) * params.groups * params.group_out * plane;
        let at = image + oc * plane + pixel % plane;
        var x = sum;
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

fn put_row(part: u32, oc: u32, oc_end: u32, pixel: u32, sums: vec4<f32>) {
    put(part, oc, oc_end, pixel, sums.x);
    put(part, oc, oc_end, pixel + PIXEL_QUADS, sums.y);
    put(part, oc, oc_end, pixel + 2u * PIXEL_QUADS, sums.z);
    put(part, oc, oc_end, pixel + 3u * PIXEL_QUADS, sums.w);
}

fn put_block(part: u32, oc: u32, oc_end: u32, pixel: u32, sums: mat4x4<f32>) {
    put_row(part, oc, oc_end, pixel, sums[0]);
    put_row(part, oc + OC_QUADS, oc_end, pixel, sums[1]);
    put_row(part, oc + 2u * OC_QUADS, oc_end, pixel, sums[2]);
    put_row(part, oc + 3u * OC_QUADS, oc_end, pixel, sums[3]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let pixels = params.batch * params.out_h * params.out_w;
    let pixel_tiles = (pixels + (TILE_PIXELS - 1u)) / TILE_PIXELS;
    let oc_tiles = (min(params.group_out, params.piece_oc) + (TILE_OC - 1u)) / TILE_OC;
    // The groups that the piece touches.
    let g_first = params.oc_start / params.group_out;
    let g_last = u32(i32(params.oc_start + params.piece_oc) - 1) / params.group_out;
    let g_count = u32(i32(g_last) - i32(g_first)) + 1u;
    let flat = flat_workgroup(group, groups);
    let part = flat / pixel_tiles / oc_tiles / g_count;
    if (part >= params.parts) {
        return;
    }
    let g = g_first + flat / pixel_tiles / oc_tiles % g_count;
    let pixel_first = flat % pixel_tiles * TILE_PIXELS;
    var tile: Tile;
    tile.g = g;
    tile.oc_first = max(g * params.group_out, params.oc_start) + flat / pixel_tiles % oc_tiles * TILE_OC;
    tile.oc_end = min((g + 1u) * params.group_out, params.oc_start + params.piece_oc);
    tile.depth_end = min((part + 1u) * params.part_depth, params.group_in * taps());
    let windows = windows_of(g, pixel_first + thread % PIXEL_QUADS);

    // An invocation of eight channels has a second vector of four half a tile's vectors away; pixels likewise.
    let oc = thread / PIXEL_THREADS;
    let pixel = thread % PIXEL_THREADS;
    var sums = mat4x4<f32>();
    var sums_right = mat4x4<f32>();
    var sums_below = mat4x4<f32>();
    var sums_across = mat4x4<f32>();
    let start = part * params.part_depth;
    var next = load(thread, tile, windows, start);
    var next_second = mat4x4<f32>();
    if (LOADS == 2u) {
        next_second = load(thread + THREADS, tile, windows, start);
    }
    for (var first = start; first < tile.depth_end; first += DEPTH) {
        put_down(thread, next);
        if (LOADS == 2u) {
            put_down(thread + THREADS, next_second);
        }
        workgroupBarrier();
        next = load(thread, tile, windows, first + DEPTH);
        if (LOADS == 2u) {
            next_second = load(thread + THREADS, tile, windows, first + DEPTH);
        }
        for (var step = 0u; step < DEPTH; step += 4u) {
            var l = step * OC_QUADS + place(oc, step, OC_QUADS);
            var r = step * PIXEL_QUADS + place(pixel, step, PIXEL_QUADS);
            for (var k = 0u; k < 4u; k++) {
                let left = tile_weight[l];
                let right = tile_input[r];
                sums += outer(left, right);
                if (OWN_OC == 8u) {
                    let below = tile_weight[l + OC_QUADS / 2u];
                    sums_below += outer(below, right);
                    if (OWN_PIXELS == 8u) {
                        let beside = tile_input[r + PIXEL_QUADS / 2u];
                        sums_right += outer(left, beside);
                        sums_across += outer(below, beside);
                    }
                }
                l += OC_QUADS;
                r += PIXEL_QUADS;
            }
        }
        workgroupBarrier();
    }
    let own_oc = tile.oc_first + oc;
    let own_pixel = pixel_first + pixel;
    put_block(part, own_oc, tile.oc_end, own_pixel, sums);
    if (OWN_OC == 8u) {
        put_block(part, own_oc + OC_QUADS / 2u, tile.oc_end, own_pixel, sums_below);
        if (OWN_PIXELS == 8u) {
            put_block(part, own_oc, tile.oc_end, own_pixel + PIXEL_QUADS / 2u, sums_right);
            put_block(part, own_oc + OC_QUADS / 2u, tile.oc_end, own_pixel + PIXEL_QUADS / 2u, sums_across);
        }
    }
}
