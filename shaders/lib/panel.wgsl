//! panel
//!
//! Four neighbouring k of a panel of eight rows or columns, [k][8], and their products with four numbers of the other side.

struct Panel {
    k0: mat2x4<f32>,
    k1: mat2x4<f32>,
    k2: mat2x4<f32>,
    k3: mat2x4<f32>,
}

// What four numbers of the other side make of them.
fn add_products(sum: mat2x4<f32>, other: vec4<f32>, panel: Panel) -> mat2x4<f32> {
    return sum + panel.k0 * other.x + panel.k1 * other.y + panel.k2 * other.z + panel.k3 * other.w;
}
