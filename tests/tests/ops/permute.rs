//! Dimensions in another order.

use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};

#[test]
fn orders() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dims) in [
        (&[5][..], &[0][..]),
        (&[63, 65], &[1, 0]),
        (&[2, 3, 5], &[0, 1, 2]),
        (&[2, 3, 5], &[2, 0, 1]),
        (&[3, 7, 2, 8], &[0, 2, 1, 3]),
        (&[1, 7, 1, 8], &[3, 2, 1, 0]),
        (&[2, 3, 2, 1, 2, 3, 2, 2], &[7, 1, 6, 0, 5, 3, 2, 4]),
    ] {
        let operands = [seeded("x", shape)];
        let expected = kiln_reference::permute(&array(&operands[0]), dims);
        let bounds = vec![0.0; expected.data.len()];
        conforms(
            gpu,
            format_args!("{shape:?} by {dims:?}"),
            &operands,
            |g, v| g.permute(v[0], dims),
            &expected,
            &bounds,
        );
    }
}
