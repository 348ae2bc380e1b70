//! best
//!
//! The largest of some numbers and where it stands: the first of equals; NaN wins, as in PyTorch. The kernel declares
//! THREADS and LANES, and uses numeric and reduce.

// The index of who has seen nothing yet, so that -inf can win.
const EMPTY: u32 = 0xffffffffu;

struct Best {
    value: f32,
    index: u32,
}

var<workgroup> tile_index: array<u32, THREADS>;

// Whether candidate b takes the place of a.
fn is_better(b: Best, a: Best) -> bool {
    if (b.index == EMPTY) {
        return false;
    }
    if (a.index == EMPTY) {
        return true;
    }
    if (is_nan(a.value) || is_nan(b.value)) {
        return is_nan(b.value) && (!is_nan(a.value) || b.index < a.index);
    }
    return b.value > a.value || (b.value == a.value && b.index < a.index);
}

// The best of what the invocations that share a row bring, for the first of them.
fn row_best(thread: u32, own: Best) -> Best {
    if (LANES == 1u) {
        return own;
    }
    tile_partial[thread] = own.value;
    tile_index[thread] = own.index;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (thread % LANES < half) {
            let other = Best(tile_partial[thread + half], tile_index[thread + half]);
            if (is_better(other, Best(tile_partial[thread], tile_index[thread]))) {
                tile_partial[thread] = other.value;
                tile_index[thread] = other.index;
            }
        }
        workgroupBarrier();
    }
    return Best(tile_partial[thread], tile_index[thread]);
}
