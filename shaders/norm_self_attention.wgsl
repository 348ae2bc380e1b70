//! norm_self_attention
//!
//! output[0][h][d] = sum_p w[p] * value_p[h][d],  w = softmax_p(scale * sum_d query[h][d] * key_p[h][d] + bias[h][min(n - p, reach)])
//! query, output[1], output[2] = sum_c x[c] * weight[c][..],  x[c] = row[c] / sqrt(mean_c row[c]^2 + epsilon) * norm[c]
//!
//! RMS norm, projections and self attention of a decoder's step for one row: rms_norm_row, matmul_flat and
//! cached_attention_row in one, for software adapters whose subgroups are of eight. The last says how cache, past and bias
//! lie, and which positions are seen. weight makes the columns of query, key and value behind each other and is packed as
//! for matmul_flat. output is [3][heads * HEAD_DIM]: what was mixed, then the key and the value of the new token, for the
//! cache. With BACK = 1 [heads][depth] follow, parts of the product of what was mixed (lib/back_product). 32 divides depth.
//!
//! A workgroup makes one head: its invocations make eight columns each of the three projections, or sixteen, and tell each
//! other; then each takes a stretch of the positions. Workgroups: heads. Legal: HEAD_DIM 64 or 128.
//!
//! uses: back_product, eight, grid, half, numeric, online_softmax, row_product
//! subgroups: 8
//! variants:
//!   h64         HEAD_DIM=64 WORD=u32 BITS=32
//!   h128        HEAD_DIM=128 WORD=u32 BITS=32
//!   h64_wide    HEAD_DIM=64 WORD=u64 BITS=64
//!   h128_wide   HEAD_DIM=128 WORD=u64 BITS=64

override HALF: u32 = 0u;
override BACK: u32 = 0u;
const THREADS: u32 = 8u;
const HEAD_DIM: u32 = 64u;
// Panels of a head's query, key or value that an invocation makes.
const EACH: u32 = HEAD_DIM / 64u;
const BITS: u32 = 32u;
const LOG2_E: f32 = 1.44269504088896341;
alias WORD = u32;

struct Params {
    heads: u32,
    head_dim: u32,
    depth: u32,
    slots: u32,
    length: u32,
    reach: u32,
    epsilon: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> cache: array<vec4<WORD>>;
@group(0) @binding(5) var<storage, read> past: array<u32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> output: array<vec4<f32>>;

// Query, key and value of the new token.
var<workgroup> tile_token: array<vec4<f32>, 3u * VECTORS>;

fn row_vector(i: u32) -> vec4<f32> {
    return row[i];
}

fn token_row(which: u32) -> Row {
    var vectors: Row;
    for (var i = 0u; i < PARTS; i++) {
        let at = which * VECTORS + i * 4u;
        vectors[i] = mat4x4<f32>(tile_token[at], tile_token[at + 1u], tile_token[at + 2u], tile_token[at + 3u]);
    }
    return vectors;
}

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
    let vectors_a_row = params.heads * VECTORS;
    for (var p = 0u; p < 3u * EACH; p++) {
        let which = p / EACH;
        let panel = p % EACH * THREADS + thread;
        let made = row_product(lane, (which * params.heads + head) * EACH * THREADS + panel);
        tile_token[which * VECTORS + panel * 2u] = made[0];
        tile_token[which * VECTORS + panel * 2u + 1u] = made[1];
        if (which > 0u && head < params.heads) {
            let to = which * vectors_a_row + head * VECTORS + panel * 2u;
            output[to] = made[0];
            output[to + 1u] = made[1];
        }
    }
    workgroupBarrier();
    // The scale, and the factor that turns exp into exp2, are laid into the query.
    var query = token_row(0u);
    for (var i = 0u; i < PARTS; i++) {
        query[i] *= params.scale * LOG2_E;
    }
    let bias_at = head * (params.reach + 1u);
    let n = min(past[0], params.length);
    var mixture = nothing_mixed();
    var key: Row;
    var value: Row;
    let stretch = own_stretch(thread, 0u, n);
    for (var p = stretch.x; p < stretch.y; p++) {
        let slot = min(past[1u + p], u32(i32(params.slots) - 1));
        let distance = min(u32(i32(n) - i32(p)), params.reach);
        // In eights.
        let first = (head * params.slots + slot) * (HEAD_DIM / 8u);
        for (var i = 0u; i < PARTS; i++) {
            let kp = (first + i * 2u) * STEP;
            let vp = kp + params.heads * params.slots * (HEAD_DIM / 8u) * STEP;
            let key0 = eight(cache[kp], cache[kp + LAST]);
            let key1 = eight(cache[kp + STEP], cache[kp + STEP + LAST]);
            key[i] = mat4x4<f32>(key0[0], key0[1], key1[0], key1[1]);
            let value0 = eight(cache[vp], cache[vp + LAST]);
            let value1 = eight(cache[vp + STEP], cache[vp + STEP + LAST]);
            value[i] = mat4x4<f32>(value0[0], value0[1], value1[0], value1[1]);
        }
        attend(&mixture, &query, bias[bias_at + distance] * LOG2_E, &key, &value);
    }
    if (thread == n % THREADS) {
        key = token_row(1u);
        value = token_row(2u);
        attend(&mixture, &query, bias[bias_at] * LOG2_E, &key, &value);
    }
    for (var first = 0u; first < VECTORS; first += JOINED) {
        let vectors = join(thread, first, mixture);
        for (var own = 0u; own < OWN; own++) {
            let vector = own * THREADS + thread;
            if (vector < JOINED && head < params.heads) {
                output[head * VECTORS + first + vector] = vectors[own];
                if (BACK == 1u) {
                    tile_mixed[first + vector] = vectors[own];
                }
            }
        }
    }
    if (BACK == 1u) {
        workgroupBarrier();
        let vectors_a_part = params.depth / 4u;
        // Behind the panels of query, key and value.
        let weight_at = 3u * EACH * THREADS * params.heads * (params.depth / 2u);
        put_part(lane, head, weight_at, 3u * vectors_a_row + head * vectors_a_part);
    }
}
