//! Dropout: what was kept passes the gradient on, scaled alike.

use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{device, gradient};

#[test]
fn with_the_same_mask() {
    let Some(gpu) = device::gpu() else { return };
    let random = [17, 4, 3, 0];
    for (shape, p, stream) in [(&[7][..], 0.5, 0), (&[3, 11], 0.25, 6), (&[2, 3, 5], 0.0, 1), (&[9], 1.0, 2)]
    {
        let operands = [seeded("x", shape), u32_tensor(&[4], random.to_vec())];
        gradient::conforms(
            gpu,
            format!("dropout {p} of {shape:?}"),
            &operands,
            |g, v| g.dropout(v[0], p, v[1], stream),
            |x| kiln_reference::dropout(&x[0], f64::from(p), random, stream),
        );
    }
}
