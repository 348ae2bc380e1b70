//! Slices along a dimension by index.

use kiln_tests::graph::{array, conforms, seeded, u32_tensor};
use kiln_tests::tolerance::EXACT;
use kiln_tests::{data, device};

#[test]
fn slices_by_index() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dim, count) in [
        (&[5][..], 0, 7),
        (&[3, 64], 0, 5),
        (&[3, 17], 1, 4),
        (&[2, 5, 7], 1, 9),
        (&[2, 5, 7], 2, 1),
        (&[3, 2, 4, 5], 2, 6),
    ] {
        let index = data::indices("index", count, shape[dim]);
        let operands = [seeded("x", shape), u32_tensor(&[count], index.clone())];
        let expected = kiln_reference::index_select(&array(&operands[0]), dim, &index);
        let what = format!("{count} along {dim} of {shape:?}");
        conforms(
            gpu,
            what,
            &operands,
            |g, v| g.index_select(v[0], dim, v[1]),
            &expected,
            &EXACT.bounds(&expected),
        );
    }
}
