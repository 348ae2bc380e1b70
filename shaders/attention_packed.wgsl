//! attention_packed
//!
//! output[t][h][d] = sum_j w[j] * v[j][h][d],  w = softmax_j(scale * sum_d q[t][h][d] * k[j][h][d]),  j in spans[t]
//!
//! Attention over packed sequences: token t attends to the rows spans[t].x up to spans[t].y of k and v, so sequences of
//! any length lie behind each other without padding; an empty span gives zeros. Rows are *_stride elements apart and
//! head h starts at element h * HEAD_DIM of a row, so q, k and v may be slices of one tensor. HEAD_DIM = head_dim; the
//! strides and the bindings' offsets are divisible by 4 elements. spans end within kv_tokens.
//!
//! An invocation makes QUERIES neighbouring tokens of one head and keeps their queries and their running maximum, weight
//! and sum in registers (Milakov and Gimelshein's online softmax, in base 2); each row of k and v that it loads serves
//! all of them. It runs over the union of their spans and skips, query by query, what lies outside. A workgroup is
//! THREADS invocations of ceil(tokens / QUERIES) * heads, heads fastest (NEAR_HEADS = 1, for software adapters) or
//! tokens fastest, so that neighbours read the same rows. Workgroups: ceil(ceil(tokens / QUERIES) * heads / THREADS).
//! Legal: HEAD_DIM 16, 32, 64, 128; QUERIES 1, 2, 4, 8. The cpu variants need a lot of registers: not for GPUs.
//!
//! On lavapipe a load costs as much as some twenty multiplications of a whole vector, whatever its address, so the
//! number of queries that share it decides: with HEAD_DIM 32, rates 1 : 1.6 : 2.9 : 3.5 for QUERIES 1, 2, 4, 8, the
//! last at four times the compile time of the one before. Lanes over heads rather than tokens, 1.4 times as fast: a
//! tile of QUERIES tokens seldom straddles two sequences, one of 8 * QUERIES often does.
//!
//! uses: grid, numeric
//! variants:
//!   cpu_h16    HEAD_DIM=16 QUERIES=8 THREADS=8 NEAR_HEADS=1
//!   cpu_h32    HEAD_DIM=32 QUERIES=4 THREADS=8 NEAR_HEADS=1
//!   cpu_h64    HEAD_DIM=64 QUERIES=4 THREADS=8 NEAR_HEADS=1
//!   cpu_h128   HEAD_DIM=128 QUERIES=2 THREADS=8 NEAR_HEADS=1
//!   gpu_h16    HEAD_DIM=16 QUERIES=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h32    HEAD_DIM=32 QUERIES=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h64    HEAD_DIM=64 QUERIES=1 THREADS=64 NEAR_HEADS=0

override THREADS: u32 = 8u;
const HEAD_DIM: u32 = 32u;
const QUERIES: u32 = 4u;
const NEAR_HEADS: u32 = 1u;

