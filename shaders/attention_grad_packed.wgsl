//! attention_grad_packed
//!
//! What attention_grad_any makes, where a head of the width HEAD_DIM stays in registers: the gradient of q (KIND 0), of k
//! (KIND 1) or of v (KIND 2) of an attention over packed sequences. The formulas, tensors and parameters are said there;
//! here rows are vectors of four.
//!
//! An invocation makes OWN neighbouring rows of one head and keeps them, their partners and their sums in registers; each
//! row that it meets, and its partner, are loaded once for all of them. A workgroup is THREADS invocations of
//! ceil(rows / OWN) * heads, heads fastest (NEAR_HEADS = 1, for software adapters) or rows fastest, so that neighbours
//! meet the same rows. Workgroups: ceil(ceil(rows / OWN) * heads / THREADS).
//! Legal: HEAD_DIM 16, 32, 64, 128; OWN 1, 2, 4, 8. The cpu variants need a lot of registers: not for GPUs.
//!
//! A row of q knows by its span what it meets. One of k and v looks at all spans from other to other_end, in a loop of
//! its own: this lavapipe goes through whatever a condition leaves out, and took five times as long with one. An
//! invocation makes at most 2 (other_end - other) + 20 of the 65,535 iterations that it allows.
//! The rows are variables and not an array, and loops of unknown length open and close them, as in attention_packed.
//! All three kinds and the sums take some six times as long as attention_packed, with 4.5 times its products.
//!
//! uses: grid, token_spans
//! variants:
//!   cpu_h16    HEAD_DIM=16 OWN=8 THREADS=8 NEAR_HEADS=1
//!   cpu_h32    HEAD_DIM=32 OWN=4 THREADS=8 NEAR_HEADS=1
//!   cpu_h64    HEAD_DIM=64 OWN=2 THREADS=8 NEAR_HEADS=1
//!   cpu_h128   HEAD_DIM=128 OWN=1 THREADS=8 NEAR_HEADS=1
//!   gpu_h16    HEAD_DIM=16 OWN=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h32    HEAD_DIM=32 OWN=1 THREADS=64 NEAR_HEADS=0
//!   gpu_h64    HEAD_DIM=64 OWN=1 THREADS=64 NEAR_HEADS=0

override THREADS: u32 = 8u;
override KIND: u32 = 0u;
const HEAD_DIM: u32 = 32u;
const OWN: u32 = 4u;
const NEAR_HEADS: u32 = 1u;
const PARTS: u32 = HEAD_DIM / 16u;
const LOG2_E: f32 = 1.44269504088896341;
// One head of one row, sixteen elements a matrix.
alias Row = array<mat4x4<f32>, PARTS>;

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
@group(0) @binding(1) var<storage, read> own: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> partner: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> other: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> other_partner: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> output: array<vec4<f32>>;

struct Own {
    row: Row,
    partner: Row,
    sum: Row,
    // The logarithm in base 2, and the dot product.
    sums: vec2<f32>,
    span: vec2<u32>,
    // Which row of the whole tensor it is.
    place: u32,
}

// The scale, and the factor that turns exp into exp2, are laid into the row.
fn open(row: u32, head: u32) -> Own {
    var made: Own;
    let at = (row * params.heads + head) * (HEAD_DIM / 4u);
    let factor = params.scale * LOG2_E;
    for (var i = 0u; i < PARTS; i++) {
        let p = at + i * 4u;
        made.row[i] = mat4x4<f32>(own[p], own[p + 1u], own[p + 2u], own[p + 3u]) * factor;
    }
    if (KIND < 2u) {
        for (var i = 0u; i < PARTS; i++) {
            let p = at + i * 4u;
            made.partner[i] = mat4x4<f32>(partner[p], partner[p + 1u], partner[p + 2u], partner[p + 3u]);
        }
    }
    if (params.other > 0u) {
        for (var i = 0u; i < PARTS; i++) {
            let p = at + i * 4u;
            made.sum[i] = mat4x4<f32>(output[p], output[p + 1u], output[p + 2u], output[p + 3u]);
        }
    }
    made.place = params.first_own + row;
    if (KIND == 0u) {
        let sum = sums[row * params.heads + head];
        made.sums = vec2<f32>(sum.x * LOG2_E, sum.y);
        made.span = spans[row];
    }
    return made;
}

// What the row j, met with its partner, adds to an own row. Both products stand here in full: in a function of two rows
// these would stay in memory, and a HEAD_DIM of 128 takes ten seconds to compile instead of one.
fn meet(mine: ptr<function, Own>, j: u32, met: Row, met_partner: Row, span: vec2<u32>, met_sums: vec2<f32>) {
    let row_sums = select(met_sums, (*mine).sums, KIND == 0u);
    // Of the two, one is a token's span, the other a row of k and v.
    let token = select(span, (*mine).span, KIND == 0u);
    let place = select((*mine).place, j, KIND == 0u);
    if (place >= token.x && place < token.y) {
        var products = vec4<f32>();
        for (var i = 0u; i < PARTS; i++) {
            let left = (*mine).row[i];
            let right = met[i];
            products += ((left[0] * right[0] + left[1] * right[1]) + left[2] * right[2]) + left[3] * right[3];
        }
        var factor = exp2((products.x + products.y) + (products.z + products.w) - row_sums.x);
        if (KIND < 2u) {
            products = vec4<f32>();
            for (var i = 0u; i < PARTS; i++) {
                let left = (*mine).partner[i];
                let right = met_partner[i];
                products += ((left[0] * right[0] + left[1] * right[1]) + left[2] * right[2]) + left[3] * right[3];
            }
            factor *= params.scale * ((products.x + products.y) + (products.z + products.w) - row_sums.y);
            for (var i = 0u; i < PARTS; i++) {
                (*mine).sum[i] = (*mine).sum[i] + met[i] * factor;
            }
        } else {
            for (var i = 0u; i < PARTS; i++) {
                (*mine).sum[i] = (*mine).sum[i] + met_partner[i] * factor;
            }
        }
    }
}

