//! numeric
//!
//! NaN-keeping comparisons, and the start value of a running maximum. Comparing a value with itself is folded to
//! "equal" by some drivers, so NaN is recognised by its bits.

const LOWEST: f32 = -3.40282347e+38;

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn max_nan(a: f32, b: f32) -> f32 {
    return select(select(a, b, b > a || is_nan(b)), a, is_nan(a));
}

fn min_nan(a: f32, b: f32) -> f32 {
    return select(select(a, b, b < a || is_nan(b)), a, is_nan(a));
}

// Whether x takes the place of a maximum before it, as pooling looks for them: the first of equals stays, and so does no
// number before a NaN, of which the last one wins.
fn replaces(x: f32, best: f32) -> bool {
    return is_nan(x) || (x > best && !is_nan(best));
}
