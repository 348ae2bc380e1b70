//! attention_row
//!
//! output[t][h][d] = sum_j w[j] * v[j][h][d],  w = softmax_j(scale * sum_d q[t][h][d] * k[j][h][d]),  j in spans[t]
//!
//! Attention over packed sequences for few tokens that see many rows, as in decoding; attention_packed says how rows,
//! heads and spans lie, and serves many tokens.
//!
//! A workgroup makes QUERIES neighbouring tokens of one head; each of its THREADS invocations takes a stretch of the union
//! of their spans, for all of them, and what they found is joined through workgroup memory. Workgroups:
//! ceil(tokens / QUERIES) * heads. Legal: HEAD_DIM a multiple of 16; QUERIES 1 or 4, which is for tokens that see the same
//! rows, such as the beams of a prompt.
//!
//! uses: eight, grid, numeric, online_softmax, token_spans
//! variants:
//!   cpu_h16_1        HEAD_DIM=16 QUERIES=1 THREADS=8 WORD=u32 BITS=32
//!   cpu_h32_1        HEAD_DIM=32 QUERIES=1 THREADS=8 WORD=u32 BITS=32
//!   cpu_h64_1        HEAD_DIM=64 QUERIES=1 THREADS=8 WORD=u32 BITS=32
//!   cpu_h64_1_wide   HEAD_DIM=64 QUERIES=1 THREADS=8 WORD=u64 BITS=64
//!   cpu_h64_4        HEAD_DIM=64 QUERIES=4 THREADS=8 WORD=u32 BITS=32
//!   cpu_h64_4_wide   HEAD_DIM=64 QUERIES=4 THREADS=8 WORD=u64 BITS=64
//!   cpu_h128_1       HEAD_DIM=128 QUERIES=1 THREADS=8 WORD=u32 BITS=32
//!   cpu_h128_1_wide  HEAD_DIM=128 QUERIES=1 THREADS=8 WORD=u64 BITS=64
//!   gpu_h16_1        HEAD_DIM=16 QUERIES=1 THREADS=64 WORD=u32 BITS=32
//!   gpu_h32_1        HEAD_DIM=32 QUERIES=1 THREADS=64 WORD=u32 BITS=32
//!   gpu_h64_1        HEAD_DIM=64 QUERIES=1 THREADS=64 WORD=u32 BITS=32
//!   gpu_h128_1       HEAD_DIM=128 QUERIES=1 THREADS=64 WORD=u32 BITS=32

const THREADS: u32 = 8u;
const HEAD_DIM: u32 = 64u;
const QUERIES: u32 = 1u;
const BITS: u32 = 32u;
const LOG2_E: f32 = 1.44269504088896341;
alias WORD = u32;

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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

// The scale, and the factor that turns exp into exp2, are laid into the query.
fn open(token: u32, head: u32) -> Row {
    let at = (token * params.q_stride + head * HEAD_DIM) / 4u;
    let factor = params.scale * LOG2_E;
    var row: Row;
    for (var i = 0u; i < PARTS; i++) {
        let p = at + i * 4u;
        row[i] = mat4x4<f32>(q[p], q[p + 1u], q[p + 2u], q[p + 3u]) * factor;
    }
    return row;
}

fn close(token: u32, head: u32, thread: u32, mixture: Mixture) {
    let at = (token * params.output_stride + head * HEAD_DIM) / 4u;
    for (var first = 0u; first < VECTORS; first += JOINED) {
        let vectors = join(thread, first, mixture);
        for (var own = 0u; own < OWN; own++) {
            let vector = own * THREADS + thread;
            if (vector < JOINED && token < params.tokens) {
                output[at + first + vector] = vectors[own];
            }
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups);
    let head = index % params.heads;
    let token = index / params.heads * QUERIES;
    if (token >= params.tokens) {
        return;
    }
    // One loop opens the queries and another closes them, each of a length that no driver knows: attention_packed says
    // why.
    let token_end = min(token + QUERIES, params.tokens);
    var span = vec2<u32>();
    var span0 = vec2<u32>();
    var span1 = vec2<u32>();
    var span2 = vec2<u32>();
    var span3 = vec2<u32>();
    var query0: Row;
    var query1: Row;
    var query2: Row;
    var query3: Row;
    for (var t = token; t < token_end; t++) {
        let i = t % QUERIES;
        let query = open(t, head);
        let own_span = min(spans[t], vec2<u32>(params.kv_tokens));
        span = unite(span, own_span);
        if (i == 0u) {
            query0 = query;
            span0 = own_span;
        }
        if (QUERIES > 1u && i == 1u) {
            query1 = query;
            span1 = own_span;
        }
        if (QUERIES > 2u && i == 2u) {
            query2 = query;
            span2 = own_span;
        }
        if (QUERIES > 3u && i == 3u) {
            query3 = query;
            span3 = own_span;
        }
    }
    var mixture0 = nothing_mixed();
    var mixture1 = nothing_mixed();
    var mixture2 = nothing_mixed();
    var mixture3 = nothing_mixed();
    let own = own_stretch(thread, span.x, span.y);
    for (var j = own.x; j < own.y; j++) {
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
        if (sees(span0, j)) {
            attend(&mixture0, &query0, 0.0, &key, &value);
        }
        if (QUERIES > 1u) {
            if (sees(span1, j)) {
                attend(&mixture1, &query1, 0.0, &key, &value);
            }
            if (sees(span2, j)) {
                attend(&mixture2, &query2, 0.0, &key, &value);
            }
            if (sees(span3, j)) {
                attend(&mixture3, &query3, 0.0, &key, &value);
            }
        }
    }
    for (var t = token; t < token_end; t++) {
        let i = t % QUERIES;
        var mixture = mixture0;
        if (QUERIES > 1u && i == 1u) {
            mixture = mixture1;
        }
        if (QUERIES > 2u && i == 2u) {
            mixture = mixture2;
        }
        if (QUERIES > 3u && i == 3u) {
            mixture = mixture3;
        }
        close(t, head, thread, mixture);
    }
}
