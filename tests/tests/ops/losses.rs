//! The losses with their options and reductions: values against the reference, values and gradients against PyTorch.

use std::collections::BTreeMap;

use kiln_engine::{
    CrossEntropyOptions, DType, EngineError, GraphBuilder, LossReduction, MultiMarginOptions, NoWeights,
    Session, Tensor, Value,
};
use kiln_reference::Array;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded, u32_tensor};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

const REDUCTIONS: [LossReduction; 3] = [LossReduction::Mean, LossReduction::Sum, LossReduction::None];

/// The losses of rows or elements reduced; `total` is what the sum is divided by for a mean.
fn reduced(losses: &Array, reduction: LossReduction, total: f64) -> Array {
    let sum: f64 = losses.data.iter().sum();
    match reduction {
        LossReduction::Mean => Array::new(&[], vec![sum / total]),
        LossReduction::Sum => Array::new(&[], vec![sum]),
        LossReduction::None => losses.clone(),
    }
}

/// Relative to the largest loss: the losses are a few operations on numbers of that size.
fn bounds(losses: &Array, expected: &Array) -> Vec<f64> {
    let largest = losses.data.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    let count = if expected.data.len() == 1 { losses.data.len() as f64 } else { 1.0 };
    vec![8.0 * f64::from(f32::EPSILON) * largest * count.max(4.0); expected.data.len()]
}

/// A loss of every reduction against its oracle.
fn check(
    what: &str,
    operands: &[Tensor],
    losses: &Array,
    total: f64,
    build: impl Fn(&mut GraphBuilder, &[Value], LossReduction) -> Result<Value, EngineError>,
) {
    let Some(gpu) = device::gpu() else { return };
    for reduction in REDUCTIONS {
        let expected = reduced(losses, reduction, total);
        let bounds = bounds(losses, &expected);
        conforms(
            gpu,
            format!("{what}, {reduction:?}"),
            operands,
            |g, v| build(g, v, reduction),
            &expected,
            &bounds,
        );
    }
}

#[test]
fn of_labels() {
    let (rows, classes) = (13, 7);
    let scores = seeded("scores", &[rows, classes]);
    let labels = data::indices("labels", rows, classes);
    let weight =
        f32_tensor(&[classes], data::uniform("weight", classes).iter().map(|x| x + 1.5).collect::<Vec<_>>());
    for weighted in [false, true] {
        let operands = [scores.clone(), u32_tensor(&[rows], labels.clone()), weight.clone()];
        let operands = &operands[..if weighted { 3 } else { 2 }];
        let (x, weight) = (array(&scores), operands.get(2).map(array));
        let total = kiln_reference::label_weights(&labels, weight.as_ref(), classes).data.iter().sum();

        let losses = kiln_reference::cross_entropy(&x, &labels, weight.as_ref(), 0.25);
        check("cross-entropy", operands, &losses, total, |g, v, reduction| {
            let options = CrossEntropyOptions { weight: v.get(2).copied(), label_smoothing: 0.25, reduction };
            g.cross_entropy(v[0], v[1], options)
        });
        let losses = kiln_reference::nll_loss(&x, &labels, weight.as_ref());
        check("nll", operands, &losses, total, |g, v, reduction| {
            g.nll_loss(v[0], v[1], v.get(2).copied(), reduction)
        });
        for (p, margin) in [(1, 1.0f32), (2, 0.5)] {
            let losses =
                kiln_reference::multi_margin_loss(&x, &labels, p as i32, margin.into(), weight.as_ref());
            check("multi-margin", operands, &losses, rows as f64, |g, v, reduction| {
                let options = MultiMarginOptions { p, margin, weight: v.get(2).copied(), reduction };
                g.multi_margin_loss(v[0], v[1], options)
            });
        }
    }
}

