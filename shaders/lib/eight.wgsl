//! eight
//!
//! Eight neighbouring numbers of a buffer that is bound as array<vec4<WORD>>: one load where WORD is u64, two where it is
//! u32. Loads are what software adapters are slow at, and one of 32 bytes takes little longer there than one of 16.
//!
//! The kernel declares `alias WORD = u32;` and `const BITS: u32 = 32u;`, which rows for 64-bit integers replace by u64 and
//! 64. Of the buffer, eight numbers are the elements at * STEP and at * STEP + LAST.

const STEP: u32 = 64u / BITS;
const LAST: u32 = STEP / 2u;

// The elements of an even index lie in the low words, those of an odd one in the high words.
fn eight(first: vec4<WORD>, second: vec4<WORD>) -> mat2x4<f32> {
    let low = bitcast<vec4<f32>>(vec4<u32>(first));
    if (BITS == 64u) {
        let high = bitcast<vec4<f32>>(vec4<u32>(first >> vec4<u32>(BITS / 2u)));
        return mat2x4<f32>(low.x, high.x, low.y, high.y, low.z, high.z, low.w, high.w);
    }
    return mat2x4<f32>(low, bitcast<vec4<f32>>(vec4<u32>(second)));
}
