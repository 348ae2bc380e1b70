//! attention_packed
//!
//! output[t][h][d] = sum_j w[j] * v[j][h][d],  w = softmax_j(scale * sum_d q[t][h][d] * k[j][h][d]),  j in spans[t]
//!
//! Attention over packed sequences: token t attends to the rows spans[t].x up to spans[t].y of k and v, so sequences of
//! any length lie behind each other without padding; an empty span gives zeros. Rows are *_stride elements apart, so q, k
//! and v may be slices of one tensor; head h starts h * HEAD_DIM elements into a row of q and of the output, and
//! h * kv_head_stride into k and v. HEAD_DIM = head_dim; the strides and the bindings' offsets are divisible by 4 elements,
//! those of k and v by 8. spans end within kv_tokens.
//! Where BIAS is not 0, bias[h][clamp(j - t, -reach, reach) + reach] is added to a score; token 0 then stands at position
//! first_token among the rows of k. Otherwise bias is bound but never read.
//!
//! An invocation makes QUERIES neighbouring tokens of one head and keeps their queries, their running maximum, weight
//! and sum in registers (Milakov and Gimelshein's online softmax, in base 2); each row of k and v that it loads serves
//! all of them. It runs over the union of their spans and skips, query by query, what lies outside. A workgroup is
//! THREADS invocations of ceil(tokens / QUERIES) * heads, heads fastest (NEAR_HEADS = 1, for software adapters) or
//! tokens fastest, so that neighbours read the same rows. Workgroups: ceil(ceil(tokens / QUERIES) * heads / THREADS).
//! On lavapipe cpu_h32 runs at 0.8 and cpu_h64 at 0.45 times the rate of matmul_register; the wide ones, by 64-bit integers,
//! take 0.81 and 0.55 of their time.
//! Legal: HEAD_DIM 16, 32, 64, 128; QUERIES 1, 2, 4, 8. The cpu variants need a lot of registers: not for GPUs.
//!
//! On lavapipe a load costs as much as some twenty multiplications of a whole vector, whatever its address, so the
//! number of queries that share it decides: with HEAD_DIM 32, rates 1 : 1.6 : 2.8 : 3.6 for QUERIES 1, 2, 4, 8, and
//! 0.2, 0.2, 0.3, 0.6 s to compile. Lanes over heads rather than tokens, 1.3 times as fast: a tile of QUERIES tokens
//! seldom straddles two sequences, one of 8 * QUERIES often does. The queries are variables and not an array, which
//! would stay in memory; loops over PARTS are unrolled. Neighbouring tokens see neighbouring biases: each step loads one,
//! for the first token, and the others take over what the token before them had.
//!
//! uses: eight, grid, numeric, token_spans
//! variants:
//!   cpu_h16        HEAD_DIM=16 QUERIES=8 THREADS=8 NEAR_HEADS=1 WORD=u32 BITS=32
//!   cpu_h16_wide   HEAD_DIM=16 QUERIES=8 THREADS=8 NEAR_HEADS=1 WORD=u64 BITS=64
//!   cpu_h32        HEAD_DIM=32 QUERIES=8 THREADS=8 NEAR_HEADS=1 WORD=u32 BITS=32
//!   cpu_h32_wide   HEAD_DIM=32 QUERIES=8 THREADS=8 NEAR_HEADS=1 WORD=u64 BITS=64
//!   cpu_h64        HEAD_DIM=64 QUERIES=4 THREADS=8 NEAR_HEADS=1 WORD=u32 BITS=32
//!   cpu_h64_wide   HEAD_DIM=64 QUERIES=4 THREADS=8 NEAR_HEADS=1 WORD=u64 BITS=64
//!   cpu_h128       HEAD_DIM=128 QUERIES=2 THREADS=8 NEAR_HEADS=1 WORD=u32 BITS=32
//!   cpu_h128_wide  HEAD_DIM=128 QUERIES=2 THREADS=8 NEAR_HEADS=1 WORD=u64 BITS=64
//!   gpu_h16        HEAD_DIM=16 QUERIES=1 THREADS=64 NEAR_HEADS=0 WORD=u32 BITS=32
//!   gpu_h32        HEAD_DIM=32 QUERIES=1 THREADS=64 NEAR_HEADS=0 WORD=u32 BITS=32
//!   gpu_h64        HEAD_DIM=64 QUERIES=1 THREADS=64 NEAR_HEADS=0 WORD=u32 BITS=32

