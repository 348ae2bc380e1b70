//! The functions of one element.

use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::{Array, Unary};
use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::{data, device, golden, tolerance};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, operands};

type Build = fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>;

const FUNCTIONS: [(Unary, Build); 23] = [
    (Unary::Neg, |g, x| g.neg(x)),
    (Unary::Exp, |g, x| g.exp(x)),
    (Unary::Log, |g, x| g.log(x)),
    (Unary::Sqrt, |g, x| g.sqrt(x)),
    (Unary::Rsqrt, |g, x| g.rsqrt(x)),
    (Unary::Abs, |g, x| g.abs(x)),
    (Unary::Relu, |g, x| g.relu(x)),
    (Unary::Gelu, |g, x| g.gelu(x)),
    (Unary::GeluTanh, |g, x| g.gelu_tanh(x)),
    (Unary::Sigmoid, |g, x| g.sigmoid(x)),
    (Unary::Tanh, |g, x| g.tanh(x)),
    (Unary::Silu, |g, x| g.silu(x)),
    (Unary::LeakyRelu { slope: 0.125 }, |g, x| g.leaky_relu(x, 0.125)),
    (Unary::Elu { alpha: 1.0 }, |g, x| g.elu(x, 1.0)),
    (Unary::Elu { alpha: 1.5 }, |g, x| g.elu(x, 1.5)),
    (Unary::Softplus { beta: 1.0, threshold: 20.0 }, |g, x| g.softplus(x, 1.0, 20.0)),
    (Unary::Softplus { beta: 2.5, threshold: 4.0 }, |g, x| g.softplus(x, 2.5, 4.0)),
    (Unary::Hardtanh { min: -1.0, max: 1.0 }, |g, x| g.hardtanh(x, -1.0, 1.0)),
    (Unary::Hardtanh { min: -0.5, max: 3.0 }, |g, x| g.hardtanh(x, -0.5, 3.0)),
    (Unary::LogSigmoid, |g, x| g.log_sigmoid(x)),
    (Unary::Softshrink { lambda: 0.5 }, |g, x| g.softshrink(x, 0.5)),
    (Unary::SmoothL1 { beta: 1.0 }, |g, x| g.smooth_l1(x, 1.0)),
    (Unary::SmoothL1 { beta: 3.0 }, |g, x| g.smooth_l1(x, 3.0)),
];

#[test]
fn each_function() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[][..], &[63], &[5, 13], &[3, 2, 7, 11]] {
        for (function, build) in FUNCTIONS {
            let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
            let mut x: Vec<f32> =
                data::uniform("x", shape.iter().product()).iter().map(|x| 8.0 * x).collect();
            if positive {
                x.iter_mut().for_each(|x| *x = x.abs() + 1e-3);
            }
            if x.len() > 2 {
                x[1] = f32::NAN;
            }
            let operands = [f32_tensor(shape, x)];
            let x = array(&operands[0]);
            let expected = kiln_reference::unary(function, &x);
            let bounds: Vec<f64> = x.data.iter().map(|&x| tolerance::unary(function, x)).collect();
            let what = format!("{function:?} of {shape:?}");
            conforms(gpu, what, &operands, |g, v| build(g, v[0]), &expected, &bounds);
        }
    }
}

/// The bound of each element; next to infinities there is none.
fn bounds(function: Unary, x: &Array, expected: &Array) -> Vec<f64> {
    let bound = |(&x, y): (&f64, &f64)| match x.is_finite() && y.is_finite() {
        true => tolerance::unary(function, x),
        false => 0.0,
    };
    x.data.iter().zip(&expected.data).map(bound).collect()
}

