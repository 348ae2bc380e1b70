//! Layer normalisation over one dimension and several.

use kiln_reference::Array;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dims) in
        [(&[7][..], 1), (&[5, 3], 1), (&[2, 3, 8], 1), (&[2, 2, 1, 33], 1), (&[2, 3, 5], 2), (&[3, 5], 2)]
    {
        let normalized = &shape[shape.len() - dims..];
        let operands = [seeded("x", shape), seeded("weight", normalized), seeded("bias", normalized)];
        // The oracle knows the last dimension alone.
        let width = normalized.iter().product();
        let flat = |x: &Array| Array::new(&[x.data.len() / width, width], x.data.clone());
        let row = |x: &Array| Array::new(&[width], x.data.clone());
        gradient::conforms(
            gpu,
            format!("{dims} dimensions of {shape:?}"),
            &operands,
            |g, v| g.layer_norm(v[0], v[1], v[2], 1e-3),
            |x| {
                let made =
                    kiln_reference::layer_norm(&flat(&x[0]), &row(&x[1]), &row(&x[2]), f64::from(1e-3f32));
                Array::new(shape, made.data)
            },
        );
    }
}
