//! The same elements under another shape.

use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};

#[test]
fn shapes() {
    let Some(gpu) = device::gpu() else { return };
    for (from, to) in [
        (&[12][..], &[3, 4][..]),
        (&[3, 4], &[2, 6]),
        (&[2, 3, 5], &[30]),
        (&[1, 7, 1], &[7]),
        (&[1], &[]),
        (&[2, 2, 2, 2, 2, 2, 2], &[4, 8, 4]),
    ] {
        let operands = [seeded("x", from)];
        let expected = kiln_reference::reshape(&array(&operands[0]), to);
        let bounds = vec![0.0; expected.data.len()];
        let what = format!("{from:?} to {to:?}");
        conforms(gpu, what, &operands, |g, v| g.reshape(v[0], to), &expected, &bounds);
        // Between two kernels, where it is no more than a name.
        let expected = expected.map(|x| -x);
        let what = format!("{from:?} to {to:?}, negated");
        conforms(
            gpu,
            what,
            &operands,
            |g, v| {
                let negated = g.neg(v[0])?;
                g.reshape(negated, to)
            },
            &expected,
            &bounds,
        );
    }
}
