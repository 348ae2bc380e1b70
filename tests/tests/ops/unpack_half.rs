//! Numbers of half precision widened.

use kiln_tests::graph::{array, every_source, f32_tensor, u32_tensor};
use kiln_tests::tolerance::EXACT;
use kiln_tests::{compare, data, device};

/// The least normal half: below it a driver may see zero.
const LEAST: f64 = 1.0 / 16384.0;

/// Every half there is, in both places of a word.
#[test]
fn every_half() {
    let Some(gpu) = device::gpu() else { return };
    let words: Vec<u32> = (0..65536u32).map(|bits| bits | (bits ^ 0x5a5a) << 16).collect();
    let expected = kiln_reference::unpack_half(&words, &[256, 512]);
    let operands = [u32_tensor(&[256, 256], words)];
    every_source(
        gpu,
        &operands,
        |g, v| g.unpack_half(v[0]),
        |source, made| {
            assert_eq!(made.shape(), expected.shape);
            let got = made.as_f32().expect("numbers");
            let mut expected = expected.clone();
            for (expected, &got) in expected.data.iter_mut().zip(got) {
                if expected.abs() < LEAST && got == 0.0 {
                    *expected = 0.0;
                }
            }
            compare::assert_close(source, got, &expected, &EXACT.bounds(&expected));
        },
    );
}

/// What is packed at load comes back rounded, by rows of a table too.
#[test]
fn rows_of_a_packed_table() {
    let Some(gpu) = device::gpu() else { return };
    let table = f32_tensor(&[11, 6], data::uniform("table", 66).iter().map(|x| 100.0 * x).collect());
    let all = kiln_reference::unpack_half(&kiln_reference::pack_half(&array(&table)), &[11, 6]);
    let ids = u32_tensor(&[4], vec![10, 0, 3, 10]);
    let expected = kiln_reference::embedding(&all, &[4], &[10, 0, 3, 10]);
    every_source(
        gpu,
        &[ids, table],
        |g, v| {
            let packed = g.pack_half(v[1])?;
            let rows = g.embedding(packed, v[0])?;
            g.unpack_half(rows)
        },
        |source, made| {
            let got = made.as_f32().expect("numbers");
            compare::assert_close(source, got, &expected, &EXACT.bounds(&expected));
        },
    );
}
