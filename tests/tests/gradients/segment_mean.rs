//! Means over packed sequences.

use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{device, gradient};

#[test]
fn segments() {
    let Some(gpu) = device::gpu() else { return };
    let table: [(usize, usize, &[u32]); 4] =
        [(1, 1, &[0, 1]), (13, 5, &[0, 0, 1, 4, 4, 10, 13]), (9, 18, &[0, 4, 9]), (7, 3, &[2, 2, 5])];
    for (rows, width, offsets) in table {
        gradient::conforms(
            gpu,
            format!("{rows}x{width} by {offsets:?}"),
            &[seeded("x", &[rows, width]), u32_tensor(&[offsets.len()], offsets.to_vec())],
            |g, v| g.segment_mean(v[0], v[1]),
            |x| kiln_reference::segment_mean(&x[0], offsets),
        );
    }
}
