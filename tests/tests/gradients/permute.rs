//! Dimensions in another order.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn back_to_the_old_order() {
    let Some(gpu) = device::gpu() else { return };
    for dims in [&[0, 1, 2][..], &[2, 0, 1], &[1, 2, 0], &[2, 1, 0]] {
        let x = [seeded("x", &[2, 3, 5])];
        gradient::conforms(
            gpu,
            format!("{dims:?}"),
            &x,
            |g, v| g.permute(v[0], dims),
            |x| kiln_reference::permute(&x[0], dims),
        );
    }
}
