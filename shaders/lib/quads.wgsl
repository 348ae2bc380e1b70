//! quads
//!
//! Slices of two matrices in workgroup memory, for products in tiles: of each k vectors of four rows, or columns, which stand
//! a quarter of the tile apart.

// The place of a vector among those of its k, of which there are `quads`: vectors change places with their neighbours, by
// twos for every fourth k, so that blocks of 4 x 4 that are written together do not meet in the same banks.
fn place(quad: u32, k: u32, quads: u32) -> u32 {
    return quad ^ (k / 4u * 2u % min(quads, 8u));
}

// The products of four rows, by columns of the result, and four columns.
fn outer(left: vec4<f32>, right: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(left.x * right, left.y * right, left.z * right, left.w * right);
}
