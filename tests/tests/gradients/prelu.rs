//! The rectifier with a learned slope.

use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{data, device, gradient};

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, slopes) in [
        (&[][..], 1),
        (&[7], 1),
        (&[5, 3], 3),
        (&[5, 1], 1),
        (&[2, 3, 4], 3),
        (&[2, 3, 4], 1),
        (&[2, 5, 3, 2], 5),
    ] {
        // Away from the kink at 0.
        let x = data::uniform("x", shape.iter().product()).iter().map(|x| x + 0.01f32.copysign(*x)).collect();
        gradient::conforms(
            gpu,
            format!("{slopes} slopes for {shape:?}"),
            &[f32_tensor(shape, x), seeded("weight", &[slopes])],
            |g, v| g.prelu(v[0], v[1]),
            |x| kiln_reference::prelu(&x[0], &x[1]),
        );
    }
}