struct Params {
    tokens: u32,
    heads: u32,
    head_dim: u32,
    q_stride: u32,
    k_stride: u32,
    v_stride: u32,
    output_stride: u32,
    kv_tokens: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

// One head's part of a row, sixteen elements a matrix. What lies past HEAD_DIM is never read.
struct Row {
    m0: mat4x4<f32>,
    m1: mat4x4<f32>,
    m2: mat4x4<f32>,
    m3: mat4x4<f32>,
    m4: mat4x4<f32>,
    m5: mat4x4<f32>,
    m6: mat4x4<f32>,
    m7: mat4x4<f32>,
}

struct Query {
    row: Row,
    sum: Row,
    best: f32,
    weight: f32,
    span: vec2<u32>,
}

fn q_part(at: u32) -> mat4x4<f32> {
    return mat4x4<f32>(q[at], q[at + 1u], q[at + 2u], q[at + 3u]);
}

fn q_row(at: u32) -> Row {
    var row: Row;
    row.m0 = q_part(at);
    if (HEAD_DIM > 16u) {
        row.m1 = q_part(at + 4u);
    }
    if (HEAD_DIM > 32u) {
        row.m2 = q_part(at + 8u);
        row.m3 = q_part(at + 12u);
    }
    if (HEAD_DIM > 64u) {
        row.m4 = q_part(at + 16u);
        row.m5 = q_part(at + 20u);
        row.m6 = q_part(at + 24u);
        row.m7 = q_part(at + 28u);
    }
    return row;
}

fn k_part(at: u32) -> mat4x4<f32> {
    return mat4x4<f32>(k[at], k[at + 1u], k[at + 2u], k[at + 3u]);
}

fn k_row(at: u32) -> Row {
    var row: Row;
    row.m0 = k_part(at);
    if (HEAD_DIM > 16u) {
        row.m1 = k_part(at + 4u);
    }
    if (HEAD_DIM > 32u) {
        row.m2 = k_part(at + 8u);
        row.m3 = k_part(at + 12u);
    }
    if (HEAD_DIM > 64u) {
        row.m4 = k_part(at + 16u);
        row.m5 = k_part(at + 20u);
        row.m6 = k_part(at + 24u);
        row.m7 = k_part(at + 28u);
    }
    return row;
}

fn v_part(at: u32) -> mat4x4<f32> {
    return mat4x4<f32>(v[at], v[at + 1u], v[at + 2u], v[at + 3u]);
}

fn v_row(at: u32) -> Row {
    var row: Row;
    row.m0 = v_part(at);
    if (HEAD_DIM > 16u) {
        row.m1 = v_part(at + 4u);
    }
    if (HEAD_DIM > 32u) {
        row.m2 = v_part(at + 8u);
        row.m3 = v_part(at + 12u);
    }
    if (HEAD_DIM > 64u) {
        row.m4 = v_part(at + 16u);
        row.m5 = v_part(at + 20u);
        row.m6 = v_part(at + 24u);
        row.m7 = v_part(at + 28u);
    }
    return row;
}

fn products(a: mat4x4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return ((a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]) + a[3] * b[3];
}

fn score(a: Row, b: Row) -> f32 {
    var sum = products(a.m0, b.m0);
    if (HEAD_DIM > 16u) {
        sum += products(a.m1, b.m1);
    }
    if (HEAD_DIM > 32u) {
        sum += products(a.m2, b.m2);
        sum += products(a.m3, b.m3);
    }
    if (HEAD_DIM > 64u) {
        sum += products(a.m4, b.m4);
        sum += products(a.m5, b.m5);
        sum += products(a.m6, b.m6);
        sum += products(a.m7, b.m7);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// The scale, and the factor that turns exp into exp2, are laid into the query.
fn open(token: u32, head: u32) -> Query {
    var query: Query;
    query.best = LOWEST;
    if (token < params.tokens) {
        query.span = min(spans[token], vec2<u32>(params.kv_tokens));
        let factor = params.scale * 1.44269504088896341;
        query.row = q_row((token * params.q_stride + head * HEAD_DIM) / 4u);
        query.row.m0 *= factor;
        if (HEAD_DIM > 16u) {
            query.row.m1 *= factor;
        }
        if (HEAD_DIM > 32u) {
            query.row.m2 *= factor;
            query.row.m3 *= factor;
        }
        if (HEAD_DIM > 64u) {
            query.row.m4 *= factor;
            query.row.m5 *= factor;
            query.row.m6 *= factor;
            query.row.m7 *= factor;
        }
    }
    return query;
}

// The span that holds both; an empty one adds nothing.
fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let both = vec2<u32>(min(a.x, b.x), max(a.y, b.y));
    return select(select(both, a, b.x >= b.y), b, a.x >= a.y);
}

fn attend(query: ptr<function, Query>, j: u32, key: Row, value: Row) {
    if (j >= (*query).span.x && j < (*query).span.y) {
        // Of the two factors, for what was summed and for the new row, one is 1: a single exponential is enough. A NaN
        // score fails the comparison and reaches weight and sum through `fresh`.
        let found = score((*query).row, key);
        let gain = found - (*query).best;
        let small = exp2(-abs(gain));
        let kept = select(1.0, small, gain > 0.0);
        let fresh = select(small, 1.0, gain > 0.0);
        (*query).best = select((*query).best, found, gain > 0.0);
        (*query).weight = (*query).weight * kept + fresh;
        (*query).sum.m0 = (*query).sum.m0 * kept + value.m0 * fresh;
        if (HEAD_DIM > 16u) {
            (*query).sum.m1 = (*query).sum.m1 * kept + value.m1 * fresh;
        }
        if (HEAD_DIM > 32u) {
            (*query).sum.m2 = (*query).sum.m2 * kept + value.m2 * fresh;
            (*query).sum.m3 = (*query).sum.m3 * kept + value.m3 * fresh;
        }
        if (HEAD_DIM > 64u) {
            (*query).sum.m4 = (*query).sum.m4 * kept + value.m4 * fresh;
            (*query).sum.m5 = (*query).sum.m5 * kept + value.m5 * fresh;
            (*query).sum.m6 = (*query).sum.m6 * kept + value.m6 * fresh;
            (*query).sum.m7 = (*query).sum.m7 * kept + value.m7 * fresh;
        }
    }
}

fn put_part(at: u32, part: mat4x4<f32>, factor: f32) {
    output[at] = part[0] * factor;
    output[at + 1u] = part[1] * factor;
    output[at + 2u] = part[2] * factor;
    output[at + 3u] = part[3] * factor;
}

fn close(token: u32, head: u32, query: Query) {
    if (token < params.tokens) {
        let factor = select(1.0 / query.weight, 0.0, query.span.x >= query.span.y);
        let at = (token * params.output_stride + head * HEAD_DIM) / 4u;
        put_part(at, query.sum.m0, factor);
        if (HEAD_DIM > 16u) {
            put_part(at + 4u, query.sum.m1, factor);
        }
        if (HEAD_DIM > 32u) {
            put_part(at + 8u, query.sum.m2, factor);
            put_part(at + 12u, query.sum.m3, factor);
        }
        if (HEAD_DIM > 64u) {
            put_part(at + 16u, query.sum.m4, factor);
            put_part(at + 20u, query.sum.m5, factor);
            put_part(at + 24u, query.sum.m6, factor);
            put_part(at + 28u, query.sum.m7, factor);
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
    // One loop opens the queries and another closes them, so that their loads and stores stand in the code once: on
    // lavapipe the number of those sets the compile time.
    var span = vec2<u32>();
    var query0: Query;
    var query1: Query;
    var query2: Query;
    var query3: Query;
    var query4: Query;
    var query5: Query;
    var query6: Query;
    var query7: Query;
    for (var i = 0u; i < QUERIES; i++) {
        let query = open(token + i, head);
        span = join(span, query.span);
        if (i == 0u) {
            query0 = query;
        }
        if (i == 1u) {
            query1 = query;
        }
        if (i == 2u) {
            query2 = query;
        }
        if (i == 3u) {
            query3 = query;
        }
        if (i == 4u) {
            query4 = query;
        }
        if (i == 5u) {
            query5 = query;
        }
        if (i == 6u) {
            query6 = query;
        }
        if (i == 7u) {
            query7 = query;
        }
    }
    for (var j = span.x; j < span.y; j++) {
        let key = k_row((j * params.k_stride + head * HEAD_DIM) / 4u);
        let value = v_row((j * params.v_stride + head * HEAD_DIM) / 4u);
        attend(&query0, j, key, value);
        if (QUERIES > 1u) {
            attend(&query1, j, key, value);
        }
        if (QUERIES > 2u) {
            attend(&query2, j, key, value);
            attend(&query3, j, key, value);
        }
        if (QUERIES > 4u) {
            attend(&query4, j, key, value);
            attend(&query5, j, key, value);
            attend(&query6, j, key, value);
            attend(&query7, j, key, value);
        }
    }
    for (var i = 0u; i < QUERIES; i++) {
        var query = query0;
        if (i == 1u) {
            query = query1;
        }
        if (i == 2u) {
            query = query2;
        }
        if (i == 3u) {
            query = query3;
        }
        if (i == 4u) {
            query = query4;
        }
        if (i == 5u) {
            query = query5;
        }
        if (i == 6u) {
            query = query6;
        }
        if (i == 7u) {
            query = query7;
        }
        close(token + i, head, query);
    }
}
