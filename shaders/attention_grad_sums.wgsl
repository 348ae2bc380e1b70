//! attention_grad_sums
//!
//! output[t][h] = (log sum_j exp(score(t, j)), sum_d grad[t][h][d] * result[t][h][d])
//!
//! with score(t, j) = scale * sum_d q[t][h][d] * k[j][h][d], j in spans[t]: what the gradients of an attention need of a
//! whole row; result is its forward result. Rows are heads * head_dim long; attention_packed says how they, heads and
//! spans lie. An empty span gives a logarithm of 0.
//! An invocation makes one token of one head, a workgroup THREADS neighbouring tokens, and takes four rows of k at a
//! time, so it loads 5/4 numbers for each product. Workgroups: ceil(tokens * heads / THREADS).
//! lavapipe ends an invocation after 65,535 loop iterations: four rows of k take 2 + head_dim / 8 of them.
//!
//! uses: grid, numeric
//! variants:
//!   base   THREADS=8

override THREADS: u32 = 8u;
// Loops of constant length are unrolled, and so do not count towards the 65,535 iterations that llvmpipe allows an
// invocation.
const COLUMNS: u32 = 8u;

struct Params {
    tokens: u32,
    heads: u32,
    head_dim: u32,
    kv_tokens: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> result: array<f32>;
@group(0) @binding(5) var<storage, read> grad: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<vec2<f32>>;

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
    let width = params.heads * params.head_dim;
    let first = head * params.head_dim;
    let own = token * width + first;
    let span = spans[token];
    let end = min(span.y, params.kv_tokens);
    // Depends on the invocation, where params alone would do: see matmul_register.
    let dims = select(0u, params.head_dim, token < params.tokens);

    var best = LOWEST;
    var weight = 0.0;
    for (var j = span.x; j < end; j += 4u) {
        // Past the end the last row stands in, with weight 0.
        let last = u32(i32(end) - 1);
        let inside = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
        let at = vec4<u32>(j, min(j + 1u, last), min(j + 2u, last), min(j + 3u, last)) * width + first;
        var scores = vec4<f32>();
        for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
            for (var i = 0u; i < COLUMNS; i++) {
                let d = first_d + i;
                if (d < dims) {
                    scores += q[own + d] * vec4<f32>(k[at.x + d], k[at.y + d], k[at.z + d], k[at.w + d]);
                }
            }
        }
        scores *= params.scale;
        let top = max_nan(best, max_nan(max_nan(scores.x, scores.y), max_nan(scores.z, scores.w)));
        let fresh = select(vec4<f32>(), exp(scores - top), inside);
        weight = weight * exp(best - top) + ((fresh.x + fresh.y) + (fresh.z + fresh.w));
        best = top;
    }
    var product = 0.0;
    for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
        var part = 0.0;
        for (var i = 0u; i < COLUMNS; i++) {
            let d = first_d + i;
            if (d < dims) {
                part += grad[own + d] * result[own + d];
            }
        }
        product += part;
    }
    output[token * params.heads + head] = vec2<f32>(select(best + log(weight), 0.0, span.x >= end), product);
}
