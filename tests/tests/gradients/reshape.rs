//! The same elements under another shape.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn back_to_the_old_shape() {
    let Some(gpu) = device::gpu() else { return };
    for to in [&[12][..], &[4, 3], &[2, 3, 1, 2]] {
        let x = [seeded("x", &[3, 4])];
        gradient::conforms(
            gpu,
            format!("{to:?}"),
            &x,
            |g, v| g.reshape(v[0], to),
            |x| kiln_reference::reshape(&x[0], to),
        );
    }
}
