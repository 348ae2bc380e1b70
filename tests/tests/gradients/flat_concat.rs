//! Parts of one vector: each takes its own part of the gradient.

use kiln_engine::ops::FlatConcat;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn parts_of_any_shape() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("a", &[3, 5]), seeded("b", &[64]), seeded("c", &[2, 3, 13])];
    let oracle = |x: &[kiln_reference::Array]| {
        kiln_reference::flat_concat(&[&x[0], &x[1], &x[2]], FlatConcat::ALIGNMENT)
    };
    gradient::conforms(gpu, "three", &operands, |g, v| g.flat_concat(v), oracle);
}