#[test]
fn of_targets() {
    for shape in [&[][..], &[5], &[4, 3], &[2, 3, 5, 7]] {
        let (x, target) = (seeded("x", shape), seeded("target", shape));
        let operands = [x.clone(), target.clone()];
        let (x, target) = (array(&x), array(&target));
        let count = x.data.len() as f64;
        let losses = kiln_reference::mse_loss(&x, &target);
        check("mse", &operands, &losses, count, |g, v, reduction| g.mse_loss(v[0], v[1], reduction));
        let losses = kiln_reference::l1_loss(&x, &target);
        check("l1", &operands, &losses, count, |g, v, reduction| g.l1_loss(v[0], v[1], reduction));
        check("smooth l1 of 0", &operands, &losses, count, |g, v, reduction| {
            g.smooth_l1_loss(v[0], v[1], 0.0, reduction)
        });
        let losses = kiln_reference::smooth_l1_loss(&x, &target, 0.75);
        check("smooth l1", &operands, &losses, count, |g, v, reduction| {
            g.smooth_l1_loss(v[0], v[1], 0.75, reduction)
        });
    }
}

#[test]
fn of_binary_targets() {
    let scale = |tensor: &Tensor, a: f32, b: f32| {
        let numbers = tensor.as_f32().expect("seeded numbers are f32").iter().map(|x| a * x + b).collect();
        f32_tensor(tensor.shape(), numbers)
    };
    for factor in [1.0, 30.0, 200.0] {
        let logits = scale(&seeded("logits", &[9, 5]), factor, 0.0);
        let target = scale(&seeded("probability", &[9, 5]), 0.5, 0.5);
        let pos_weight = scale(&seeded("pos_weight", &[5]), 1.0, 1.5);
        for weighted in [false, true] {
            let operands = [logits.clone(), target.clone(), pos_weight.clone()];
            let operands = &operands[..if weighted { 3 } else { 2 }];
            let weight = operands.get(2).map(array);
            let losses = kiln_reference::bce_with_logits(&array(&logits), &array(&target), weight.as_ref());
            check("binary cross-entropy", operands, &losses, 45.0, |g, v, reduction| {
                g.bce_with_logits(v[0], v[1], v.get(2).copied(), reduction)
            });
        }
    }
}

