//! Batch normalisation by running statistics.

use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::BATCH_NORM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, decimal, operands};

const EPSILON: f32 = 1e-5;

/// Around what a run and a workgroup make, in every rank that PyTorch has a layer for.
const SHAPES: [&[usize]; 11] = [
    &[1, 1],
    &[5, 67],
    &[3, 7, 31],
    &[2, 3, 33],
    &[2, 5, 7, 7],
    &[1, 3, 17, 31],
    &[2, 2, 32, 16],
    &[1, 2, 27, 19],
    &[3, 1, 2, 3, 5],
    &[2, 3, 4, 5, 29],
    &[70, 3, 4],
];

#[test]
fn by_channel() {
    let Some(gpu) = device::gpu() else { return };
    for shape in SHAPES {
        let channels = shape[1];
        let mut x: Vec<f32> =
            data::uniform("x", shape.iter().product()).iter().map(|x| 3.0 * x + 0.5).collect();
        if x.len() > 2 {
            x[1] = f32::NAN;
        }
        let variance = data::uniform("variance", channels).iter().map(|v| v * v).collect();
        let operands = [
            f32_tensor(shape, x),
            seeded("mean", &[channels]),
            f32_tensor(&[channels], variance),
            seeded("weight", &[channels]),
            seeded("bias", &[channels]),
        ];
        let [x, mean, variance, weight, bias] = operands.each_ref().map(array);
        let epsilon = f64::from(EPSILON);
        let expected = kiln_reference::batch_norm(&x, &mean, &variance, &weight, &bias, epsilon);
        let terms = kiln_reference::batch_norm_terms(&x, &mean, &variance, &weight, &bias, epsilon);
        conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| g.batch_norm(v[0], v[1], v[2], v[3], v[4], EPSILON),
            &expected,
            &BATCH_NORM.bounds(&terms),
        );
    }
}

#[test]
fn without_weight_or_bias() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[2, 5, 9]), seeded("mean", &[5]), f32_tensor(&[5], vec![0.5; 5])];
    let [x, mean, variance] = operands.each_ref().map(array);
    let (weight, bias) = (variance.map(|_| 1.0), variance.map(|_| 0.0));
    let epsilon = f64::from(EPSILON);
    let expected = kiln_reference::batch_norm(&x, &mean, &variance, &weight, &bias, epsilon);
    let terms = kiln_reference::batch_norm_terms(&x, &mean, &variance, &weight, &bias, epsilon);
    conforms(
        gpu,
        "not affine",
        &operands,
        |g, v| g.batch_norm(v[0], v[1], v[2], None, None, EPSILON),
        &expected,
        &BATCH_NORM.bounds(&terms),
    );
}

#[derive(Deserialize)]
struct Attributes {
    eps: f32,
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("batch_norm") {
        let Attributes { eps } = case.attributes();
        let [x, mean, variance, affine @ ..] = case.inputs.as_slice() else { panic!("{}", case.name) };
        let (ones, zeros) = (mean.map(|_| 1.0), mean.map(|_| 0.0));
        let (weight, bias) = (affine.first().unwrap_or(&ones), affine.get(1).unwrap_or(&zeros));
        let made = kiln_reference::batch_norm(x, mean, variance, weight, bias, decimal(eps));
        assert_oracle(&case, &made);
        let Some(gpu) = device::gpu() else { continue };
        let terms = kiln_reference::batch_norm_terms(x, mean, variance, weight, bias, decimal(eps));
        conforms(
            gpu,
            &case.name,
            &operands(&case),
            |g, v| g.batch_norm(v[0], v[1], v[2], v.get(3).copied(), v.get(4).copied(), eps),
            &case.output,
            &BATCH_NORM.bounds(&terms),
        );
    }
}
