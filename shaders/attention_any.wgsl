//! attention_any
//!
//! output[t][h][d] = sum_j w[j] * v[j][h][d],  w = softmax_j(scale * sum_d q[t][h][d] * k[j][h][d]),  j in spans[t]
//!
//! Attention over packed sequences for any head_dim and any strides; attention_packed says how rows, heads and spans
//! lie, what BIAS adds to the scores, and is many times faster where its head sizes fit.
//!
//! An invocation makes one token of one head, a workgroup THREADS neighbouring tokens. It adds up in its part of
//! output, four rows of v at a time: a private array would need a bound on head_dim, and is zeroed element by element,
//! which took lavapipe a second to compile. Workgroups: ceil(tokens * heads / THREADS).
//! lavapipe ends an invocation after 65,535 loop iterations: there a span times head_dim must stay below 130,000.
//!
//! uses: grid, numeric
//! variants:
//!   base   THREADS=8

override THREADS: u32 = 8u;
override BIAS: u32 = 0u;
// Loops of constant length are unrolled, and so do not count towards the 65,535 iterations that llvmpipe allows an
// invocation.
const COLUMNS: u32 = 8u;

struct Params {
    tokens: u32,
    heads: u32,
    head_dim: u32,
    q_stride: u32,
    k_stride: u32,
    v_stride: u32,
    output_stride: u32,
    kv_head_stride: u32,
    kv_tokens: u32,
    scale: f32,
    first_token: u32,
    reach: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

fn bias_at(head: u32, distance: i32) -> f32 {
    let reach = i32(params.reach);
    return bias[head * (2u * params.reach + 1u) + u32(clamp(distance, -reach, reach) + reach)];
}

fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, !(b <= a));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.tokens * params.heads) {
        return;
    }
    let token = index % params.tokens;
    let head = index / params.tokens;
    let first = head * params.head_dim;
    let kv_first = head * params.kv_head_stride;
    let q_at = token * params.q_stride + first;
    let span = spans[token];
    let end = min(span.y, params.kv_tokens);
    // Depends on the invocation, where params alone would do: see matmul_register.
    let dims = select(0u, params.head_dim, token < params.tokens);

    let out_at = token * params.output_stride + first;
    for (var d = 0u; d < dims; d++) {
        output[out_at + d] = 0.0;
    }
    var best = LOWEST;
    var weight = 0.0;
    for (var j = span.x; j < end; j += 4u) {
        // Past the end the last row stands in, with weight 0.
        let last = u32(i32(end) - 1);
        let rows = vec4<u32>(j, min(j + 1u, last), min(j + 2u, last), min(j + 3u, last));
        let inside = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
        let k_at = rows * params.k_stride + kv_first;
        var scores = vec4<f32>();
        for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
            for (var i = 0u; i < COLUMNS; i++) {
                let d = first_d + i;
                if (d < dims) {
                    scores += q[q_at + d] * vec4<f32>(k[k_at.x + d], k[k_at.y + d], k[k_at.z + d], k[k_at.w + d]);
                }
            }
        }
        scores *= params.scale;
        if (BIAS != 0u) {
            let distances = vec4<i32>(rows) - i32(params.first_token + token);
            scores.x += bias_at(head, distances.x);
            scores.y += bias_at(head, distances.y);
            scores.z += bias_at(head, distances.z);
            scores.w += bias_at(head, distances.w);
        }
        let top = larger(best, larger(larger(scores.x, scores.y), larger(scores.z, scores.w)));
        let kept = exp(best - top);
        let fresh = select(vec4<f32>(), exp(scores - top), inside);
        weight = weight * kept + ((fresh.x + fresh.y) + (fresh.z + fresh.w));
        best = top;
        let v_at = rows * params.v_stride + kv_first;
        for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
            for (var i = 0u; i < COLUMNS; i++) {
                let d = first_d + i;
                if (d < dims) {
                    let values = vec4<f32>(v[v_at.x + d], v[v_at.y + d], v[v_at.z + d], v[v_at.w + d]);
                    output[out_at + d] = output[out_at + d] * kept + dot(fresh, values);
                }
            }
        }
    }
    let factor = select(1.0 / weight, 0.0, span.x >= end);
    for (var d = 0u; d < dims; d++) {
        output[out_at + d] = output[out_at + d] * factor;
    }
}
