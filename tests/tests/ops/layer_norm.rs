//! Layer normalisation over the last dimensions.

use kiln_engine::{DType, GraphBuilder};
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::LAYER_NORM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, decimal, operands};

const EPSILON: f32 = 1e-5;

fn check(shape: &[usize], x: Vec<f32>, what: &str) {
    check_over(shape, 1, x, what);
}

/// Over the last `dims` dimensions: by the oracle, the last one of the same elements under another shape.
fn check_over(shape: &[usize], dims: usize, x: Vec<f32>, what: &str) {
    let Some(gpu) = device::gpu() else { return };
    let (kept, normalized) = shape.split_at(shape.len() - dims);
    let operands = [f32_tensor(shape, x), seeded("weight", normalized), seeded("bias", normalized)];
    let width = normalized.iter().product();
    let [mut x, weight, bias] = operands.each_ref().map(array);
    x.shape = [kept, &[width]].concat();
    let mut expected = kiln_reference::layer_norm(&x, &weight, &bias, f64::from(EPSILON));
    expected.shape = shape.to_vec();
    let terms = kiln_reference::layer_norm_terms(&x, &weight, &bias, f64::from(EPSILON));
    let what = format!("{what} {shape:?} over {dims}");
    let bounds = LAYER_NORM.bounds(&terms);
    conforms(gpu, what, &operands, |g, v| g.layer_norm(v[0], v[1], v[2], EPSILON), &expected, &bounds);
}

#[test]
fn rows() {
    for shape in [&[1][..], &[7], &[1, 384], &[9, 31], &[8, 32], &[3, 5, 129], &[2, 2, 3, 8]] {
        check(shape, data::uniform("x", shape.iter().product()), "seeded");
    }
}

#[test]
fn over_several_dimensions() {
    for (shape, dims) in [(&[5, 7][..], 2), (&[3, 5, 7], 2), (&[2, 3, 5, 7], 3), (&[2, 3, 4, 1], 2)] {
        check_over(shape, dims, data::uniform("x", shape.iter().product()), "seeded");
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[2, 3, 5, 7], DType::F32);
    let (fits, other) = (g.constant("fits", &[5, 7]), g.constant("other", &[3, 7]));
    let error = g.layer_norm(x, other, other, EPSILON).expect_err("[3, 7] are not the last dimensions");
    let expected =
        "layer_norm \"net\": weight: expected the last dimensions of f32[2, 3, 5, 7], got f32[3, 7]";
    assert_eq!(error.to_string(), expected);
    let error = g.layer_norm(x, fits, other, EPSILON).expect_err("weight and bias differ");
    assert_eq!(error.to_string(), "layer_norm \"net\": bias: expected [5, 7], got f32[3, 7]");
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

#[derive(Deserialize)]
struct Attributes {
    eps: f32,
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("layer_norm") {
        let Attributes { eps } = case.attributes();
        let [x, weight, bias] = case.inputs.as_slice() else { panic!("{}", case.name) };
        let (mut rows, width) = (x.clone(), weight.data.len());
        rows.shape = vec![x.data.len() / width, width];
        let mut made = kiln_reference::layer_norm(&rows, weight, bias, decimal(eps));
        made.shape.clone_from(&x.shape);
        assert_oracle(&case, &made);
        let Some(gpu) = device::gpu() else { continue };
        let bounds = LAYER_NORM.bounds(&kiln_reference::layer_norm_terms(&rows, weight, bias, decimal(eps)));
        let operands = operands(&case);
        conforms(
            gpu,
            &case.name,
            &operands,
            |g, v| g.layer_norm(v[0], v[1], v[2], eps),
            &case.output,
            &bounds,
        );
    }
}
