//! Layer normalisation over the last dimension.

use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::LAYER_NORM;
use kiln_tests::{data, device};

const EPSILON: f32 = 1e-5;

fn check(shape: &[usize], x: Vec<f32>, what: &str) {
    let Some(gpu) = device::gpu() else { return };
    let width = shape[shape.len() - 1];
    let operands = [f32_tensor(shape, x), seeded("weight", &[width]), seeded("bias", &[width])];
    let [x, weight, bias] = operands.each_ref().map(array);
    let expected = kiln_reference::layer_norm(&x, &weight, &bias, f64::from(EPSILON));
    let terms = kiln_reference::layer_norm_terms(&x, &weight, &bias, f64::from(EPSILON));
    let what = format!("{what} {shape:?}");
    let bounds = LAYER_NORM.bounds(&terms);
    conforms(gpu, what, &operands, |g, v| g.layer_norm(v[0], v[1], v[2], EPSILON), &expected, &bounds);
}

#[test]
fn rows() {
    for shape in [&[1][..], &[7], &[1, 384], &[9, 31], &[8, 32], &[3, 5, 129], &[2, 2, 3, 8]] {
        check(shape, data::uniform("x", shape.iter().product()), "seeded");
    }
}

/// A mean far from zero: the variance is of the differences, not of the squares.
#[test]
fn off_centre() {
    check(&[3, 257], data::uniform("x", 3 * 257).iter().map(|x| x + 100.0).collect(), "off centre");
}

#[test]
fn nan_fills_its_row() {
    let mut x = data::uniform("x", 5 * 40);
    x[41] = f32::NAN;
    check(&[5, 40], x, "NaN");
}
