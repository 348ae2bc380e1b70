//! Padding with a number, the mirrored input, and its ends.

use kiln_engine::ops::PadMode;
use kiln_reference::Pad;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn every_mode_along_any_dimensions() {
    let Some(gpu) = device::gpu() else { return };
    for (mode, oracle) in [
        (PadMode::Constant(1.5), Pad::Constant(1.5)),
        (PadMode::Reflect, Pad::Reflect),
        (PadMode::Replicate, Pad::Replicate),
    ] {
        for (shape, sides) in [
            (&[5][..], &[[3, 4]][..]),
            (&[2, 3, 4, 5], &[[0, 0], [0, 0], [1, 2], [3, 0]]),
            (&[2, 3, 4, 8], &[[0, 0], [0, 0], [1, 1], [2, 2]]),
            (&[2, 3, 4], &[[1, 1], [0, 0], [0, 3]]),
            (&[2, 3], &[[0, 0], [0, 0]]),
        ] {
            gradient::conforms(
                gpu,
                format!("{mode:?} of {shape:?} by {sides:?}"),
                &[seeded("x", shape)],
                |g, v| g.pad(v[0], sides, mode),
                |x| kiln_reference::pad(&x[0], sides, oracle),
            );
        }
    }
}
