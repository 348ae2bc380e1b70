//! Rows of a table by id.

use kiln_tests::graph::{array, conforms, seeded, u32_tensor};
use kiln_tests::tolerance::EXACT;
use kiln_tests::{data, device};

#[test]
fn rows_by_id() {
    let Some(gpu) = device::gpu() else { return };
    for (count, width, ids_shape) in [
        (1, 1, &[1][..]),
        (9, 11, &[]),
        (7, 63, &[5]),
        (101, 64, &[3, 4]),
        (13, 65, &[2, 1, 3]),
        (1009, 3, &[67]),
    ] {
        let ids = data::indices("ids", ids_shape.iter().product(), count);
        let operands = [seeded("table", &[count, width]), u32_tensor(ids_shape, ids.clone())];
        let expected = kiln_reference::embedding(&array(&operands[0]), ids_shape, &ids);
        let what = format!("{ids_shape:?} of {count}x{width}");
        conforms(gpu, what, &operands, |g, v| g.embedding(v[0], v[1]), &expected, &EXACT.bounds(&expected));
    }
}

/// An id that the table does not have gives NaN, not another row.
#[test]
fn an_unknown_id_is_nan() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("table", &[5, 3]), u32_tensor(&[4], vec![4, 5, 0, u32::MAX])];
    let mut expected = kiln_reference::embedding(&array(&operands[0]), &[4], &[4, 0, 0, 0]);
    for row in [1, 3] {
        expected.data[3 * row..3 * row + 3].fill(f64::NAN);
    }
    conforms(gpu, "unknown ids", &operands, |g, v| g.embedding(v[0], v[1]), &expected, &[0.0; 12]);
}
