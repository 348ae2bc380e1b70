//! words
//!
//! Numbers as the words of a buffer that is bound as vectors of WORD: of 64 bits a word has two neighbours, the first in its
//! low half. A software adapter's loads and stores take their time by words, so that longer ones move twice as much.
//!
//! The kernel declares `alias WORD = u32;` and `const BITS: u32 = 32u;`, which rows for 64-bit integers replace by u64 and
//! 64.

fn low(word: WORD) -> f32 {
    return bitcast<f32>(u32(word));
}

// Of words of 64 bits.
fn high(word: WORD) -> f32 {
    return bitcast<f32>(u32(word >> (BITS / 2u)));
}

// Four neighbours: what two words of 64 bits hold, or four of 32.
fn four(a: WORD, b: WORD, c: WORD, d: WORD) -> vec4<f32> {
    if (BITS == 64u) {
        return vec4<f32>(low(a), high(a), low(b), high(b));
    }
    return vec4<f32>(low(a), low(b), low(c), low(d));
}

// Two neighbours as a word; of 32 bits it has the first alone.
fn word(first: f32, second: f32) -> WORD {
    let half = WORD(bitcast<u32>(first));
    if (BITS == 64u) {
        return half | WORD(bitcast<u32>(second)) << (BITS / 2u);
    }
    return half;
}
