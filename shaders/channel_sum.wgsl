//! channel_sum
//!
//! output[i][s][0][c] = sum over the images n of group i and the elements e of segment s of a(n, c, e)
//! output[i][s][1][c] = the same sum of b(n, c, e), where KIND has one
//!
//! KIND 0: a = first
//! KIND 1: a = first * second
//! KIND 2: a = first, b = first * z,  z = (second - mean[c]) / sqrt(variance[c] + epsilon)
//! KIND 3: the same with 0 in place of each first whose z * weight[c] + bias[c] is not above 0, as a relu's gradient is
//!
//! Sums by channel of [images][channels][inner] in parts, which channel_join adds up. mean and variance are the rows of
//! moments[2][channels]. A part has up to `part_images` images and, of each, one of `segments` stretches of `length`
//! LOADs of the plane; `inner` counts LOADs as well. WIDTH is the numbers of a LOAD: four where planes are made of
//! whole vectors. `count` is the parts of all channels; they begin at the part `start` of the output. LANES invocations
//! share a part of one channel, so a workgroup makes THREADS / LANES of them. `serial` gives each to one invocation,
//! without barriers, neighbours to neighbouring channels; `tree` is for GPUs. There the lanes are folded to LANES /
//! span images times `span` neighbours of a plane; the host picks a span that divides LANES. A lane sums BLOCK loads of
//! a plane before they join the rest: rounding errors grow with the length of a chain of additions. The order is fixed.
//! A part past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: channel_part, grid, numeric, reduce
//! variants:
//!   serial          THREADS=8 LANES=1 LOAD=f32 WIDTH=1
//!   serial_vector   THREADS=8 LANES=1 LOAD=vec4<f32> WIDTH=4
//!   tree            THREADS=128 LANES=128 LOAD=f32 WIDTH=1
//!   tree_vector     THREADS=128 LANES=128 LOAD=vec4<f32> WIDTH=4

alias LOAD = f32;
override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override WIDTH: u32 = 1u;
override KIND: u32 = 0u;
const BLOCK: u32 = 64u;

struct Params {
    count: u32,
    start: u32,
    images: u32,
    channels: u32,
    inner: u32,
    part_images: u32,
    segments: u32,
    length: u32,
    span: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> first: array<LOAD>;
@group(0) @binding(2) var<storage, read> second: array<LOAD>;
@group(0) @binding(3) var<storage, read> moments: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

// The numbers of a load, added.
fn total(load: LOAD) -> f32 {
    let v = vec4<f32>(load);
    return select(v.x, (v.x + v.y) + (v.z + v.w), WIDTH == 4u);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let part = channel_part(index);
    let c = part.channel;
    let end = select(0u, part.end, index < params.count);
    var centre = 0.0;
    var scale = 1.0;
    var slope = 0.0;
    var shift = 0.0;
    if (KIND >= 2u) {
        centre = moments[c];
        scale = inverseSqrt(moments[params.channels + c] + params.epsilon);
    }
    if (KIND == 3u) {
        slope = scale * weight[c];
        shift = bias[c];
    }
    var sum = LOAD();
    var products = LOAD();
    for (var n = part.image + lane / params.span; n < part.last_image; n += LANES / params.span) {
        let base = (n * params.channels + c) * params.inner;
        for (var block = part.begin + lane % params.span; block < end; block += params.span * BLOCK) {
            let stop = min(block + params.span * BLOCK, end);
            var block_sum = LOAD();
            var block_products = LOAD();
            for (var i = block; i < stop; i += params.span) {
                var a = first[base + i];
                if (KIND == 1u) {
                    a *= second[base + i];
                }
                if (KIND >= 2u) {
                    let d = second[base + i] - centre;
                    if (KIND == 3u) {
                        a = select(a, LOAD(), d * slope + shift <= LOAD());
                    }
                    block_products += a * d;
                }
                block_sum += a;
            }
            sum += block_sum;
            products += block_products;
        }
    }
    let a_sum = row_sum(thread, total(sum));
    let rows = select(1u, 2u, KIND >= 2u);
    let place = (params.start + part.number) * rows * params.channels + c;
    if (lane == 0u && index < params.count) {
        output[place] = a_sum;
    }
    if (KIND >= 2u) {
        let b_sum = row_sum(thread, total(products));
        if (lane == 0u && index < params.count) {
            output[place + params.channels] = b_sum * scale;
        }
    }
}