override THREADS: u32 = 8u;
override BIAS: u32 = 0u;
const HEAD_DIM: u32 = 32u;
const QUERIES: u32 = 8u;
const NEAR_HEADS: u32 = 1u;
const PARTS: u32 = HEAD_DIM / 16u;
const BITS: u32 = 32u;
const LOG2_E: f32 = 1.44269504088896341;
alias WORD = u32;
// One head of one row, sixteen elements a matrix.
alias Row = array<mat4x4<f32>, PARTS>;

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
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<vec4<f32>>;

struct Query {
    row: Row,
    sum: Row,
    best: f32,
    weight: f32,
    span: vec2<u32>,
}

// The scale, and the factor that turns exp into exp2, are laid into the query.
fn open(token: u32, head: u32) -> Query {
    var query: Query;
    query.best = LOWEST;
    query.span = min(spans[token], vec2<u32>(params.kv_tokens));
    let factor = params.scale * LOG2_E;
    let at = (token * params.q_stride + head * HEAD_DIM) / 4u;
    for (var i = 0u; i < PARTS; i++) {
        let p = at + i * 4u;
        query.row[i] = mat4x4<f32>(q[p], q[p + 1u], q[p + 2u], q[p + 3u]) * factor;
    }
    return query;
}

// What the row `distance` after a token adds to its score, for exp2.
fn bias_at(head: u32, distance: i32) -> f32 {
    let reach = i32(params.reach);
    return bias[head * (2u * params.reach + 1u) + u32(clamp(distance, -reach, reach) + reach)] * LOG2_E;
}

fn attend(query: ptr<function, Query>, j: u32, key: Row, value: Row, extra: f32) {
    if (sees((*query).span, j)) {
        var products = vec4<f32>();
        for (var i = 0u; i < PARTS; i++) {
            let left = (*query).row[i];
            let right = key[i];
            products += ((left[0] * right[0] + left[1] * right[1]) + left[2] * right[2]) + left[3] * right[3];
        }
        var score = (products.x + products.y) + (products.z + products.w);
        if (BIAS != 0u) {
            score += extra;
        }
        // Of the two factors, for what was summed and for the new row, one is 1: a single exponential is enough. A NaN
        // score fails the comparison and reaches weight and sum through `fresh`.
        let gain = score - (*query).best;
        let small = exp2(-abs(gain));
        let kept = select(1.0, small, gain > 0.0);
        let fresh = select(small, 1.0, gain > 0.0);
        (*query).best = select((*query).best, score, gain > 0.0);
        (*query).weight = (*query).weight * kept + fresh;
        for (var i = 0u; i < PARTS; i++) {
            (*query).sum[i] = (*query).sum[i] * kept + value[i] * fresh;
        }
    }
}