/// Where exponentials overflow or vanish, the functions do not; infinities go where PyTorch sends them, and NaN stays.
#[test]
fn far_ends() {
    let Some(gpu) = device::gpu() else { return };
    let x = [0.0, 20.0, 88.0, 89.0, 100.0, 1e4, 1e30, f32::MAX, f32::INFINITY];
    let x: Vec<f32> = x.iter().flat_map(|&x| [x, -x]).chain([f32::NAN]).collect();
    let operands = [f32_tensor(&[x.len()], x)];
    for (function, build) in FUNCTIONS {
        if matches!(
            function,
            Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Gelu | Unary::GeluTanh | Unary::Silu
        ) {
            continue; // no domain, or 0 times infinity, there
        }
        let x = array(&operands[0]);
        let expected = kiln_reference::unary(function, &x).map(|y| f64::from(y as f32));
        let bounds = bounds(function, &x, &expected);
        let what = format!("{function:?} far out");
        conforms(gpu, what, &operands, |g, v| build(g, v[0]), &expected, &bounds);
    }
}

/// The options of any function here, by PyTorch's names.
#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    negative_slope: f32,
    #[serde(default)]
    alpha: f32,
    #[serde(default)]
    beta: f32,
    #[serde(default)]
    threshold: f32,
    #[serde(default)]
    min_val: f32,
    #[serde(default)]
    max_val: f32,
    #[serde(default)]
    lambd: f32,
}

#[test]
fn as_in_pytorch() {
    /// The op's name, its oracle, and what builds it.
    type Row = (&'static str, fn(&Attributes) -> Unary, fn(&mut GraphBuilder, Value, &Attributes) -> Made);
    type Made = Result<Value, EngineError>;
    let table: [Row; 18] = [
        ("neg", |_| Unary::Neg, |g, x, _| g.neg(x)),
        ("exp", |_| Unary::Exp, |g, x, _| g.exp(x)),
        ("log", |_| Unary::Log, |g, x, _| g.log(x)),
        ("sqrt", |_| Unary::Sqrt, |g, x, _| g.sqrt(x)),
        ("rsqrt", |_| Unary::Rsqrt, |g, x, _| g.rsqrt(x)),
        ("abs", |_| Unary::Abs, |g, x, _| g.abs(x)),
        ("relu", |_| Unary::Relu, |g, x, _| g.relu(x)),
        ("gelu", |_| Unary::Gelu, |g, x, _| g.gelu(x)),
        ("gelu_tanh", |_| Unary::GeluTanh, |g, x, _| g.gelu_tanh(x)),
        ("sigmoid", |_| Unary::Sigmoid, |g, x, _| g.sigmoid(x)),
        ("tanh", |_| Unary::Tanh, |g, x, _| g.tanh(x)),
        ("silu", |_| Unary::Silu, |g, x, _| g.silu(x)),
        (
            "leaky_relu",
            |a| Unary::LeakyRelu { slope: a.negative_slope.into() },
            |g, x, a| g.leaky_relu(x, a.negative_slope),
        ),
        ("elu", |a| Unary::Elu { alpha: a.alpha.into() }, |g, x, a| g.elu(x, a.alpha)),
        (
            "softplus",
            |a| Unary::Softplus { beta: a.beta.into(), threshold: a.threshold.into() },
            |g, x, a| g.softplus(x, a.beta, a.threshold),
        ),
        (
            "hardtanh",
            |a| Unary::Hardtanh { min: a.min_val.into(), max: a.max_val.into() },
            |g, x, a| g.hardtanh(x, a.min_val, a.max_val),
        ),
        ("log_sigmoid", |_| Unary::LogSigmoid, |g, x, _| g.log_sigmoid(x)),
        ("softshrink", |a| Unary::Softshrink { lambda: a.lambd.into() }, |g, x, a| g.softshrink(x, a.lambd)),
    ];
    for (op, function, build) in table {
        for case in golden::op_cases(op) {
            let attributes: Attributes = case.attributes();
            let (x, function) = (&case.inputs[0], function(&attributes));
            assert_oracle(&case, &kiln_reference::unary(function, x));
            let Some(gpu) = device::gpu() else { continue };
            let bounds = bounds(function, x, &case.output);
            let operands = operands(&case);
            conforms(gpu, &case.name, &operands, |g, v| build(g, v[0], &attributes), &case.output, &bounds);
        }
    }
}
