//! Division by the norm, and by the epsilon where the norm is below it.

use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{device, gradient};

#[test]
fn rows() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[1][..], &[7], &[5, 3], &[2, 3, 4], &[2, 1, 37]] {
        // Alone, an element over its own size is a sign, whose derivative is 0.
        gradient::conforms(
            gpu,
            format!("{shape:?}"),
            &[seeded("x", shape)],
            |g, v| g.l2_normalize(v[0], 1e-12),
            |x| kiln_reference::l2_normalize(&x[0], 1e-12),
        );
    }
}

#[test]
fn below_the_epsilon() {
    let Some(gpu) = device::gpu() else { return };
    let x = f32_tensor(&[4, 2], vec![3.0, 4.0, 0.3, -0.4, 0.0, 0.0, -6.0, 8.0]);
    gradient::conforms(
        gpu,
        "epsilon 1",
        &[x],
        |g, v| g.l2_normalize(v[0], 1.0),
        |x| kiln_reference::l2_normalize(&x[0], 1.0),
    );
}
