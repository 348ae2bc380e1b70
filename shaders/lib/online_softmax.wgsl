//! online_softmax
//!
//! Rows mixed by the softmax of scores that come one after the other, in base 2 (Milakov and Gimelshein, Online
//! normalizer calculation for softmax, 2018), by all invocations of a workgroup, each of which has met some of them. The
//! kernel declares HEAD_DIM, a multiple of 16, and THREADS, as a const and at least 8, and uses numeric.

// One head of one row: vectors of four, four to a matrix, so that the loops over it are short and Mesa unrolls them.
const VECTORS: u32 = HEAD_DIM / 4u;
const PARTS: u32 = HEAD_DIM / 16u;
// How many vectors of the sums are joined at once: as many as fit into 8 KiB. Each invocation makes OWN of them.
const JOINED: u32 = min(VECTORS, 512u / THREADS);
const OWN: u32 = (JOINED + (THREADS - 1u)) / THREADS;
alias Row = array<mat4x4<f32>, PARTS>;

// The rows so far: the largest score, the sum of exp2(score - best), and the rows' sum by these weights.
struct Mixture {
    best: f32,
    weight: f32,
    sum: Row,
}

// What each invocation brings: best and weight, and vectors of its sum.
var<workgroup> tile_scores: array<vec2<f32>, THREADS>;
var<workgroup> tile_vectors: array<vec4<f32>, THREADS * JOINED>;

fn nothing_mixed() -> Mixture {
    var mixture: Mixture;
    mixture.best = LOWEST;
    return mixture;
}

// The part of start..end that an invocation takes. Neighbouring rows to one, rather than every THREADS-th: lavapipe is a
// tenth faster with them, a sixth where they come from beyond the caches.
fn own_stretch(thread: u32, start: u32, end: u32) -> vec2<u32> {
    let length = u32(max(i32(end) - i32(start), 0));
    let each = (length + (THREADS - 1u)) / THREADS;
    return vec2<u32>(min(start + thread * each, end), min(start + (thread + 1u) * each, end));
}

// Mixes a value in, by the score of its key for a query into which the factors of the scores are laid. All rows are
// pointed at: passed by value, one of 128 numbers stays in memory, is copied there, and takes ten times as long to compile.
fn attend(
    mixture: ptr<function, Mixture>,
    query: ptr<function, Row>,
    bias: f32,
    key: ptr<function, Row>,
    value: ptr<function, Row>,
) {
    var products = vec4<f32>();
    for (var i = 0u; i < PARTS; i++) {
        let left = (*query)[i];
        let right = (*key)[i];
        products += ((left[0] * right[0] + left[1] * right[1]) + left[2] * right[2]) + left[3] * right[3];
    }
    let score = (products.x + products.y) + (products.z + products.w) + bias;
    // Of the two factors, for what was summed and for the new row, one is 1: a single exponential is enough. A NaN score
    // fails the comparison and reaches weight and sum through `fresh`.
    let gain = score - (*mixture).best;
    let small = exp2(-abs(gain));
    let kept = select(1.0, small, gain > 0.0);
    let fresh = select(small, 1.0, gain > 0.0);
    (*mixture).best = select((*mixture).best, score, gain > 0.0);
    (*mixture).weight = (*mixture).weight * kept + fresh;
    for (var i = 0u; i < PARTS; i++) {
        (*mixture).sum[i] = (*mixture).sum[i] * kept + (*value)[i] * fresh;
    }
}

// The vectors from `first` on, JOINED of them, of the mixture of all; `first` goes over the multiples of JOINED below
// VECTORS. Invocation `thread` gets first + thread, then those THREADS further on. Zeros where nobody has met a row.
fn join(thread: u32, first: u32, mixture: Mixture) -> array<vec4<f32>, OWN> {
    tile_scores[thread] = vec2<f32>(mixture.best, mixture.weight);
    for (var i = 0u; i < JOINED / 4u; i++) {
        let part = mixture.sum[first / 4u + i];
        let at = 4u * i * THREADS + thread;
        tile_vectors[at] = part[0];
        tile_vectors[at + THREADS] = part[1];
        tile_vectors[at + 2u * THREADS] = part[2];
        tile_vectors[at + 3u * THREADS] = part[3];
    }
    workgroupBarrier();
    var top = LOWEST;
    for (var i = 0u; i < THREADS; i++) {
        let best = tile_scores[i].x;
        top = select(top, best, best > top);
    }
    var weight = 0.0;
    var vectors: array<vec4<f32>, OWN>;
    for (var i = 0u; i < THREADS; i++) {
        let factor = exp2(tile_scores[i].x - top);
        weight += tile_scores[i].y * factor;
        for (var own = 0u; own < OWN; own++) {
            vectors[own] += tile_vectors[min(own * THREADS + thread, JOINED - 1u) * THREADS + i] * factor;
        }
    }
    for (var own = 0u; own < OWN; own++) {
        vectors[own] *= select(1.0 / weight, 0.0, weight == 0.0);
    }
    workgroupBarrier();
    return vectors;
}
