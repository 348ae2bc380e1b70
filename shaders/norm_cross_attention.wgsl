//! norm_cross_attention
//!
//! output[h][d] = sum_j w[j] * v[h][j][d],  w = softmax_j(scale * sum_d q[h][d] * k[h][j][d]),  j in span
//! q[h][d] = sum_c x[c] * weight[c][h][d],  x[c] = row[c] / sqrt(mean_c row[c]^2 + epsilon) * norm[c]
//!
//! RMS norm, query and attention of a decoder's step for one row: rms_norm_row, matmul_flat and attention_row in one, for
//! software adapters whose subgroups are of eight. weight is packed as for matmul_flat; k and v are
//! [heads][kv_tokens][HEAD_DIM]; span holds the first of the rows that are seen and the one behind the last. 32 divides
//! depth.
//!
//! A workgroup makes one head: its invocations make eight columns of the query each, or sixteen, and tell each other; then
//! each takes a stretch of the rows, as in attention_row. Workgroups: heads. Legal: HEAD_DIM 64 or 128. The product takes as
//! many workgroups by itself, so nothing idles for being in one kernel with the attention.
//! History: with the heads of a row side by side, [kv_tokens][heads * HEAD_DIM], an invocation reads its stretch in jumps:
//! 1.4 times as long for 256 rows on lavapipe.
//!
//! With BACK = 1 the output is [heads][depth], parts of the product of what was mixed (lib/back_product). With ADDENDS the
//! row comes in parts as well (lib/row_parts), and their sum, [depth], stands at the end of the output.
//!
//! uses: back_product, eight, grid, half, numeric, online_softmax, row_parts, row_product
//! subgroups: 8
//! variants:
//!   h64         HEAD_DIM=64 WORD=u32 BITS=32
//!   h128        HEAD_DIM=128 WORD=u32 BITS=32
//!   h64_wide    HEAD_DIM=64 WORD=u64 BITS=64
//!   h128_wide   HEAD_DIM=128 WORD=u64 BITS=64

override HALF: u32 = 0u;
override BACK: u32 = 0u;
override ADDENDS: u32 = 0u;
const THREADS: u32 = 8u;
const HEAD_DIM: u32 = 64u;
// Panels of a head that an invocation makes.
const EACH: u32 = HEAD_DIM / 64u;
const BITS: u32 = 32u;
const LOG2_E: f32 = 1.44269504088896341;
alias WORD = u32;

struct Params {
    heads: u32,
    head_dim: u32,
    depth: u32,
    kv_tokens: u32,
    epsilon: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> k: array<vec4<WORD>>;
@group(0) @binding(5) var<storage, read> v: array<vec4<WORD>>;
@group(0) @binding(6) var<storage, read> span: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read> parts: array<vec4<WORD>>;
@group(0) @binding(8) var<storage, read_write> output: array<vec4<f32>>;

var<workgroup> tile_query: array<vec4<f32>, VECTORS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let head = flat_workgroup(group, groups);
    if (head >= params.heads) {
        return;
    }
    let vectors_a_part = params.depth / 4u;
    add_parts(thread, head, params.heads * select(VECTORS, vectors_a_part, BACK == 1u));
    for (var p = 0u; p < EACH; p++) {
        let panel = p * THREADS + thread;
        // The scale, and the factor that turns exp into exp2, are laid into the query.
        let made = row_product(lane, head * EACH * THREADS + panel) * (params.scale * LOG2_E);
        tile_query[panel * 2u] = made[0];
        tile_query[panel * 2u + 1u] = made[1];
    }
    workgroupBarrier();
    var query: Row;
    for (var i = 0u; i < PARTS; i++) {
        let at = i * 4u;
        query[i] = mat4x4<f32>(tile_query[at], tile_query[at + 1u], tile_query[at + 2u], tile_query[at + 3u]);
    }
    var mixture = nothing_mixed();
    var key: Row;
    var value: Row;
    let seen = min(span[0], vec2<u32>(params.kv_tokens));
    let own = own_stretch(thread, seen.x, seen.y);
    for (var j = own.x; j < own.y; j++) {
        // In eights.
        let first = (head * params.kv_tokens + j) * (HEAD_DIM / 8u);
        for (var i = 0u; i < PARTS; i++) {
            let at = (first + i * 2u) * STEP;
            let key0 = eight(k[at], k[at + LAST]);
            let key1 = eight(k[at + STEP], k[at + STEP + LAST]);
            key[i] = mat4x4<f32>(key0[0], key0[1], key1[0], key1[1]);
            let value0 = eight(v[at], v[at + LAST]);
            let value1 = eight(v[at + STEP], v[at + STEP + LAST]);
            value[i] = mat4x4<f32>(value0[0], value0[1], value1[0], value1[1]);
        }
        attend(&mixture, &query, 0.0, &key, &value);
    }
    for (var first = 0u; first < VECTORS; first += JOINED) {
        let vectors = join(thread, first, mixture);
        for (var own = 0u; own < OWN; own++) {
            let vector = own * THREADS + thread;
            if (vector < JOINED && head < params.heads) {
                if (BACK == 1u) {
                    tile_mixed[first + vector] = vectors[own];
                } else {
                    output[head * VECTORS + first + vector] = vectors[own];
                }
            }
        }
    }
    if (BACK == 1u) {
        workgroupBarrier();
        // Behind the panels of the query.
        let weight_at = EACH * THREADS * params.heads * (params.depth / 2u);
        put_part(lane, head, weight_at, head * vectors_a_part);
    }
}
