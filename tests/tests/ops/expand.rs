//! A tensor repeated along dimensions.

use kiln_reference::expand;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};

#[test]
fn along_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for (from, to) in [
        (&[][..], &[3, 5][..]),
        (&[67], &[67]),
        (&[67], &[3, 67]),
        (&[31, 1], &[31, 65]),
        (&[2, 1, 3], &[4, 2, 7, 3]),
        (&[1, 2, 1, 2, 1, 3], &[2, 2, 2, 2, 2, 3]),
    ] {
        let x = [seeded("x", from)];
        let expected = expand(&array(&x[0]), to);
        let bounds = vec![0.0; expected.data.len()];
        conforms(gpu, format!("{from:?} to {to:?}"), &x, |g, v| g.expand(v[0], to), &expected, &bounds);
    }
}
