//! One element of each row.

use kiln_engine::{DType, GraphBuilder};
use kiln_tests::graph::{array, conforms, every_source, seeded, u32_tensor};
use kiln_tests::{data, device};

#[test]
fn one_of_each_row() {
    let Some(gpu) = device::gpu() else { return };
    for (rows, cols) in [(1, 1), (7, 10), (64, 3), (65, 13)] {
        let mut index = data::indices("index", rows, cols);
        if rows > 5 {
            index[1] = cols as u32;
            index[5] = u32::MAX;
        }
        let operands = [seeded("x", &[rows, cols]), u32_tensor(&[rows], index.clone())];
        let expected = kiln_reference::pick(&array(&operands[0]), &index);
        let what = format!("{rows} of {cols}");
        conforms(gpu, what, &operands, |g, v| g.pick(v[0], v[1]), &expected, &vec![0.0; rows]);
    }
}

#[test]
fn of_indices_as_well() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [u32_tensor(&[2, 3], vec![1, 2, 3, 4, 5, 6]), u32_tensor(&[2], vec![2, 0])];
    every_source(
        gpu,
        &operands,
        |g, v| g.pick(v[0], v[1]),
        |_, made| {
            assert_eq!(made.as_u32().expect("indices should stay indices"), [3, 4]);
        },
    );
}

#[test]
fn an_index_for_each_row() {
    let mut g = GraphBuilder::new("test");
    let (x, index) = (g.input("x", &[2, 3], DType::F32), g.input("index", &[3], DType::U32));
    let error = g.pick(x, index).expect_err("there are two rows");
    assert_eq!(error.to_string(), "pick \"test\": index: expected [2], got u32[3]");
}
