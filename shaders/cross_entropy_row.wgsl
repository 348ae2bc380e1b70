//! cross_entropy_row
//!
//! output[n] = sum_c q[n][c] (log(sum_i exp(input[n][i])) - input[n][c])
//!
//! q[n][c] = weight[c] ((1 - SMOOTHING) [c = labels[n]] + SMOOTHING / cols): the cross-entropy of each row of
//! [rows][cols] logits with its label, the logarithm of the softmax included. The weight is read where WEIGHTED is not 0
//! and is 1 otherwise; SMOOTH is 0 where there is no smoothing, and the classes beside the label are not summed.
//! A label past the last class gives NaN (bits 0x7fc00000), and nothing is read there.
//! The largest logit is taken out first, so that no exponential overflows; the sum of the exponentials is 1 or more.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one invocation,
//! without barriers; `tree` is for long rows and GPUs. A row past the end has no elements instead of returning early, so
//! that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce, log_one_plus
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=128 LANES=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override WEIGHTED: u32 = 0u;
override SMOOTH: u32 = 0u;

alias NUMBER = f32;

struct Params {
    rows: u32,
    cols: u32,
    // 1 - smoothing, and smoothing / cols.
    own: f32,
    each: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<u32>;

fn weight_of(col: u32) -> f32 {
    if (WEIGHTED == 0u) {
        return 1.0;
    }
    return weight[col];
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let position = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let row = select(0u, position, position < params.rows);
    let cols = select(0u, params.cols, position < params.rows);
    let base = row * params.cols;
    var best = LOWEST;
    for (var col = lane; col < cols; col += LANES) {
        best = max_nan(best, input[base + col]);
    }
    best = row_max(thread, best);
    var sum = 0.0;
    // Over all classes, where they count: the weights, and the weighted distances from the largest logit.
    var weights = 0.0;
    var distances = 0.0;
    for (var col = lane; col < cols; col += LANES) {
        let distance = best - input[base + col];
        sum += exp(-distance);
        if (SMOOTH != 0u) {
            let w = weight_of(col);
            weights += w;
            distances += w * distance;
        }
    }
    sum = row_sum(thread, sum);
    if (SMOOTH != 0u) {
        weights = row_sum(thread, weights);
        distances = row_sum(thread, distances);
    }
    let log_sum = select(log(sum), log_one_plus(sum - 1.0), sum < 2.0);
    let label = labels[row];
    // A row of minus infinities has no softmax.
    let known = label < params.cols && sum > 0.5;
    let place = select(0u, label, label < params.cols);
    var loss = params.own * weight_of(place) * (log_sum + (best - input[base + place]));
    if (SMOOTH != 0u) {
        loss += params.each * (weights * log_sum + distances);
    }
    if (lane == 0u && position < params.rows) {
        output[row] = select(0x7fc00000u, bitcast<u32>(loss), known);
    }
}
