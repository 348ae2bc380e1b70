//! local_response_norm_grad
//!
//! output[n][c][i] = grad[n][c][i] * base[n][c][i]^-beta
//!                   - 2 * scale * beta * input[n][c][i] * sum_d grad[n][d][i] * input[n][d][i] * base[n][d][i]^(-beta - 1),
//!     base[n][d][i] = k + scale * sum_e input[n][e][i]^2,  d - BEFORE <= e <= d + AFTER,  c - AFTER <= d <= c + BEFORE
//!
//! The gradient of local_response_norm: a channel counts in the windows of its neighbours, so the windows of the sum over d
//! are turned around. Channels outside count as 0. Input, grad and output are [n][channels][inner].
//!
//! One invocation makes CHANNELS neighbouring channels at one place, and holds what their windows' windows see in registers:
//! CHANNELS + 2 * (BEFORE + AFTER) numbers, for windows of up to LONGEST channels. A workgroup makes THREADS of these, places
//! first, then channel_groups, then images. Each window is summed anew: a sum that slides would carry the rounding errors of
//! large channels into small ones.
//!
//! uses: grid, numeric, window
//! variants:
//!   base   THREADS=64 CHANNELS=8 LONGEST=9

override THREADS: u32 = 64u;
override BEFORE: u32 = 0u;
override AFTER: u32 = 0u;
const CHANNELS: u32 = 8u;
const LONGEST: u32 = 9u;

struct Params {
    count: u32,
    channel_groups: u32,
    channels: u32,
    inner: u32,
    k: f32,
    scale: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

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
    let run = index / params.inner;
    let image = run / params.channel_groups * params.channels;
    let start = run % params.channel_groups * CHANNELS;
    let i = index % params.inner;
    // The place of a channel is `start` + its number here - (BEFORE + AFTER).
    var x: array<f32, CHANNELS + 2u * (LONGEST - 1u)>;
    for (var a = 0u; a < CHANNELS + 2u * (BEFORE + AFTER); a++) {
        let c = window_input(start, a, 1u, 1u, BEFORE + AFTER);
        let value = input[(image + window_clamp(c, params.channels)) * params.inner + i];
        x[a] = select(0.0, value, window_inside(c, params.channels));
    }
    // Of the channel whose window starts with x[a].
    var pulls: array<f32, CHANNELS + LONGEST - 1u>;
    var own: array<f32, CHANNELS + LONGEST - 1u>;
    for (var a = 0u; a < CHANNELS + BEFORE + AFTER; a++) {
        var squares = 0.0;
        for (var d = 0u; d <= BEFORE + AFTER; d++) {
            squares += x[a + d] * x[a + d];
        }
        let c = window_input(start, a, 1u, 1u, AFTER);
        let g = grad[(image + window_clamp(c, params.channels)) * params.inner + i];
        let base = params.k + params.scale * squares;
        // pow drops NaN on some drivers.
        own[a] = g * select(pow(base, -params.beta), base, is_nan(base));
        pulls[a] = select(0.0, own[a] * x[a + BEFORE] / base, window_inside(c, params.channels));
    }
    for (var a = 0u; a < CHANNELS; a++) {
        var pull = 0.0;
        for (var d = 0u; d <= BEFORE + AFTER; d++) {
            pull += pulls[a + d];
        }
        let c = start + a;
        if (c < params.channels) {
            output[(image + c) * params.inner + i] =
                own[a + AFTER] - 2.0 * params.scale * params.beta * x[a + BEFORE + AFTER] * pull;
        }
    }
}
