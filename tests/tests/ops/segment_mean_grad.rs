//! The gradient of means over packed sequences.

use kiln_engine::ops::SegmentMeanGrad;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded, u32_tensor};
use kiln_tests::tolerance::DIV;

#[test]
fn segments() {
    let Some(gpu) = device::gpu() else { return };
    let table: [(usize, usize, &[u32]); 7] = [
        (1, 1, &[0, 1]),
        (43, 63, &[0, 0, 1, 4, 4, 40, 41, 41]),
        (43, 384, &[0, 13, 43]),
        (300, 65, &[0, 257, 300, 300, 300]),
        (7, 5, &[0, 0, 0]),
        // Rows before, between and behind.
        (20, 17, &[3, 3, 9, 11]),
        (9, 2, &[9, 9]),
    ];
    for (rows, width, offsets) in table {
        let operands =
            [seeded("grad", &[offsets.len() - 1, width]), u32_tensor(&[offsets.len()], offsets.to_vec())];
        let expected = kiln_reference::segment_mean_grad(&array(&operands[0]), offsets, rows);
        let bounds = DIV.bounds(&expected);
        let what = format!("{rows}x{width} by {offsets:?}");
        conforms(gpu, what, &operands, |g, v| g.apply(SegmentMeanGrad { rows }, v), &expected, &bounds);
    }
}
