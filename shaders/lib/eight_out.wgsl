//! eight_out
//!
//! Eight numbers as the words that a buffer of array<vec4<WORD>> takes, the counterpart of eight: one store where WORD
//! is u64, two where it is u32. Where a store is a loop over lanes and components, as on software adapters, words of 64
//! bits halve it. The kernel uses eight as well.

fn first_words(x: mat2x4<f32>) -> vec4<WORD> {
    if (BITS == 64u) {
        let low = bitcast<vec4<u32>>(vec4<f32>(x[0].x, x[0].z, x[1].x, x[1].z));
        let high = bitcast<vec4<u32>>(vec4<f32>(x[0].y, x[0].w, x[1].y, x[1].w));
        return vec4<WORD>(low) | (vec4<WORD>(high) << vec4<u32>(BITS / 2u));
    }
    return vec4<WORD>(bitcast<vec4<u32>>(x[0]));
}

// Where one store takes all eight nothing is left for these.
fn second_words(x: mat2x4<f32>) -> vec4<WORD> {
    return vec4<WORD>(bitcast<vec4<u32>>(x[1]));
}
