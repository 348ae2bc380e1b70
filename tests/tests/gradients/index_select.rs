//! Slices along a dimension by index.

use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{device, gradient};

#[test]
fn slices_by_index() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dim, index) in [
        (&[5][..], 0, vec![4, 4, 0]),
        (&[3, 4], 0, vec![2, 1, 2, 2, 0]),
        (&[3, 4], 1, vec![3, 1, 1]),
        (&[2, 3, 4], 1, vec![1]),
        (&[2, 3, 4], 2, vec![0, 1, 2, 3, 0]),
    ] {
        let operands = [seeded("x", shape), u32_tensor(&[index.len()], index.clone())];
        gradient::conforms(
            gpu,
            format!("{index:?} along {dim} of {shape:?}"),
            &operands,
            |g, v| g.index_select(v[0], dim, v[1]),
            |x| kiln_reference::index_select(&x[0], dim, &index),
        );
    }
}
