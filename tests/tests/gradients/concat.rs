//! Joined tensors: each takes its own part of the gradient.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn along_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for dim in 0..3 {
        let shape = |extent: usize| {
            let mut shape = [3, 4, 5];
            shape[dim] = extent;
            shape
        };
        let operands = [seeded("a", &shape(2)), seeded("b", &shape(1)), seeded("c", &shape(7))];
        let oracle = |x: &[kiln_reference::Array]| kiln_reference::concat(&[&x[0], &x[1], &x[2]], dim);
        gradient::conforms(gpu, format!("dimension {dim}"), &operands, |g, v| g.concat(v, dim), oracle);
    }
}
