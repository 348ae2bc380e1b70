//! Division by the root mean square.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[7][..], &[5, 3], &[2, 3, 8], &[2, 2, 1, 33]] {
        let width = *shape.last().expect("a row has columns");
        for epsilon in [1e-6f32, 0.5] {
            let operands = [seeded("x", shape), seeded("weight", &[width])];
            gradient::conforms(
                gpu,
                format!("{shape:?}, epsilon {epsilon}"),
                &operands,
                |g, v| g.rms_norm(v[0], v[1], epsilon),
                |x| kiln_reference::rms_norm(&x[0], &x[1], f64::from(epsilon)),
            );
        }
    }
}
