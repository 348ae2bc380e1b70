//! cross_entropy_grad_row
//!
//! output[n][c] = upstream[n] (p[n][c] sum_i q[n][i] - q[n][c]),  p[n][c] = exp(input[n][c]) / sum_i exp(input[n][i])
//!
//! The gradient of cross_entropy_row with respect to its logits, q as there: q[n][c] = weight[c] ((1 - SMOOTHING)
//! [c = labels[n]] + SMOOTHING / cols). Nothing is kept from the forward kernel: the largest logit and the sum are found
//! again. A label past the last class makes the whole row NaN (bits 0x7fc00000).
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one invocation,
//! without barriers; `tree` is for long rows and GPUs. A row past the end has no elements instead of returning early, so
//! that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=128 LANES=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override WEIGHTED: u32 = 0u;
override SMOOTH: u32 = 0u;

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
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<u32>;

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
    var weights = 0.0;
    for (var col = lane; col < cols; col += LANES) {
        sum += exp(input[base + col] - best);
        if (SMOOTH != 0u) {
            weights += weight_of(col);
        }
    }
    sum = row_sum(thread, sum);
    if (SMOOTH != 0u) {
        weights = row_sum(thread, weights);
    }
    let label = labels[row];
    let known = label < params.cols;
    let own = params.own * weight_of(select(0u, label, known));
    let total = own + params.each * weights;
    let scale = upstream[row];
    for (var col = lane; col < cols; col += LANES) {
        let p = exp(input[base + col] - best) / sum;
        var q = select(0.0, own, col == label);
        if (SMOOTH != 0u) {
            q += params.each * weight_of(col);
        }
        output[base + col] = select(0x7fc00000u, bitcast<u32>(scale * (p * total - q)), known);
    }
}
