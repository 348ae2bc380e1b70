//! attention_grad_sums_packed
//!
//! What attention_grad_sums makes, where a head of the width HEAD_DIM stays in registers: of each token and head the
//! logarithm of the sum of its scores' exponentials, and the dot product of its rows of grad and result. The formulas,
//! tensors and parameters are said there; here rows are vectors of four.
//!
//! An invocation makes QUERIES neighbouring tokens of one head, as attention_packed does, and loads each row of k once
//! for all of them. A workgroup is THREADS invocations of ceil(tokens / QUERIES) * heads, heads fastest (NEAR_HEADS = 1,
//! for software adapters) or tokens fastest. Workgroups: ceil(ceil(tokens / QUERIES) * heads / THREADS). The queries are
//! variables and not an array, which would stay in memory.
//!
//! uses: grid, numeric, token_spans
//! variants:
//!   cpu_h16    HEAD_DIM=16 QUERIES=8 THREADS=8 NEAR_HEADS=1
//!   cpu_h32    HEAD_DIM=32 QUERIES=8 THREADS=8 NEAR_HEADS=1
//!   cpu_h64    HEAD_DIM=64 QUERIES=4 THREADS=8 NEAR_HEADS=1
//!   cpu_h128   HEAD_DIM=128 QUERIES=2 THREADS=8 NEAR_HEADS=1
//!   gpu_h16    HEAD_DIM=16 QUERIES=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h32    HEAD_DIM=32 QUERIES=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h64    HEAD_DIM=64 QUERIES=1 THREADS=64 NEAR_HEADS=0

override THREADS: u32 = 8u;
const HEAD_DIM: u32 = 32u;
const QUERIES: u32 = 8u;
const NEAR_HEADS: u32 = 1u;
const PARTS: u32 = HEAD_DIM / 16u;
const LOG2_E: f32 = 1.44269504088896341;
const LN_2: f32 = 0.69314718055994531;
// One head of one row, sixteen elements a matrix.
alias Row = array<mat4x4<f32>, PARTS>;

struct Params {
    tokens: u32,
    heads: u32,
    head_dim: u32,
    kv_tokens: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> result: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> output: array<vec2<f32>>;

struct Query {
    row: Row,
    best: f32,
    weight: f32,
    span: vec2<u32>,
}

// The scale, and the factor that turns exp into exp2, are laid into the query.
fn open(token: u32, head: u32) -> Query {
    var query: Query;
    query.best = LOWEST;
    query.span = min(spans[token], vec2<u32>(params.kv_tokens));
    let at = (token * params.heads + head) * (HEAD_DIM / 4u);
    let factor = params.scale * LOG2_E;
    for (var i = 0u; i < PARTS; i++) {
        let p = at + i * 4u;
        query.row[i] = mat4x4<f32>(q[p], q[p + 1u], q[p + 2u], q[p + 3u]) * factor;
    }
    return query;
}

fn attend(query: ptr<function, Query>, j: u32, key: Row) {
    if (sees((*query).span, j)) {
        var products = vec4<f32>();
        for (var i = 0u; i < PARTS; i++) {
            let left = (*query).row[i];
            let right = key[i];
            products += ((left[0] * right[0] + left[1] * right[1]) + left[2] * right[2]) + left[3] * right[3];
        }
        let score = (products.x + products.y) + (products.z + products.w);
        // Of the two factors, for what was summed and for the new row, one is 1: see attention_packed.
        let gain = score - (*query).best;
        let small = exp2(-abs(gain));
        (*query).best = select((*query).best, score, gain > 0.0);
        (*query).weight = (*query).weight * select(1.0, small, gain > 0.0) + select(small, 1.0, gain > 0.0);
    }
}

fn close(token: u32, head: u32, best: f32, weight: f32, span: vec2<u32>) {
    let row = token * params.heads + head;
    let at = row * (HEAD_DIM / 4u);
    var products = vec4<f32>();
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        products += result[at + i] * grad[at + i];
    }
    let product = (products.x + products.y) + (products.z + products.w);
    if (token < params.tokens) {
        output[row] = vec2<f32>(select((best + log2(weight)) * LN_2, 0.0, span.x >= span.y), product);
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
    // Loops of a length that no driver knows open the queries and close them: attention_packed says why.
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
        let opened = open(t, head);
        span = unite(span, opened.span);
        if (i == 0u) {
            query0 = opened;
        }
        if (QUERIES > 1u && i == 1u) {
            query1 = opened;
        }
        if (QUERIES > 2u && i == 2u) {
            query2 = opened;
        }
        if (QUERIES > 3u && i == 3u) {
            query3 = opened;
        }
        if (QUERIES > 4u && i == 4u) {
            query4 = opened;
        }
        if (QUERIES > 5u && i == 5u) {
            query5 = opened;
        }
        if (QUERIES > 6u && i == 6u) {
            query6 = opened;
        }
        if (QUERIES > 7u && i == 7u) {
            query7 = opened;
        }
    }
    for (var j = span.x; j < span.y; j++) {
        let at = (j * params.heads + head) * (HEAD_DIM / 4u);
        var key: Row;
        for (var i = 0u; i < PARTS; i++) {
            let p = at + i * 4u;
            key[i] = mat4x4<f32>(k[p], k[p + 1u], k[p + 2u], k[p + 3u]);
        }
        attend(&query0, j, key);
        if (QUERIES > 1u) {
            attend(&query1, j, key);
        }
        if (QUERIES > 2u) {
            attend(&query2, j, key);
            attend(&query3, j, key);
        }
        if (QUERIES > 4u) {
            attend(&query4, j, key);
            attend(&query5, j, key);
            attend(&query6, j, key);
            attend(&query7, j, key);
        }
    }
    for (var t = token; t < token_end; t++) {
        let i = t % QUERIES;
        var sums = vec2<f32>(query0.best, query0.weight);
        var own_span = query0.span;
        if (QUERIES > 1u && i == 1u) {
            sums = vec2<f32>(query1.best, query1.weight);
            own_span = query1.span;
        }
        if (QUERIES > 2u && i == 2u) {
            sums = vec2<f32>(query2.best, query2.weight);
            own_span = query2.span;
        }
        if (QUERIES > 3u && i == 3u) {
            sums = vec2<f32>(query3.best, query3.weight);
            own_span = query3.span;
        }
        if (QUERIES > 4u && i == 4u) {
            sums = vec2<f32>(query4.best, query4.weight);
            own_span = query4.span;
        }
        if (QUERIES > 5u && i == 5u) {
            sums = vec2<f32>(query5.best, query5.weight);
            own_span = query5.span;
        }
        if (QUERIES > 6u && i == 6u) {
            sums = vec2<f32>(query6.best, query6.weight);
            own_span = query6.span;
        }
        if (QUERIES > 7u && i == 7u) {
            sums = vec2<f32>(query7.best, query7.weight);
            own_span = query7.span;
        }
        close(t, head, sums.x, sums.y, own_span);
    }
}