/// What is composed of other ops says which loss it is that does not fit.
#[test]
fn what_does_not_fit_is_named() {
    let mut g = GraphBuilder::new("net");
    let (x, other) = (g.input("x", &[4, 3], DType::F32), g.input("other", &[4, 1], DType::F32));
    let labels = g.input("labels", &[4], DType::U32);
    let weight = g.input("weight", &[4], DType::F32);
    let mean = LossReduction::Mean;
    for (made, expected) in [
        (g.mse_loss(x, other, mean), "mse_loss \"net\": target: expected f32[4, 3], got f32[4, 1]"),
        (
            g.smooth_l1_loss(x, x, -1.0, mean),
            "smooth_l1_loss \"net\": beta: expected a finite number of at least 0, got -1",
        ),
        (
            g.bce_with_logits(other, other, Some(x), mean),
            "bce_with_logits \"net\": pos_weight: expected a shape that broadcasts to f32[4, 1], got f32[4, 3]",
        ),
        (
            g.nll_loss(x, labels, Some(weight), mean),
            "nll_loss \"net\": class weights: expected [3], got f32[4]",
        ),
        (
            g.multi_margin_loss(x, labels, MultiMarginOptions { p: 3, ..Default::default() }),
            "multi_margin_loss \"net\": p: expected 1 or 2, got 3",
        ),
        (
            g.cross_entropy(x, labels, CrossEntropyOptions { label_smoothing: 1.5, ..Default::default() }),
            "cross_entropy \"net\": label smoothing: expected at least 0 and at most 1, got 1.5",
        ),
    ] {
        assert_eq!(made.map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
}

#[derive(Deserialize)]
struct Golden {
    labels: Vec<u32>,
    inputs: BTreeMap<String, Listed>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Listed {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    loss: String,
    input: String,
    reduction: String,
    #[serde(default)]
    weighted: bool,
    label_smoothing: Option<f32>,
    beta: Option<f32>,
    p: Option<u32>,
    margin: Option<f32>,
    value: Vec<f64>,
    gradient: Vec<f64>,
}

impl Case {
    fn build(
        &self,
        g: &mut GraphBuilder,
        at: impl Fn(&str) -> Value,
        labels: Value,
    ) -> Result<Value, EngineError> {
        let x = at(&self.input);
        let weight = self.weighted.then(|| at("weight"));
        let reduction = match self.reduction.as_str() {
            "mean" => LossReduction::Mean,
            "sum" => LossReduction::Sum,
            _ => LossReduction::None,
        };
        match self.loss.as_str() {
            "cross_entropy" => {
                let label_smoothing = self.label_smoothing.unwrap_or_default();
                g.cross_entropy(x, labels, CrossEntropyOptions { weight, label_smoothing, reduction })
            }
            "nll" => g.nll_loss(x, labels, weight, reduction),
            "mse" => g.mse_loss(x, at("target"), reduction),
            "l1" => g.l1_loss(x, at("target"), reduction),
            "smooth_l1" => g.smooth_l1_loss(x, at("target"), self.beta.unwrap_or(1.0), reduction),
            "bce_with_logits" => g.bce_with_logits(x, at("probability"), weight, reduction),
            "multi_margin" => {
                let (p, margin) = (self.p.unwrap_or(1), self.margin.unwrap_or(1.0));
                g.multi_margin_loss(x, labels, MultiMarginOptions { p, margin, weight, reduction })
            }
            other => panic!("assets/goldens/optim/losses.json has a loss {other}"),
        }
    }
}

/// `got` as near to PyTorch's as single precision lets it be, relative to the largest number.
#[track_caller]
fn assert_near(what: &str, got: &[f32], expected: &[f64]) {
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let shape = [expected.len()];
    let bounds = vec![2e-6 * largest + 1e-12; expected.len()];
    kiln_tests::compare::assert_close(what, got, &Array::new(&shape, expected.to_vec()), &bounds);
}

#[test]
fn as_in_pytorch() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let golden: Golden = golden::json("optim/losses.json");
    let tensors: BTreeMap<&str, Tensor> =
        golden.inputs.iter().map(|(name, x)| (name.as_str(), f32_tensor(&x.shape, x.data.clone()))).collect();
    let labels = u32_tensor(&[golden.labels.len()], golden.labels.clone());
    for case in &golden.cases {
        let what = format!(
            "{} of {}, {}, weights {}, {:?} {:?} {:?} {:?}",
            case.loss,
            case.input,
            case.reduction,
            case.weighted,
            case.label_smoothing,
            case.beta,
            case.p,
            case.margin
        );
        let mut g = GraphBuilder::new("loss");
        let values: BTreeMap<&str, Value> = tensors
            .iter()
            .map(|(name, tensor)| (*name, g.input(name, tensor.shape(), tensor.desc().dtype)))
            .collect();
        let label_values = g.input("labels", labels.shape(), DType::U32);
        let made = case.build(&mut g, |name| values[name], label_values)?;
        g.output("value", made);
        // The gradient of a loss that is not reduced is that of its product with known numbers.
        let rank = g.desc(made).rank();
        let loss = match rank {
            0 => made,
            _ => {
                let upstream = values[if rank == 1 { "upstream" } else { "wide_upstream" }];
                let product = g.mul(made, upstream)?;
                g.sum(product, &(0..rank).collect::<Vec<_>>(), false)?
            }
        };
        let gradient = g.gradients(loss, &[values[case.input.as_str()]])?[0];
        g.output("gradient", gradient);
        let mut session = Session::new(gpu);
        let plan = session.load(&g.finish(), &NoWeights)?;
        let mut inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        inputs.push(("labels", &labels));
        let outputs = session.run(plan, &inputs)?;
        assert_near(&what, outputs["value"].as_f32()?, &case.value);
        assert_near(&format!("gradient of {what}"), outputs["gradient"].as_f32()?, &case.gradient);
    }
    Ok(())
}
