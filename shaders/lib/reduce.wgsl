//! reduce
//!
//! Joins over the LANES invocations that share a row, in a fixed order. The kernel declares THREADS and LANES;
//! where LANES is 1 nothing is shared and the driver drops the barriers.

var<workgroup> tile_partial: array<f32, THREADS>;

fn row_sum(thread: u32, value: f32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    tile_partial[thread] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (thread % LANES < half) {
            tile_partial[thread] += tile_partial[thread + half];
        }
        workgroupBarrier();
    }
    let total = tile_partial[thread / LANES * LANES];
    workgroupBarrier();
    return total;
}

fn row_max(thread: u32, value: f32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    tile_partial[thread] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (thread % LANES < half) {
            tile_partial[thread] = max_nan(tile_partial[thread], tile_partial[thread + half]);
        }
        workgroupBarrier();
    }
    let best = tile_partial[thread / LANES * LANES];
    workgroupBarrier();
    return best;
}
