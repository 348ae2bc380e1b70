//! half
//!
//! Half-precision numbers, packed two to a word with the first in the low bits, as weights that take half the memory.
//!
//! Reading is `unpack2x16float`: exact, but a driver may take numbers below the least normal one, 2^-14, for zero. Writing
//! is done in integers instead of `pack2x16float`, which leaves the rounding to the driver and what lies beyond 65504 to
//! chance.

// Four numbers of two words.
fn four_halves(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// The bits of the half nearest to a number of these bits; the one with an even last bit of two. What rounds beyond 65504
// becomes infinite, and NaN stays NaN.
fn half_of(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        return sign | 0x7e00u;
    }
    if (size >= 0x477ff000u) {
        return sign | 0x7c00u;
    }
    if (size >= 0x38800000u) {
        // The exponent's bias falls from 127 to 15: 112 less, added with a carry that is lost.
        return sign | ((size + 0xc8000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
    }
    // Multiples of 2^-24. From half of that on the shift is 24 at most.
    let digits = i32((size & 0x7fffffu) | 0x800000u);
    let shift = u32(min(126 - i32(size >> 23u), 25));
    let half = 1 << u32(i32(shift) - 1);
    return sign | u32((digits + half - 1 + ((digits >> shift) & 1)) >> shift);
}

// A word of two halves.
fn pack_halves(low: u32, high: u32) -> u32 {
    return half_of(low) | (half_of(high) << 16u);
}
