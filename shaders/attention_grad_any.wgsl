//! attention_grad_any
//!
//! The gradients of attention over packed sequences, for any head_dim. With w(t, j) = exp(score(t, j) - sums[t][h].x),
//! the weight of row j for token t, and pull(t, j) = w(t, j) * (sum_d grad[t][h][d] * v[j][h][d] - sums[t][h].y):
//!
//! KIND 0, of q: output[t][h] = scale * sum_j pull(t, j) * k[j][h],  j in spans[t]
//! KIND 1, of k: output[j][h] = scale * sum_t pull(t, j) * q[t][h],  t with j in spans[t]
//! KIND 2, of v: output[j][h] = sum_t w(t, j) * grad[t][h],          t with j in spans[t]
//!
//! sums are attention_grad_sums'; score, rows, heads and spans are those of attention_packed, rows one after the other.
//! All kinds are one loop: an own row of the tensor asked for and its partner (q and grad; k and v) meet the other rows
//! and theirs (k and v; q and grad). first_own is the row of the whole tensor that own rows begin with; the rows other
//! to other_end are met, and added to what is there unless other is 0: a long loop may be cut in several dispatches.
//!
//! An invocation makes one own row of one head, a workgroup THREADS neighbouring rows. It adds up in its part of output,
//! four other rows at a time (attention_any says why), and so loads about five numbers for each product of KIND 0 and 1.
//! Workgroups: ceil(rows * heads / THREADS).
//!
//! uses: grid
//! variants:
//!   base   THREADS=8 COLUMNS=8

override THREADS: u32 = 8u;
override KIND: u32 = 0u;
// Loops of constant length are unrolled, and so do not count towards the 65,535 iterations that llvmpipe allows an
// invocation.
const COLUMNS: u32 = 8u;

struct Params {
    rows: u32,
    heads: u32,
    head_dim: u32,
    first_own: u32,
    other: u32,
    other_end: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> own: array<f32>;
@group(0) @binding(2) var<storage, read> partner: array<f32>;
@group(0) @binding(3) var<storage, read> other: array<f32>;
@group(0) @binding(4) var<storage, read> other_partner: array<f32>;
@group(0) @binding(5) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> output: array<f32>;

fn others(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(other[at.x], other[at.y], other[at.z], other[at.w]);
}

fn other_partners(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(other_partner[at.x], other_partner[at.y], other_partner[at.z], other_partner[at.w]);
}

// Whether a row of k and v is among a token's.
fn holds(span: vec2<u32>, j: u32) -> bool {
    return j >= span.x && j < span.y;
}

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
    let width = params.heads * params.head_dim;
    let own_at = row * width + head * params.head_dim;
    // Depends on the invocation, where params alone would do: see matmul_register.
    let dims = select(0u, params.head_dim, row < params.rows);
    if (params.other == 0u) {
        for (var d = 0u; d < dims; d++) {
            output[own_at + d] = 0.0;
        }
    }

    var start = params.other;
    var end = params.other_end;
    var own_sums = vec2<f32>();
    if (KIND == 0u) {
        let span = spans[row];
        start = max(start, span.x);
        end = min(end, span.y);
        own_sums = sums[row * params.heads + head];
    }
    for (var j = start; j < end; j += 4u) {
        // Past the end the last row stands in, with weight 0.
        let last = u32(i32(end) - 1);
        let rows = vec4<u32>(j, min(j + 1u, last), min(j + 2u, last), min(j + 3u, last));
        var inside = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
        var logs = vec4<f32>(own_sums.x);
        var dots = vec4<f32>(own_sums.y);
        if (KIND > 0u) {
            for (var i = 0u; i < 4u; i++) {
                inside[i] = inside[i] && holds(spans[rows[i]], params.first_own + row);
                let sum = sums[rows[i] * params.heads + head];
                logs[i] = sum.x;
                dots[i] = sum.y;
            }
        }
        if (any(inside)) {
            let at = rows * width + head * params.head_dim;
            var scores = vec4<f32>();
            var products = vec4<f32>();
            for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
                for (var i = 0u; i < COLUMNS; i++) {
                    let d = first_d + i;
                    if (d < dims) {
                        scores += own[own_at + d] * others(at + d);
                        if (KIND < 2u) {
                            products += partner[own_at + d] * other_partners(at + d);
                        }
                    }
                }
            }
            var weights = exp(params.scale * scores - logs);
            if (KIND < 2u) {
                weights *= params.scale * (products - dots);
            }
            // What is outside may be NaN, as may the rows that it stands for.
            weights = select(vec4<f32>(), weights, inside);
            for (var first_d = 0u; first_d < dims; first_d += COLUMNS) {
                for (var i = 0u; i < COLUMNS; i++) {
                    let d = first_d + i;
                    if (d < dims) {
                        var values: vec4<f32>;
                        if (KIND == 2u) {
                            values = other_partners(at + d);
                        } else {
                            values = others(at + d);
                        }
                        output[own_at + d] += dot(weights, select(vec4<f32>(), values, inside));
                    }
                }
            }
        }
    }
}
