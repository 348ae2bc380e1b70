//! random
//!
//! Random numbers by count: Philox4x32-10 (Salmon, Moraes, Dror and Shaw: Parallel Random Numbers: As Easy as 1, 2, 3,
//! 2011). Four words are a pure function of a counter of four words and a key of two, so any invocation makes any of
//! them, and all devices make the same.

// The upper 32 bits of the products of two pairs of words, from products of their halves: WGSL has no wider integer.
// None of the sums overflows.
fn upper_products(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let a_low = a & vec2<u32>(0xffffu);
    let b_low = b & vec2<u32>(0xffffu);
    let a_high = a >> vec2<u32>(16u);
    let b_high = b >> vec2<u32>(16u);
    let first = a_high * b_low + (a_low * b_low >> vec2<u32>(16u));
    let second = a_low * b_high + (first & vec2<u32>(0xffffu));
    return a_high * b_high + (first >> vec2<u32>(16u)) + (second >> vec2<u32>(16u));
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let factors = vec2<u32>(0xd2511f53u, 0xcd9e8d57u);
    var words = counter;
    var round_key = key;
    for (var round = 0u; round < 10u; round++) {
        let low = factors * words.xz;
        let high = upper_products(factors, words.xz);
        words = vec4<u32>(high.y ^ words.y ^ round_key.x, low.y, high.x ^ words.w ^ round_key.y, low.x);
        round_key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return words;
}
