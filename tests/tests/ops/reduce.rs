//! Sums, means and greatest elements over any dimensions.

use kiln_gpu::Gpu;
use kiln_reference::Array;
use kiln_tests::compare::assert_same_bits;
use kiln_tests::graph::{array, conforms, every_source, f32_tensor};
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device};

fn sums(gpu: &Gpu, shape: &[usize], dims: &[usize], keep_dim: bool, x: &[f32]) {
    let operands = [f32_tensor(shape, x.to_vec())];
    let x = array(&operands[0]);
    let what = |name: &str| format!("{name} of {shape:?} over {dims:?}");
    let expected = kiln_reference::sum(&x, dims, keep_dim);
    let bounds = SUM.bounds(&kiln_reference::sum(&x.abs(), dims, keep_dim));
    conforms(gpu, what("sum"), &operands, |g, v| g.sum(v[0], dims, keep_dim), &expected, &bounds);
    let expected = kiln_reference::mean(&x, dims, keep_dim);
    let bounds = SUM.bounds(&kiln_reference::mean(&x.abs(), dims, keep_dim));
    conforms(gpu, what("mean"), &operands, |g, v| g.mean(v[0], dims, keep_dim), &expected, &bounds);
}

fn greatest(gpu: &Gpu, shape: &[usize], dims: &[usize], keep_dim: bool, x: &[f32]) {
    let operands = [f32_tensor(shape, x.to_vec())];
    let x = array(&operands[0]);
    let what = |name: &str| format!("{name} of {shape:?} over {dims:?}");
    let expected = kiln_reference::max(&x, dims, keep_dim);
    let bounds = vec![0.0; expected.data.len()];
    conforms(gpu, what("max"), &operands, |g, v| g.max(v[0], dims, keep_dim), &expected, &bounds);
    let expected: Array = kiln_reference::argmax(&x, dims, keep_dim);
    let places: Vec<u32> = expected.data.iter().map(|&place| place as u32).collect();
    every_source(
        gpu,
        &operands,
        |g, v| g.argmax(v[0], dims, keep_dim),
        |source, made| {
            assert_eq!(made.shape(), expected.shape, "argmax {source}: the shape");
            let got = made.as_u32().expect("argmax should give u32");
            assert_same_bits(format_args!("{} {source}", what("argmax")), got, &places, &expected.shape);
        },
    );
}

fn check(shape: &[usize], dims: &[usize], keep_dim: bool, x: &[f32]) {
    let Some(gpu) = device::gpu() else { return };
    sums(gpu, shape, dims, keep_dim, x);
    greatest(gpu, shape, dims, keep_dim, x);
}

#[test]
fn over_any_dimensions() {
    for (shape, dims) in [
        (&[1][..], &[0][..]),
        (&[67], &[0]),
        (&[9, 31], &[0]),
        (&[9, 31], &[1]),
        (&[5, 129], &[0, 1]),
        (&[3, 5, 7], &[1]),
        (&[3, 5, 7], &[0, 2]),
        (&[2, 3, 4, 5], &[1, 3]),
        (&[2, 3, 4, 5], &[1, 2, 3]),
        (&[2, 3, 2, 2, 3, 2, 2, 3], &[0, 2, 5, 7]),
    ] {
        for keep_dim in [false, true] {
            check(shape, dims, keep_dim, &data::uniform("x", shape.iter().product()));
        }
    }
}

/// Rows of neighbours, one and few and many, long and short, in fours and not; and halves of rows, which are none.
#[test]
fn over_rows() {
    for (shape, dims) in [
        (&[1, 32_128][..], &[1][..]),
        (&[4, 5001], &[1]),
        (&[16, 63], &[1]),
        (&[17, 64], &[1]),
        (&[40, 66], &[1]),
        (&[2, 3, 10, 12], &[2, 3]),
        (&[3, 2, 68], &[0, 2]),
        (&[4096], &[0]),
    ] {
        check(shape, dims, false, &data::uniform("x", shape.iter().product()));
    }
}

#[test]
fn ties_and_nan() {
    let Some(gpu) = device::gpu() else { return };
    let mut x = vec![-1.0f32; 4 * 200];
    for place in [7, 129, 135] {
        x[place] = 5.0;
    }
    for (place, value) in [(200 + 150, f32::NAN), (200 + 20, f32::NAN), (200 + 3, f32::INFINITY)] {
        x[place] = value;
    }
    x[400..600].fill(f32::NEG_INFINITY);
    greatest(gpu, &[4, 200], &[1], false, &x);
    greatest(gpu, &[4, 200], &[0], false, &x);
}

/// More elements than a software driver lets one invocation loop: Mesa's llvmpipe stops all loops of an invocation,
/// in silence, after 65,535 iterations in total.
#[test]
fn long_rows() {
    let x = data::uniform("x", 7 * 10_001 * 2);
    check(&[2, 32_128], &[1], false, &x[..2 * 32_128]); // T5's vocabulary
    // Each element takes more iterations than one: the loop over its address counts, and so does its end.
    check(&[2, 150, 170], &[1, 2], true, &x[..2 * 150 * 170]);
    check(&[13_000, 2, 3], &[0, 2], false, &x[..13_000 * 6]);
    check(&[2, 70_001], &[1], false, &x[..2 * 70_001]);
    check(&[70_001, 2], &[0], false, &x[..2 * 70_001]);
    check(&[7, 10_001, 2], &[0, 1], false, &x);
    check(&[2, 70_001], &[0, 1], false, &x[..2 * 70_001]);
}
