//! Numbers rounded to half precision, two to a word.

use kiln_engine::{DType, GraphBuilder};
use kiln_tests::compare::assert_same_bits;
use kiln_tests::graph::{array, every_source, f32_tensor};
use kiln_tests::{data, device};

fn check(shape: &[usize], x: Vec<f32>) {
    let Some(gpu) = device::gpu() else { return };
    let operands = [f32_tensor(shape, x)];
    let expected = kiln_reference::pack_half(&array(&operands[0]));
    every_source(
        gpu,
        &operands,
        |g, v| g.pack_half(v[0]),
        |source, made| {
            let words = made.as_u32().expect("words");
            assert_same_bits(format!("{shape:?} {source}"), words, &expected, made.shape());
        },
    );
}

#[test]
fn shapes() {
    for shape in [&[2][..], &[130], &[1, 2], &[7, 34], &[65, 4], &[3, 5, 6]] {
        check(shape, data::uniform("x", shape.iter().product()));
    }
}

/// Around every bound of the format: each of them, and its neighbours on both sides, with both signs.
#[test]
fn roundings_and_ranges() {
    let steps = |exponent: i32| 2f32.powi(exponent);
    let mut bounds = vec![0.0, f32::MIN_POSITIVE, 1e-42, 65504.0, 65520.0, 1e30, f32::MAX, f32::INFINITY];
    for exponent in -27..=16 {
        // The number, a half of it more, and the middles between neighbouring halves, even and odd.
        let last = steps(exponent.max(-14) - 11);
        bounds.extend([0.0, last, 3.0 * last].map(|more| steps(exponent) + more));
        bounds.push(1.5 * steps(exponent));
    }
    let around = bounds.iter().flat_map(|x| [x.next_down(), *x, x.next_up()]);
    let numbers: Vec<f32> = around.flat_map(|x| [x, -x]).filter(|x| !x.is_nan()).collect();
    check(&[numbers.len()], numbers);
    let spread = data::uniform("x", 20_000).into_iter().zip(data::indices("e", 20_000, 44));
    check(&[100, 200], spread.map(|(x, e)| x * steps(e as i32 - 27)).collect());
}

#[test]
fn nan_stays() {
    let Some(gpu) = device::gpu() else { return };
    // Among them one whose upper digits are all zero, which must not become infinite.
    let x = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffbf_ffff)];
    let operands = [f32_tensor(&[2, 2], x.to_vec())];
    every_source(
        gpu,
        &operands,
        |g, v| g.pack_half(v[0]),
        |source, made| {
            let words = made.as_u32().expect("words");
            let halves = words.iter().flat_map(|word| [word & 0xffff, word >> 16]);
            assert!(halves.clone().all(|half| half & 0x7fff > 0x7c00), "{source}: {words:x?}");
        },
    );
}

#[test]
fn what_cannot_be_packed_is_named() {
    let mut g = GraphBuilder::new("net");
    let (odd, words) = (g.input("odd", &[4, 3], DType::F32), g.input("words", &[4], DType::U32));
    let error = g.pack_half(odd).expect_err("three halves are no words");
    assert_eq!(error.to_string(), "pack_half \"net\": input: expected an even last dimension, got f32[4, 3]");
    let error = g.pack_half(words).expect_err("words are not numbers");
    assert_eq!(error.to_string(), "pack_half \"net\": input type: expected f32, got u32[4]");
}
