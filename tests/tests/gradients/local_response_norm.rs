//! Local response normalisation, by windows that one kernel takes and by such as are pooled.

use kiln_engine::Scalar;
use kiln_engine::ops::LocalResponseNorm;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn windows_of_channels() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, size) in [
        (&[2, 7, 5][..], 1),
        (&[2, 7, 5], 2),
        (&[2, 7, 3, 2], 3),
        (&[1, 9, 4], 4),
        (&[1, 19, 3], 5),
        (&[1, 3, 4], 9),
        (&[1, 13, 3], 10),
        (&[2, 5, 3], 11),
        (&[1, 4, 2, 2], 1000),
        (&[2, 1, 6], 12),
    ] {
        for (alpha, beta, k) in [(1.5, 0.75, 1.0), (0.5, -0.5, 2.0)] {
            let wide = kiln_reference::LocalResponseNorm {
                size,
                alpha: f64::from(alpha),
                beta: f64::from(beta),
                k: f64::from(k),
            };
            let [alpha, beta, k] = [alpha, beta, k].map(Scalar::new);
            let options = LocalResponseNorm { size, alpha, beta, k };
            gradient::conforms(
                gpu,
                format!("{shape:?}, {options:?}"),
                &[seeded("x", shape)],
                |g, v| g.local_response_norm(v[0], options),
                |x| kiln_reference::local_response_norm(&x[0], &wide),
            );
        }
    }
}
