//! Batch normalisation by statistics that are given and by the batch's own.

use std::collections::{BTreeMap, HashMap};

use kiln_engine::ops::BatchNorm;
use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor};
use kiln_reference::{Array, channel_mean, channel_variance};
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{array, conforms, f32_tensor, profiles, seeded};
use kiln_tests::tolerance::{BATCH_NORM, GROUP_NORM};
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

#[test]
fn with_relu() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[5, 67][..], &[2, 5, 7, 7], &[2, 2, 32, 16]] {
        let c = shape[1];
        let operands = [
            seeded("x", shape),
            seeded("mean", &[c]),
            f32_tensor(&[c], vec![0.5; c]),
            seeded("weight", &[c]),
            seeded("bias", &[c]),
        ];
        let [x, mean, variance, weight, bias] = operands.each_ref().map(array);
        let epsilon = f64::from(EPSILON);
        let expected = kiln_reference::batch_norm(&x, &mean, &variance, &weight, &bias, epsilon);
        let terms = kiln_reference::batch_norm_terms(&x, &mean, &variance, &weight, &bias, epsilon);
        let op = BatchNorm { relu: true, ..BatchNorm::given(EPSILON) };
        let expected = expected.map(|y| y.max(0.0));
        conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| g.apply(op, v),
            &expected,
            &BATCH_NORM.bounds(&terms),
        );
    }
}

/// The batch's own statistics, also of channels that are 1000 +- 1: digits that a variance from squares has lost.
#[test]
fn in_training() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, centre) in SHAPES[1..].iter().flat_map(|&shape| [(shape, 0.0), (shape, 1000.0)]) {
        let channels = shape[1];
        let x = data::uniform("x", shape.iter().product()).iter().map(|x| x + centre).collect();
        let operands = [f32_tensor(shape, x), seeded("weight", &[channels]), seeded("bias", &[channels])];
        let [x, weight, bias] = operands.each_ref().map(array);
        let epsilon = f64::from(EPSILON);
        let expected = kiln_reference::batch_norm_training(&x, &weight, &bias, epsilon);
        let (mean, variance) = (channel_mean(&x), channel_variance(&x));
        let terms = kiln_reference::batch_norm_terms(&x, &mean, &variance, &weight, &bias, epsilon);
        // The mean's own error is of the deviation, however near to 0 it lies.
        let plane: usize = shape[2..].iter().product();
        let spread = |(i, terms): (usize, &f64)| terms + weight.data[i / plane % channels].abs();
        let terms = Array::new(shape, terms.data.iter().enumerate().map(spread).collect());
        let bounds = GROUP_NORM.bounds(&terms);
        conforms(
            gpu,
            format!("{shape:?} around {centre}"),
            &operands,
            |g, v| Ok(g.batch_norm_training(v[0], v[1], v[2], EPSILON)?.output),
            &expected,
            &bounds,
        );
    }
}

#[test]
fn one_value_a_channel_is_no_batch() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 3, 1, 1], DType::F32);
    let mistake = g.scope("bn", |g| g.batch_norm_training(x, None, None, EPSILON)).unwrap_err();
    assert_eq!(
        mistake.to_string(),
        "batch_norm \"net/bn\": batch: expected more than one value a channel in training, got f32[1, 3, 1, 1]"
    );
}

/// Forward and back, and the running estimates: momentum 0.1, and the unbiased variance.
#[test]
fn a_step_of_training_as_in_pytorch() -> Result<(), EngineError> {
    let golden = golden::tensors("ops/batch_norm_training.safetensors");
    for case in ["points", "images", "far"] {
        let part = |key: &str| &golden[&format!("{case}.{key}")];
        let (x, weight, bias) = (part("x"), part("weight"), part("bias"));
        let oracle = kiln_reference::batch_norm_training(x, weight, bias, 1e-5);
        for (made, expected) in oracle.data.iter().zip(&part("output").data) {
            assert!((made - expected).abs() <= 1e-9, "{case}: the oracle gives {made}, PyTorch {expected}");
        }
        let Some(gpu) = device::gpu() else { continue };
        for profile in profiles(gpu) {
            let mut session = Session::with_profile(gpu, profile);
            let made = training_step(&mut session, &part)?;
            let spread = BATCH_NORM.bounds(&x.abs())[0] * 10.0;
            for (key, made) in &made {
                let expected = part(key);
                // Differences of numbers as large as those of x, over a deviation of about 1.
                let bounds: Vec<f64> = expected.data.iter().map(|y| spread * (1.0 + y.abs())).collect();
                assert_close(format!("{case}.{key}"), made.as_f32()?, expected, &bounds);
            }
        }
    }
    Ok(())
}

fn training_step<'a>(
    session: &mut Session,
    part: &impl Fn(&str) -> &'a Array,
) -> Result<BTreeMap<&'static str, Tensor>, EngineError> {
    let mut g = GraphBuilder::new("step");
    let names = ["x", "grad", "weight", "bias", "running_mean", "running_var"];
    let [x, grad, weight, bias, running_mean, running_var] =
        names.map(|name| g.input(name, &part(name).shape, DType::F32));
    let normalized = g.batch_norm_training(x, weight, bias, 1e-5)?;
    let loss = g.mul(normalized.output, grad)?;
    let dims: Vec<usize> = (0..part("x").rank()).collect();
    let loss = g.sum(loss, &dims, false)?;
    let count = (part("x").data.len() / part("x").shape[1]) as f32;
    let mut running = |old, new, factor: f32| {
        let (keep, take) = (g.scalar(0.9), g.scalar(0.1 * factor));
        let (old, new) = (g.mul(old, keep)?, g.mul(new, take)?);
        g.add(old, new)
    };
    let mean = running(running_mean, normalized.mean, 1.0)?;
    let variance = running(running_var, normalized.variance, count / (count - 1.0))?;
    let gradients = g.gradients(loss, &[x, weight, bias])?;
    let made = [normalized.output, gradients[0], gradients[1], gradients[2], mean, variance];
    let keys = ["output", "x_grad", "weight_grad", "bias_grad", "running_mean_after", "running_var_after"];
    for (key, value) in keys.into_iter().zip(made) {
        g.output(key, value);
    }
    let plan = session.load(&g.finish(), &HashMap::new())?;
    let tensor = |name| {
        let array = part(name);
        f32_tensor(&array.shape, array.data.iter().map(|&x| x as f32).collect())
    };
    let inputs = names.map(|name| (name, tensor(name)));
    let inputs = inputs.each_ref().map(|(name, tensor)| (*name, tensor));
    let mut outputs = session.run(plan, &inputs)?;
    Ok(keys.into_iter().filter_map(|key| Some((key, outputs.take(key)?))).collect())
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
