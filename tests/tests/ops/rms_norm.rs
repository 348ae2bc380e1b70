//! Division by the root mean square over the last dimension.

use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::RMS_NORM;
use kiln_tests::{data, device};

fn check(shape: &[usize], x: Vec<f32>, epsilon: f32) {
    let Some(gpu) = device::gpu() else { return };
    let width = *shape.last().expect("a row has columns");
    let operands = [f32_tensor(shape, x), seeded("weight", &[width])];
    let [x, weight] = operands.each_ref().map(array);
    let expected = kiln_reference::rms_norm(&x, &weight, f64::from(epsilon));
    conforms(
        gpu,
        format_args!("{shape:?}, epsilon {epsilon}"),
        &operands,
        |g, v| g.rms_norm(v[0], v[1], epsilon),
        &expected,
        &RMS_NORM.bounds(&expected),
    );
}

/// One row and many, narrow and wide, in fours and not: the kernels of every kind of device.
#[test]
fn rows() {
    for shape in [
        &[1][..],
        &[7],
        &[512],
        &[1, 33],
        &[1, 512],
        &[4, 130],
        &[9, 31],
        &[16, 64],
        &[17, 64],
        &[17, 3, 129],
    ] {
        check(shape, data::uniform("x", shape.iter().product()), 1e-6);
    }
}

/// The epsilon is added to the mean of the squares, and nothing is subtracted from the row before.
#[test]
fn epsilon_and_offset_count() {
    check(&[3, 40], data::uniform("x", 120), 2.0);
    check(&[3, 40], data::uniform("x", 120).iter().map(|x| x + 10.0).collect(), 1e-6);
}

#[test]
fn a_row_of_zeros_and_a_row_with_nan() {
    let mut x = data::uniform("x", 4 * 40);
    x[..40].fill(0.0);
    x[45] = f32::NAN;
    check(&[4, 40], x, 1e-6);
}

/// As many elements as one invocation of a software adapter may not loop over.
#[test]
fn a_row_of_a_hundred_thousand() {
    let Some(gpu) = device::gpu() else { return };
    let width = 130_001;
    let operands = [seeded("x", &[2, width]), seeded("weight", &[width])];
    let [x, weight] = operands.each_ref().map(array);
    let expected = kiln_reference::rms_norm(&x, &weight, 1e-6);
    // The sum of squares is added up in lanes of a thousand.
    let bounds = RMS_NORM.bounds(&expected.map(|y| 4.0 * y));
    conforms(gpu, "a long row", &operands, |g, v| g.rms_norm(v[0], v[1], 1e-6), &expected, &bounds);
}
