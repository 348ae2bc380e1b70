//! The gradient of one element of each row.

use kiln_tests::gradient::conforms;
use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{data, device};

#[test]
fn goes_where_it_was_picked() {
    let Some(gpu) = device::gpu() else { return };
    for (rows, cols) in [(1, 1), (7, 10), (65, 3)] {
        let index = data::indices("index", rows, cols);
        let operands = [seeded("x", &[rows, cols]), u32_tensor(&[rows], index.clone())];
        let oracle = |x: &[kiln_reference::Array]| kiln_reference::pick(&x[0], &index);
        conforms(gpu, format!("{rows}x{cols}"), &operands, |g, v| g.pick(v[0], v[1]), oracle);
    }
}
