//! channel_moments_eights
//!
//! output[i][s][0][c] = m = mean of input[n][c][e] - r over the images n of group i and the elements e of segment s
//! output[i][s][1][c] = sum of (input[n][c][e] - r - m)^2 over the same
//! output[i][s][2][c] = r = about the mean of the first four of these elements
//!
//! channel_moments for software adapters, by eights, which may begin in the plane before and end in the one behind. The
//! input is [images][channels][inner], where `inner` and `length` count fours and 8 divides all elements; the parts are
//! those of channel_moments. One invocation makes a part of one channel, a workgroup THREADS neighbours.
//!
//! A load costs more than what is computed from it, so every number is loaded once: two eights are brought to their own
//! mean while they are in registers, and what they say is joined with what was found before (Chan, Golub and LeVeque,
//! 1983). All differences are from numbers close by, so that no digits cancel, as in two passes over the part; those take
//! 1.4 times as long on lavapipe. Sums go in blocks of BLOCK eights: rounding errors grow with the length of a chain of
//! additions.
//!
//! uses: channel_part, eight, grid
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
    let part = channel_part(index);
    let c = part.channel;
    // The first element is as good a start as any but for chance: the mean of its neighbours is at most a fourth as far off.
    let at = (part.image * params.channels + c) * params.inner + part.begin;
    let opening = eight(input[at / 2u * STEP], input[at / 2u * STEP + LAST]);
    var near = opening[0];
    if (at % 2u > 0u) {
        near = opening[1];
    }
    let reference = near.x + total(near - near.x) / 4.0;
    var number = 0.0;
    var mean = 0.0;
    var sum = 0.0;
    var squares = 0.0;
    for (var n = part.image; n < part.last_image; n++) {
        let base = (n * params.channels + c) * params.inner;
        let stop = (base + part.end + 1u) / 2u;
        for (var block = (base + part.begin) / 2u; block < stop; block += BLOCK) {
            let block_end = min(block + BLOCK, stop);
            var block_sum = 0.0;
            var block_squares = 0.0;
            for (var i = block; i < block_end; i += 2u) {
                let more = i + 1u < block_end;
                let j = select(i, i + 1u, more);
                let a = eight(input[i * STEP], input[i * STEP + LAST]);
                let b = eight(input[j * STEP], input[j * STEP + LAST]);
                let in0 = 2u * i >= base + part.begin;
                let in1 = 2u * i + 1u < base + part.end;
                let in3 = more && 2u * j + 1u < base + part.end;
                let a0 = a[0] - reference;
                let a1 = a[1] - reference;
                let b0 = b[0] - reference;
                let b1 = b[1] - reference;
                let s = total((within(a0, in0) + within(a1, in1)) + (within(b0, more) + within(b1, in3)));
                let count = 4.0 * (f32(in0) + f32(in1) + f32(more) + f32(in3));
                let m = s / count;
                let e0 = within(a0 - m, in0);
                let e1 = within(a1 - m, in1);
                let f0 = within(b0 - m, more);
                let f1 = within(b1 - m, in3);
                let d = m - mean;
                let share = count / (number + count);
                block_squares += total((e0 * e0 + e1 * e1) + (f0 * f0 + f1 * f1)) + d * d * (number * share);
                block_sum += s;
                mean += d * share;
                number += count;
            }
            sum += block_sum;
            squares += block_squares;
        }
    }
    if (index < params.count) {
        let place = (params.start + part.number) * 3u * params.channels + c;
        output[place] = sum / number;
        output[place + params.channels] = squares;
        output[place + 2u * params.channels] = reference;
    }
}