fn close(token: u32, head: u32, query: Query) {
    let factor = select(1.0 / query.weight, 0.0, query.span.x >= query.span.y);
    let at = (token * params.output_stride + head * HEAD_DIM) / 4u;
    if (token < params.tokens) {
        for (var i = 0u; i < PARTS; i++) {
            let part = query.sum[i] * factor;
            output[at + i * 4u] = part[0];
            output[at + i * 4u + 1u] = part[1];
            output[at + i * 4u + 2u] = part[2];
            output[at + i * 4u + 3u] = part[3];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    let tiles = (params.tokens + (QUERIES - 1u)) / QUERIES;
    if (index >= tiles * params.heads) {
        return;
    }
    let head = select(index / tiles, index % params.heads, NEAR_HEADS == 1u);
    let token = select(index % tiles, index / params.heads, NEAR_HEADS == 1u) * QUERIES;
    // One loop opens the queries and another closes them, each of a length that no driver knows: unrolled, their loads
    // and stores would stand in the code QUERIES times, and compile half as long again.
    let token_end = min(token + QUERIES, params.tokens);
    var span = vec2<u32>();
    var query0: Query;
    var query1: Query;
    var query2: Query;
    var query3: Query;
    var query4: Query;
    var query5: Query;
    var query6: Query;
    var query7: Query;
    for (var t = token; t < token_end; t++) {
        let i = t % QUERIES;
        let query = open(t, head);
        span = unite(span, query.span);
        if (i == 0u) {
            query0 = query;
        }
        if (QUERIES > 1u && i == 1u) {
            query1 = query;
        }
        if (QUERIES > 2u && i == 2u) {
            query2 = query;
        }
        if (QUERIES > 3u && i == 3u) {
            query3 = query;
        }
        if (QUERIES > 4u && i == 4u) {
            query4 = query;
        }
        if (QUERIES > 5u && i == 5u) {
            query5 = query;
        }
        if (QUERIES > 6u && i == 6u) {
            query6 = query;
        }
        if (QUERIES > 7u && i == 7u) {
            query7 = query;
        }
    }
    let position = i32(params.first_token + token);
    // The biases of queries 0 to 3 and 4 to 7.
    var near = vec4<f32>();
    var far = vec4<f32>();
    if (BIAS != 0u && QUERIES > 1u) {
        let before = i32(span.x) - 1 - position;
        near = vec4<f32>(bias_at(head, before), bias_at(head, before - 1), bias_at(head, before - 2), 0.0);
        if (QUERIES > 4u) {
            near.w = bias_at(head, before - 3);
            far = vec4<f32>(bias_at(head, before - 4), bias_at(head, before - 5), bias_at(head, before - 6), 0.0);
        }
    }
    for (var j = span.x; j < span.y; j++) {
        if (BIAS != 0u) {
            far = vec4<f32>(near.w, far.xyz);
            near = vec4<f32>(bias_at(head, i32(j) - position), near.xyz);
        }
        // In eights.
        let k_at = (j * params.k_stride + head * params.kv_head_stride) / 8u;
        let v_at = (j * params.v_stride + head * params.kv_head_stride) / 8u;
        var key: Row;
        var value: Row;
        for (var i = 0u; i < PARTS; i++) {
            let kp = (k_at + i * 2u) * STEP;
            let vp = (v_at + i * 2u) * STEP;
            let key0 = eight(k[kp], k[kp + LAST]);
            let key1 = eight(k[kp + STEP], k[kp + STEP + LAST]);
            key[i] = mat4x4<f32>(key0[0], key0[1], key1[0], key1[1]);
            let value0 = eight(v[vp], v[vp + LAST]);
            let value1 = eight(v[vp + STEP], v[vp + STEP + LAST]);
            value[i] = mat4x4<f32>(value0[0], value0[1], value1[0], value1[1]);
        }
        attend(&query0, j, key, value, near.x);
        if (QUERIES > 1u) {
            attend(&query1, j, key, value, near.y);
        }
        if (QUERIES > 2u) {
            attend(&query2, j, key, value, near.z);
            attend(&query3, j, key, value, near.w);
        }
        if (QUERIES > 4u) {
            attend(&query4, j, key, value, far.x);
            attend(&query5, j, key, value, far.y);
            attend(&query6, j, key, value, far.z);
            attend(&query7, j, key, value, far.w);
        }
    }
    for (var t = token; t < token_end; t++) {
        let i = t % QUERIES;
        var query = query0;
        if (QUERIES > 1u && i == 1u) {
            query = query1;
        }
        if (QUERIES > 2u && i == 2u) {
            query = query2;
        }
        if (QUERIES > 3u && i == 3u) {
            query = query3;
        }
        if (QUERIES > 4u && i == 4u) {
            query = query4;
        }
        if (QUERIES > 5u && i == 5u) {
            query = query5;
        }
        if (QUERIES > 6u && i == 6u) {
            query = query6;
        }
        if (QUERIES > 7u && i == 7u) {
            query = query7;
        }
        close(t, head, query);
    }
}
