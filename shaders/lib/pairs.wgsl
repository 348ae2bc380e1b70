//! pairs
//!
//! Eight numbers of a buffer that is bound as array<vec4<WORD>>, for kernels that treat all numbers alike and so need not
//! know their order: with 64-bit words one vec4, whose low and high halves are a number each, else two. The kernel declares
//! `alias WORD = u32;` and `const BITS: u32 = 32u;`, which rows for 64-bit integers replace by u64 and 64; eight numbers
//! are STEP vectors. Software adapters load and store by a loop over lanes and components, so half as many are half the
//! work.

const STEP: u32 = 64u / BITS;

fn numbers(first: vec4<WORD>, second: vec4<WORD>) -> mat2x4<f32> {
    let low = bitcast<vec4<f32>>(vec4<u32>(first));
    if (BITS == 64u) {
        return mat2x4<f32>(low, bitcast<vec4<f32>>(vec4<u32>(first >> vec4<u32>(BITS / 2u))));
    }
    return mat2x4<f32>(low, bitcast<vec4<f32>>(vec4<u32>(second)));
}

// The first vector of eight numbers; with 64-bit words the only one.
fn first_words(eight: mat2x4<f32>) -> vec4<WORD> {
    let low = vec4<WORD>(bitcast<vec4<u32>>(eight[0]));
    if (BITS == 64u) {
        return low | (vec4<WORD>(bitcast<vec4<u32>>(eight[1])) << vec4<u32>(BITS / 2u));
    }
    return low;
}

// The second one.
fn second_words(eight: mat2x4<f32>) -> vec4<WORD> {
    return vec4<WORD>(bitcast<vec4<u32>>(eight[1]));
}
