//! Rows of a table by id: rows that are read often take the sum, rows that are not read take nothing.

use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{device, gradient};

#[test]
fn rows_by_id() {
    let Some(gpu) = device::gpu() else { return };
    for (count, width, ids_shape, ids) in [
        (5, 3, &[4][..], vec![2, 0, 2, 4]),
        (5, 4, &[2, 3], vec![1, 1, 1, 1, 3, 1]),
        (3, 2, &[], vec![1]),
        (1, 5, &[2, 1, 2], vec![0; 4]),
    ] {
        let operands = [seeded("table", &[count, width]), u32_tensor(ids_shape, ids.clone())];
        gradient::conforms(
            gpu,
            format!("{ids:?} of {count}x{width}"),
            &operands,
            |g, v| g.embedding(v[0], v[1]),
            |x| kiln_reference::embedding(&x[0], ids_shape, &ids),
        );
    }
}