fn close(row: u32, head: u32, sum: Row) {
    let at = (row * params.heads + head) * (HEAD_DIM / 4u);
    if (row < params.rows) {
        for (var i = 0u; i < PARTS; i++) {
            let part = sum[i];
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
    let tiles = (params.rows + (OWN - 1u)) / OWN;
    if (index >= tiles * params.heads) {
        return;
    }
    let head = select(index / tiles, index % params.heads, NEAR_HEADS == 1u);
    let row = select(index % tiles, index / params.heads, NEAR_HEADS == 1u) * OWN;
    let row_end = min(row + OWN, params.rows);
    var own0: Own;
    var own1: Own;
    var own2: Own;
    var own3: Own;
    var own4: Own;
    var own5: Own;
    var own6: Own;
    var own7: Own;
    var start = params.other;
    var end = params.other_end;
    var reach = vec2<u32>();
    for (var r = row; r < row_end; r++) {
        let i = r % OWN;
        let opened = open(r, head);
        reach = unite(reach, opened.span);
        if (i == 0u) {
            own0 = opened;
        }
        if (OWN > 1u && i == 1u) {
            own1 = opened;
        }
        if (OWN > 2u && i == 2u) {
            own2 = opened;
        }
        if (OWN > 3u && i == 3u) {
            own3 = opened;
        }
        if (OWN > 4u && i == 4u) {
            own4 = opened;
        }
        if (OWN > 5u && i == 5u) {
            own5 = opened;
        }
        if (OWN > 6u && i == 6u) {
            own6 = opened;
        }
        if (OWN > 7u && i == 7u) {
            own7 = opened;
        }
    }
    if (KIND == 0u) {
        // What no row of the tile attends to is not looked at.
        start = max(start, reach.x);
        end = min(end, reach.y);
    }
    let last_other = u32(i32(params.other_end) - 1);
    let first_own = params.first_own + row;
    let last_own = params.first_own + row_end;
    for (var j = start; j < end; j++) {
        var span = vec2<u32>();
        var met_sums = vec2<f32>();
        if (KIND > 0u) {
            // On to the next token that attends to a row of the tile.
            span = spans[j];
            while (j < end && (span.x >= last_own || span.y <= first_own)) {
                j++;
                span = spans[min(j, last_other)];
            }
            if (j >= end) {
                break;
            }
            let sum = sums[j * params.heads + head];
            met_sums = vec2<f32>(sum.x * LOG2_E, sum.y);
        }
        let at = (j * params.heads + head) * (HEAD_DIM / 4u);
        var met: Row;
        var met_partner: Row;
        for (var i = 0u; i < PARTS; i++) {
            let p = at + i * 4u;
            met[i] = mat4x4<f32>(other[p], other[p + 1u], other[p + 2u], other[p + 3u]);
        }
        for (var i = 0u; i < PARTS; i++) {
            let p = at + i * 4u;
            met_partner[i] = mat4x4<f32>(
                other_partner[p],
                other_partner[p + 1u],
                other_partner[p + 2u],
                other_partner[p + 3u],
            );
        }
        meet(&own0, j, met, met_partner, span, met_sums);
        if (OWN > 1u) {
            meet(&own1, j, met, met_partner, span, met_sums);
        }
        if (OWN > 2u) {
            meet(&own2, j, met, met_partner, span, met_sums);
            meet(&own3, j, met, met_partner, span, met_sums);
        }
        if (OWN > 4u) {
            meet(&own4, j, met, met_partner, span, met_sums);
            meet(&own5, j, met, met_partner, span, met_sums);
            meet(&own6, j, met, met_partner, span, met_sums);
            meet(&own7, j, met, met_partner, span, met_sums);
        }
    }
    for (var r = row; r < row_end; r++) {
        let i = r % OWN;
        var sum = own0.sum;
        if (OWN > 1u && i == 1u) {
            sum = own1.sum;
        }
        if (OWN > 2u && i == 2u) {
            sum = own2.sum;
        }
        if (OWN > 3u && i == 3u) {
            sum = own3.sum;
        }
        if (OWN > 4u && i == 4u) {
            sum = own4.sum;
        }
        if (OWN > 5u && i == 5u) {
            sum = own5.sum;
        }
        if (OWN > 6u && i == 6u) {
            sum = own6.sum;
        }
        if (OWN > 7u && i == 7u) {
            sum = own7.sum;
        }
        close(r, head, sum);
    }
}
