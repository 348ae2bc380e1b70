//! A repeated tensor: its gradient is the sum over the copies.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn along_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for (from, to) in [
        (&[][..], &[3, 5][..]),
        (&[5], &[3, 5]),
        (&[3, 1], &[3, 5]),
        (&[2, 1, 3], &[4, 2, 7, 3]),
        (&[3, 5], &[3, 5]),
    ] {
        gradient::conforms(
            gpu,
            format!("{from:?} to {to:?}"),
            &[seeded("x", from)],
            |g, v| g.expand(v[0], to),
            |x| kiln_reference::expand(&x[0], to),
        );
    }
}
