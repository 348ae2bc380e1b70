//! group_norm_row
//!
//! output[n][c][i] = (input[n][c][i] - mean[n][g]) / sqrt(variance[n][g] + epsilon) * weight[c] + bias[c]
//!
//! Group normalisation (Wu and He, 2018): mean and (biased) variance over the `channels` neighbouring channels of group
//! g, of `inner` elements each; torch.nn.functional.group_norm. With a channel a group it is instance normalisation.
//! A row is one group of one image: `cols` = channels * inner neighbours. The variance is of the differences from the
//! mean, and their own sum, which would be 0 but for rounding, corrects both (the corrected two-pass algorithm of Chan,
//! Golub and LeVeque, 1983), so that rows far from zero keep their digits at no further load. A lane sums BLOCK numbers
//! before they join the rest: rounding errors grow with the length of a chain of additions.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one
//! invocation, without barriers (a barrier is a coroutine switch on software adapters); `tree` is for GPUs and for long
//! rows. For the last step the lanes are folded to LANES / span channels times `span` neighbours, so that weight and bias
//! are read once a channel, and no element needs a division to find its channel; the host picks a span that divides
//! LANES.
//! A row past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial   THREADS=8 LANES=1 BLOCK=128
//!   tree     THREADS=128 LANES=128 BLOCK=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override BLOCK: u32 = 128u;

struct Params {
    rows: u32,
    cols: u32,
    groups: u32,
    channels: u32,
    inner: u32,
    span: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let base = row * params.cols;
    let cols = select(0u, params.cols, row < params.rows);
    var sum = 0.0;
    for (var start = lane; start < cols; start += LANES * BLOCK) {
        let stop = min(start + LANES * BLOCK, cols);
        var part = 0.0;
        for (var col = start; col < stop; col += LANES) {
            part += input[base + col];
        }
        sum += part;
    }
    let count = f32(params.cols);
    let about = row_sum(thread, sum) / count;
    var squares = 0.0;
    var rest = 0.0;
    for (var start = lane; start < cols; start += LANES * BLOCK) {
        let stop = min(start + LANES * BLOCK, cols);
        var part = vec2<f32>();
        for (var col = start; col < stop; col += LANES) {
            let d = input[base + col] - about;
            part += vec2<f32>(d * d, d);
        }
        squares += part.x;
        rest += part.y;
    }
    let correction = row_sum(thread, rest) / count;
    let variance = row_sum(thread, squares) / count - correction * correction;
    let factor = inverseSqrt(select(variance, 0.0, variance < 0.0) + params.epsilon);
    let channels = select(0u, params.channels, row < params.rows);
    let inner = select(0u, params.inner, row < params.rows);
    let first = row % params.groups * params.channels;
    let abreast = LANES / params.span;
    for (var channel = lane / params.span; channel < channels; channel += abreast) {
        let scale = factor * weight[first + channel];
        let shift = bias[first + channel];
        let start = base + channel * params.inner;
        for (var i = lane % params.span; i < inner; i += params.span) {
            output[start + i] = ((input[start + i] - about) - correction) * scale + shift;
        }
    }
}
