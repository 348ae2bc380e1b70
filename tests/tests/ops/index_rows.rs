//! Which places of a list name each row.

use kiln_engine::ops::IndexRows;
use kiln_tests::compare::assert_same_bits;
use kiln_tests::graph::{every_source, u32_tensor};
use kiln_tests::{data, device};

fn check(index: Vec<u32>, extent: usize) {
    let Some(gpu) = device::gpu() else { return };
    let count = index.len();
    let expected = kiln_reference::index_rows(&index, extent);
    let operands = [u32_tensor(&[count], index)];
    every_source(
        gpu,
        &operands,
        |g, v| g.apply(IndexRows { extent }, v),
        |source, made| {
            assert_eq!(made.shape(), [extent + 1 + 2 * count]);
            let got = &made.as_u32().expect("places are u32")[..expected.len()];
            assert_same_bits(
                format_args!("{count} below {extent} {source}"),
                got,
                &expected,
                &[expected.len()],
            );
        },
    );
}

#[test]
fn lists_around_a_run_and_its_doubles() {
    for (count, extent) in [
        (1usize, 1usize),
        (1, 9),
        (13, 5),
        (255, 7),
        (256, 300),
        (257, 3),
        (1024, 1000),
        (1025, 40),
        (5000, 12),
    ] {
        // A tenth of them past the extent.
        check(data::indices("index", count, extent + extent.div_ceil(10)), extent);
    }
}

#[test]
fn lists_that_are_sorted_or_all_alike() {
    check((0..700).collect(), 700);
    check((0..700).rev().collect(), 700);
    check(vec![3; 700], 5);
    check(vec![u32::MAX; 300], 2);
}
