//! channel_join
//!
//! KIND 0: output[c] = sum over the parts p of parts[p][row][c]
//! KIND 1: output[c] = mean[c] = sum over p of elements(p) * m(p, c) / elements,  m = parts[p][2][c] + parts[p][0][c]
//! KIND 2: output[c] = (sum over p of parts[p][1][c] + elements(p) * (m(p, c) - mean[c])^2) / elements
//! KIND 3: output[0][c] = mean[c], output[1][c] = what KIND 2 makes
//!
//! What channel_sum and channel_moments made of [channels] in `count` parts of `rows` rows, put together: sums, means
//! and biased variances (Chan, Golub and LeVeque, 1983). Part p has the images from p / segments * part_images and the
//! stretch p % segments, and so a known number of elements. Means are taken relative to that of the first part, and the
//! differences from the mean, whose sum would be 0 but for rounding, correct it. LANES invocations share a channel, so
//! a workgroup makes THREADS / LANES of them: `serial` one, without barriers, `tree` a workgroup, for GPUs and many
//! parts. The order is fixed. A channel past the end has no parts instead of returning early, so that barriers stay in
//! uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=64 LANES=64

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override KIND: u32 = 0u;
const BLOCK: u32 = 64u;

struct Params {
    count: u32,
    rows: u32,
    row: u32,
    channels: u32,
    images: u32,
    inner: u32,
    part_images: u32,
    segments: u32,
    length: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn elements(part: u32) -> f32 {
    let image = part / params.segments * params.part_images;
    let begin = part % params.segments * params.length;
    let images = i32(min(image + params.part_images, params.images)) - i32(image);
    let length = i32(min(begin + params.length, params.inner)) - i32(begin);
    return f32(images * length);
}

// A part's mean, relative to `reference`.
fn mean(part: u32, c: u32, reference: f32) -> f32 {
    let place = part * params.rows * params.channels + c;
    return parts[place] + (parts[place + 2u * params.channels] - reference);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let c = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let within = c < params.channels;
    let count = select(0u, params.count, within);
    if (KIND == 0u) {
        var sum = 0.0;
        for (var block = lane; block < count; block += LANES * BLOCK) {
            let stop = min(block + LANES * BLOCK, count);
            var block_sum = 0.0;
            for (var p = block; p < stop; p += LANES) {
                block_sum += parts[(p * params.rows + params.row) * params.channels + c];
            }
            sum += block_sum;
        }
        sum = row_sum(thread, sum);
        if (lane == 0u && c < params.channels) {
            output[c] = sum;
        }
        return;
    }
    var reference = 0.0;
    if (within) {
        reference = parts[2u * params.channels + c] + parts[c];
    }
    var sum = 0.0;
    for (var p = lane; p < count; p += LANES) {
        sum += elements(p) * mean(p, c, reference);
    }
    let all = f32(params.images) * f32(params.inner);
    let about = row_sum(thread, sum) / all;
    var rest = 0.0;
    var squares = 0.0;
    for (var p = lane; p < count; p += LANES) {
        let d = mean(p, c, reference) - about;
        let weighted = elements(p) * d;
        rest += weighted;
        if (KIND >= 2u) {
            squares += parts[(p * params.rows + 1u) * params.channels + c] + weighted * d;
        }
    }
    let correction = row_sum(thread, rest) / all;
    if (KIND != 2u && lane == 0u && c < params.channels) {
        output[c] = reference + (about + correction);
    }
    if (KIND >= 2u) {
        let variance = row_sum(thread, squares) / all - correction * correction;
        let place = select(c, params.channels + c, KIND == 3u);
        if (lane == 0u && c < params.channels) {
            output[place] = select(variance, 0.0, variance < 0.0);
        }
    }
}
