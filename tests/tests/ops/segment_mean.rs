//! Means over packed sequences.

use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded, u32_tensor};
use kiln_tests::tolerance::SUM;

#[test]
fn segments() {
    let Some(gpu) = device::gpu() else { return };
    let table: [(usize, usize, &[u32]); 5] = [
        (1, 1, &[0, 1]),
        (43, 63, &[0, 0, 1, 4, 4, 40, 41, 41]),
        (43, 384, &[0, 13, 43]),
        (300, 65, &[0, 257, 300, 300, 300]),
        (7, 5, &[0, 0, 0]),
    ];
    for (rows, width, offsets) in table {
        let operands = [seeded("x", &[rows, width]), u32_tensor(&[offsets.len()], offsets.to_vec())];
        let x = array(&operands[0]);
        let expected = kiln_reference::segment_mean(&x, offsets);
        let bounds = SUM.bounds(&kiln_reference::segment_mean(&x.abs(), offsets));
        let what = format!("{rows}x{width} by {offsets:?}");
        conforms(gpu, what, &operands, |g, v| g.segment_mean(v[0], v[1]), &expected, &bounds);
    }
}
