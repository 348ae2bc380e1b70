//! cached_attention_row
//!
//! output[r][h][d] = sum_p w[p] * value_p[h][d],  w = softmax_p(scale * sum_d query[h][d] * key_p[h][d] + bias[h][min(n - p, reach)])
//!
//! One step of decoding: row r's new token attends to the n = past[r][0] tokens behind it and to itself. qkv is
//! [rows][3 * heads * HEAD_DIM], the new tokens' queries, keys and values; cache is [2][heads][slots][HEAD_DIM], keys
//! and values of earlier ones. past is [rows][1 + length]: n, which is at most length, then for each position p < n the
//! slot that holds it. Position n is the new token. bias is [heads][reach + 1], output [rows][heads * HEAD_DIM].
//!
//! A workgroup makes one head of one row: each of its THREADS invocations takes a stretch of the positions, and what they
//! found is joined through workgroup memory. Workgroups: rows * heads. Legal: HEAD_DIM a multiple of 16.
//!
//! uses: eight, grid, numeric, online_softmax
//! variants:
//!   cpu_h16          HEAD_DIM=16 THREADS=8 WORD=u32 BITS=32
//!   cpu_h32          HEAD_DIM=32 THREADS=8 WORD=u32 BITS=32
//!   cpu_h64          HEAD_DIM=64 THREADS=8 WORD=u32 BITS=32
//!   cpu_h64_wide     HEAD_DIM=64 THREADS=8 WORD=u64 BITS=64
//!   cpu_h128         HEAD_DIM=128 THREADS=8 WORD=u32 BITS=32
//!   cpu_h128_wide    HEAD_DIM=128 THREADS=8 WORD=u64 BITS=64
//!   gpu_h16          HEAD_DIM=16 THREADS=64 WORD=u32 BITS=32
//!   gpu_h32          HEAD_DIM=32 THREADS=64 WORD=u32 BITS=32
//!   gpu_h64          HEAD_DIM=64 THREADS=64 WORD=u32 BITS=32
//!   gpu_h128         HEAD_DIM=128 THREADS=64 WORD=u32 BITS=32

const THREADS: u32 = 8u;
const HEAD_DIM: u32 = 64u;
const BITS: u32 = 32u;
const LOG2_E: f32 = 1.44269504088896341;
alias WORD = u32;

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
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> cache: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> past: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups);
    if (index >= params.rows * params.heads) {
        return;
    }
    let head = index % params.heads;
    let row = index / params.heads;
    // In vectors of four, as are the positions in qkv and output.
    let inner = params.heads * VECTORS;
    let query_at = row * 3u * inner + head * VECTORS;
    let past_at = row * (params.length + 1u);
    let bias_at = head * (params.reach + 1u);
    let n = min(past[past_at], params.length);

    // The scale, and the factor that turns exp into exp2, are laid into the query.
    var query: Row;
    for (var i = 0u; i < PARTS; i++) {
        let p = query_at + i * 4u;
        query[i] = mat4x4<f32>(qkv[p], qkv[p + 1u], qkv[p + 2u], qkv[p + 3u]) * (params.scale * LOG2_E);
    }
    var mixture = nothing_mixed();
    var key: Row;
    var value: Row;
    let stretch = own_stretch(thread, 0u, n);
    for (var p = stretch.x; p < stretch.y; p++) {
        let slot = min(past[past_at + 1u + p], u32(i32(params.slots) - 1));
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
        for (var i = 0u; i < PARTS; i++) {
            let kp = query_at + inner + i * 4u;
            let vp = kp + inner;
            key[i] = mat4x4<f32>(qkv[kp], qkv[kp + 1u], qkv[kp + 2u], qkv[kp + 3u]);
            value[i] = mat4x4<f32>(qkv[vp], qkv[vp + 1u], qkv[vp + 2u], qkv[vp + 3u]);
        }
        attend(&mixture, &query, bias[bias_at] * LOG2_E, &key, &value);
    }
    let out_at = row * inner + head * VECTORS;
    for (var first = 0u; first < VECTORS; first += JOINED) {
        let vectors = join(thread, first, mixture);
        for (var own = 0u; own < OWN; own++) {
            let vector = own * THREADS + thread;
            if (vector < JOINED && row < params.rows) {
                output[out_at + first + vector] = vectors[own];
            }
        }
    }
}
