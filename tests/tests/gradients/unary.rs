//! The functions of one element, away from their kinks.

use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::Unary;
use kiln_tests::graph::f32_tensor;
use kiln_tests::{data, device, gradient};

type Build = fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>;

const FUNCTIONS: [(Unary, Build); 22] = [
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
    (Unary::LeakyRelu { slope: -0.5 }, |g, x| g.leaky_relu(x, -0.5)),
    (Unary::Elu { alpha: 1.5 }, |g, x| g.elu(x, 1.5)),
    (Unary::Softplus { beta: 1.0, threshold: 20.0 }, |g, x| g.softplus(x, 1.0, 20.0)),
    (Unary::Softplus { beta: 2.5, threshold: 40.0 }, |g, x| g.softplus(x, 2.5, 40.0)),
    (Unary::Hardtanh { min: -1.0, max: 1.0 }, |g, x| g.hardtanh(x, -1.0, 1.0)),
    (Unary::Hardtanh { min: 0.0, max: 2.0 }, |g, x| g.hardtanh(x, 0.0, 2.0)),
    (Unary::LogSigmoid, |g, x| g.log_sigmoid(x)),
    (Unary::Softshrink { lambda: 0.5 }, |g, x| g.softshrink(x, 0.5)),
    (Unary::SmoothL1 { beta: 1.0 }, |g, x| g.smooth_l1(x, 1.0)),
];

/// Where a function of the table has a corner.
const KINKS: [f32; 6] = [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0];

#[test]
fn each_function() {
    let Some(gpu) = device::gpu() else { return };
    for (function, build) in FUNCTIONS {
        let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
        let away = |x: f32| match KINKS.iter().find(|kink| (x - **kink).abs() < 1e-3) {
            Some(kink) => kink + 0.01,
            None => x,
        };
        let x: Vec<f32> = data::uniform("x", 39).iter().map(|x| away(3.0 * x)).collect();
        let x = if positive { x.iter().map(|x| x.abs() + 0.2).collect() } else { x };
        gradient::conforms(
            gpu,
            format!("{function:?}"),
            &[f32_tensor(&[3, 13], x)],
            |g, v| build(g, v[0]),
            |x| kiln_reference::unary(function, &x[0]),
        );
    }
}

/// The activation of a product reads its result, which the product's kernel has made with it, and so do two functions in
/// a row.
#[test]
fn in_a_row() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [
        f32_tensor(&[5, 3], data::uniform("x", 15)),
        f32_tensor(&[4, 3], data::uniform("weight", 12)),
        f32_tensor(&[4], data::uniform("bias", 4)),
    ];
    gradient::conforms(
        gpu,
        "sigmoid(tanh(linear))",
        &operands,
        |g, v| {
            let y = g.linear(v[0], v[1], Some(v[2]))?;
            let y = g.tanh(y)?;
            g.sigmoid(y)
        },
        |x| {
            let y = kiln_reference::linear(&x[0], &x[1], Some(&x[2]));
            kiln_reference::unary(Unary::Sigmoid, &kiln_reference::unary(Unary::Tanh, &y))
        },
    );
}
