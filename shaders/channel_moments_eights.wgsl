//! channel_moments_eights
//!
//! output[i][s][0][c] = m = mean of input[n][c][e] - r over the images n of group i and the elements e of segment s
//! output[i][s][1][c] = sum of (input[n][c][e] - r - m)^2 over the same
//! output[i][s][2][c] = r = the first of these elements
//!
//! channel_moments for software adapters, by eights, which may begin in the plane before and end in the one behind. The
//! input is [images][channels][inner], where `inner` and `length` count fours and 8 divides all elements; the parts and
//! what guards their digits are those of channel_moments. One invocation makes a part of one channel, a workgroup
//! THREADS neighbours. An invocation adds two eights before it goes on, since a loop's variables are written under the
//! mask of its lanes, and BLOCK eights before they join the rest.
//!
//! uses: eight, grid
//! variants:
//!   wide    WORD=u64 BITS=64
//!   plain   WORD=u32 BITS=32

alias WORD = u64;
const BITS: u32 = 64u;
const THREADS: u32 = 8u;
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn within(x: vec4<f32>, inside: bool) -> vec4<f32> {
    return select(vec4<f32>(), x, inside);
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

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
    let c = index % params.channels;
    let part = index / params.channels;
    let begin = part % params.segments * params.length;
    let end = min(begin + params.length, params.inner);
    let image = part / params.segments * params.part_images;
    let last = min(image + params.part_images, params.images);
    let at = (image * params.channels + c) * params.inner + begin;
    let opening = eight(input[at / 2u * STEP], input[at / 2u * STEP + LAST]);
    let reference = select(opening[0].x, opening[1].x, at % 2u > 0u);
    var sum = vec4<f32>();
    for (var n = image; n < last; n++) {
        let base = (n * params.channels + c) * params.inner;
        let stop = (base + end + 1u) / 2u;
        for (var block = (base + begin) / 2u; block < stop; block += BLOCK) {
            let block_end = min(block + BLOCK, stop);
            var block_sum = vec4<f32>();
            for (var i = block; i < block_end; i += 2u) {
                let more = i + 1u < block_end;
                let j = select(i, i + 1u, more);
                let a = eight(input[i * STEP], input[i * STEP + LAST]);
                let b = eight(input[j * STEP], input[j * STEP + LAST]);
                let a0 = within(a[0] - reference, 2u * i >= base + begin);
                let a1 = within(a[1] - reference, 2u * i + 1u < base + end);
                let b0 = within(b[0] - reference, more);
                let b1 = within(b[1] - reference, more && 2u * j + 1u < base + end);
                block_sum += (a0 + a1) + (b0 + b1);
            }
            sum += block_sum;
        }
    }
    let elements = f32((i32(last) - i32(image)) * (i32(end) - i32(begin)) * 4);
    let about = total(sum) / elements;
    var squares = vec4<f32>();
    var rest = vec4<f32>();
    for (var n = image; n < last; n++) {
        let base = (n * params.channels + c) * params.inner;
        let stop = (base + end + 1u) / 2u;
        for (var block = (base + begin) / 2u; block < stop; block += BLOCK) {
            let block_end = min(block + BLOCK, stop);
            var block_squares = vec4<f32>();
            var block_rest = vec4<f32>();
            for (var i = block; i < block_end; i += 2u) {
                let more = i + 1u < block_end;
                let j = select(i, i + 1u, more);
                let a = eight(input[i * STEP], input[i * STEP + LAST]);
                let b = eight(input[j * STEP], input[j * STEP + LAST]);
                let a0 = within((a[0] - reference) - about, 2u * i >= base + begin);
                let a1 = within((a[1] - reference) - about, 2u * i + 1u < base + end);
                let b0 = within((b[0] - reference) - about, more);
                let b1 = within((b[1] - reference) - about, more && 2u * j + 1u < base + end);
                block_squares += (a0 * a0 + a1 * a1) + (b0 * b0 + b1 * b1);
                block_rest += (a0 + a1) + (b0 + b1);
            }
            squares += block_squares;
            rest += block_rest;
        }
    }
    let correction = total(rest) / elements;
    let spread = total(squares) - elements * correction * correction;
    if (index < params.count) {
        let place = (params.start + part) * 3u * params.channels + c;
        output[place] = about + correction;
        output[place + params.channels] = select(spread, 0.0, spread < 0.0);
        output[place + 2u * params.channels] = reference;
    }
}
