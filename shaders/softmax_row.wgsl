//! softmax_row
//!
//! output[o][c][i] = exp(z[o][c][i] - max_c z) / sum_c exp(z[o][c][i] - max_c z),  z = input + mask
//!
//! or its logarithm where LOG is not 0: z[o][c][i] - max_c z - log(sum_c exp(z[o][c][i] - max_c z))
//!
//! Softmax over the middle dimension of [outer][cols][inner]; a row is one (o, i). The additive mask is optional
//! (flag bit 0) and broadcast: it has its own strides for the dimensions that are kept (the fastest first, up to
//! eight, merged by the host) and for the one that is summed. Exponentials are stored, then scaled in place; for the
//! logarithm they are only summed.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one
//! invocation, without barriers (a barrier is a coroutine switch on software adapters); `tree` is for GPUs.
//! A row past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, strided, numeric, reduce
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=128 LANES=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override LOG: u32 = 0u;

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    flags: u32,
    mask_col_stride: u32,
    kept_rank: u32,
    kept_low: vec4<u32>,
    kept_high: vec4<u32>,
    mask_low: vec4<u32>,
    mask_high: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

fn mask_start(row: u32) -> u32 {
    var rest = row;
    var start = 0u;
    for (var a = 0u; a < params.kept_rank; a++) {
        let extent = axis(params.kept_low, params.kept_high, a);
        start += rest % extent * axis(params.mask_low, params.mask_high, a);
        rest = rest / extent;
    }
    return start;
}

fn logit(at: u32, mask_at: u32) -> f32 {
    if ((params.flags & 1u) == 0u) {
        return input[at];
    }
    return input[at] + mask[mask_at];
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let base = row / params.inner * params.cols * params.inner + row % params.inner;
    let masks = mask_start(row);
    let cols = select(0u, params.cols, row < params.rows);
    var best = LOWEST;
    for (var col = lane; col < cols; col += LANES) {
        best = max_nan(best, logit(base + col * params.inner, masks + col * params.mask_col_stride));
    }
    best = row_max(thread, best);
    var sum = 0.0;
    for (var col = lane; col < cols; col += LANES) {
        let at = base + col * params.inner;
        let e = exp(logit(at, masks + col * params.mask_col_stride) - best);
        if (LOG == 0u) {
            output[at] = e;
        }
        sum += e;
    }
    sum = row_sum(thread, sum);
    let log_sum = log(sum);
    for (var col = lane; col < cols; col += LANES) {
        let at = base + col * params.inner;
        if (LOG == 0u) {
            output[at] /= sum;
        } else {
            output[at] = logit(at, masks + col * params.mask_col_stride) - best - log_sum;
        }
    }
}
