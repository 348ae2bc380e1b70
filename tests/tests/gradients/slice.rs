//! A range of one dimension: nothing flows to what was cut off.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn of_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for (dim, start, end) in [(0, 0, 1), (0, 1, 3), (1, 2, 5), (2, 0, 4), (2, 3, 4)] {
        let x = [seeded("x", &[3, 5, 4])];
        let what = format!("{start}..{end} of dimension {dim}");
        let oracle = |x: &[kiln_reference::Array]| kiln_reference::slice(&x[0], dim, start, end);
        gradient::conforms(gpu, what, &x, |g, v| g.slice(v[0], dim, start, end), oracle);
    }
}
