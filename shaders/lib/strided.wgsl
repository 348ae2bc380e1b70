//! strided
//!
//! Up to eight extents or strides of a view, held in two vectors, the fastest dimension first.
//! The host merges neighbouring dimensions before it fills them in, so few are left in practice.

fn axis(low: vec4<u32>, high: vec4<u32>, index: u32) -> u32 {
    return select(low[index & 3u], high[index & 3u], index >= 4u);
}
