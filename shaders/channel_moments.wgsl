//! channel_moments
//!
//! output[i][s][0][c] = m = mean of input[n][c][e] - r over the images n of group i and the elements e of segment s
//! output[i][s][1][c] = sum of (input[n][c][e] - r - m)^2 over the same
//! output[i][s][2][c] = r = the first of these elements
//!
//! Mean and variance by channel of [images][channels][inner] in parts, which channel_join puts together (Chan, Golub
//! and LeVeque, 1983). A part has up to `part_images` images and, of each, one of `segments` stretches of `length`
//! LOADs of the plane; `inner` counts LOADs as well. WIDTH is the numbers of a LOAD: four where planes are made of
//! whole vectors. `count` is the parts of all channels; they begin at the part `start` of the output. Two passes, never
//! E[x^2] - E[x]^2, over a part that is small enough to stay in a GPU's cache. Channels far from zero keep their
//! digits: everything is relative to an element r, which is no further from the mean of n elements than sqrt(n)
//! standard deviations, and the differences' own sum, which would be 0 but for rounding, corrects both results. LANES
//! invocations share a part of one channel, so a workgroup makes THREADS / LANES of them. `serial` gives each to one
//! invocation, without barriers, neighbours to neighbouring channels; `tree` is for GPUs. There the lanes are folded to
//! LANES / span images times `span` neighbours of a plane; the host picks a span that divides LANES. A lane sums BLOCK
//! loads of a plane before they join the rest: rounding errors grow with the length of a chain of additions. The order
//! is fixed. A part past the end has no elements instead of returning early, so that barriers stay in uniform flow.
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<LOAD>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

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
    var reference = 0.0;
    if (index < params.count) {
        reference = vec4<f32>(input[(part.image * params.channels + c) * params.inner + part.begin]).x;
    }
    var sum = LOAD();
    for (var n = part.image + lane / params.span; n < part.last_image; n += LANES / params.span) {
        let base = (n * params.channels + c) * params.inner;
        for (var block = part.begin + lane % params.span; block < end; block += params.span * BLOCK) {
            let stop = min(block + params.span * BLOCK, end);
            var block_sum = LOAD();
            for (var i = block; i < stop; i += params.span) {
                block_sum += input[base + i] - reference;
            }
            sum += block_sum;
        }
    }
    // Of a part past the end these numbers mean nothing, and nobody reads them.
    let elements = f32((i32(part.last_image) - i32(part.image)) * (i32(end) - i32(part.begin)) * i32(WIDTH));
    let about = row_sum(thread, total(sum)) / elements;
    var squares = LOAD();
    var rest = LOAD();
    for (var n = part.image + lane / params.span; n < part.last_image; n += LANES / params.span) {
        let base = (n * params.channels + c) * params.inner;
        for (var block = part.begin + lane % params.span; block < end; block += params.span * BLOCK) {
            let stop = min(block + params.span * BLOCK, end);
            var block_squares = LOAD();
            var block_rest = LOAD();
            for (var i = block; i < stop; i += params.span) {
                let d = (input[base + i] - reference) - about;
                block_squares += d * d;
                block_rest += d;
            }
            squares += block_squares;
            rest += block_rest;
        }
    }
    let correction = row_sum(thread, total(rest)) / elements;
    let spread = row_sum(thread, total(squares)) - elements * correction * correction;
    if (lane == 0u && index < params.count) {
        let place = (params.start + part.number) * 3u * params.channels + c;
        output[place] = about + correction;
        output[place + params.channels] = select(spread, 0.0, spread < 0.0);
        output[place + 2u * params.channels] = reference;
    }
}
