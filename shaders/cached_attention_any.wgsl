//! cached_attention_any
//!
//! output[r][h][d] = sum_p w[p] * value_p[h][d],  w = softmax_p(scale * sum_d query[h][d] * key_p[h][d] + bias[h][min(n - p, reach)])
//!
//! What cached_attention_row makes, from the same tensors, for any head_dim; it is many times faster where it has the
//! width.
//!
//! An invocation makes one row of one head, a workgroup THREADS neighbouring rows. It adds up in its part of output: see
//! attention_any. Workgroups: ceil(rows * heads / THREADS).
//!
//! uses: grid, numeric
//! variants:
//!   base   THREADS=8

override THREADS: u32 = 8u;
// Loops of constant length are unrolled, and so do not count towards the 65,535 iterations that llvmpipe allows an
// invocation.
const COLUMNS: u32 = 8u;

struct Params {
    rows: u32,
    heads: u32,
    head_dim: u32,
    slots: u32,
    length: u32,
    reach: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> cache: array<f32>;
@group(0) @binding(3) var<storage, read> past: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.rows * params.heads) {
        return;
    }
    let row = index % params.rows;
    let head = index / params.rows;
    let inner = params.heads * params.head_dim;
    let query_at = row * 3u * inner + head * params.head_dim;
    let out_at = row * inner + head * params.head_dim;
    let past_at = row * (params.length + 1u);
    let bias_at = head * (params.reach + 1u);
    let n = min(past[past_at], params.length);
    // Depends on the invocation, where params alone would do: see matmul_register.
    let dims = select(0u, params.head_dim, row < params.rows);

    // The new token opens the sum.
    var best = 0.0;
    for (var d = 0u; d < dims; d++) {
        best += qkv[query_at + d] * qkv[query_at + inner + d];
        output[out_at + d] = qkv[query_at + 2u * inner + d];
    }
    best = best * params.scale + bias[bias_at];
    var weight = 1.0;
    for (var p = 0u; p < n; p++) {
        let slot = min(past[past_at + 1u + p], u32(i32(params.slots) - 1));
        let at = (head * params.slots + slot) * params.head_dim;
        let distance = min(u32(i32(n) - i32(p)), params.reach);
        var score = 0.0;
        for (var first = 0u; first < dims; first += COLUMNS) {
            for (var i = 0u; i < COLUMNS; i++) {
                let d = first + i;
                if (d < dims) {
                    score += qkv[query_at + d] * cache[at + d];
                }
            }
        }
        score = score * params.scale + bias[bias_at + distance];
        // A NaN score fails the comparison, and reaches weight and sum through `fresh`.
        let gain = score - best;
        let small = exp(-abs(gain));
        let kept = select(1.0, small, gain > 0.0);
        let fresh = select(small, 1.0, gain > 0.0);
        best = select(best, score, gain > 0.0);
        weight = weight * kept + fresh;
        for (var first = 0u; first < dims; first += COLUMNS) {
            for (var i = 0u; i < COLUMNS; i++) {
                let d = first + i;
                if (d < dims) {
                    output[out_at + d] = output[out_at + d] * kept + fresh * cache[at + inner * params.slots + d];
                }
            }
        }
    }
    for (var d = 0u; d < dims; d++) {
        output[out_at + d] = output[out_at + d] / weight;
    }
}
