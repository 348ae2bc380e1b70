//! The gradients of functions of one element.

use kiln_engine::ops::{GradientReads, UnaryGrad};
use kiln_engine::{Activation, Scalar};
use kiln_reference::Unary;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::{data, device, tolerance};

fn functions() -> Vec<(Unary, kiln_engine::ops::Unary)> {
    use kiln_engine::ops::Unary as Op;
    let number = Scalar::new;
    vec![
        (Unary::Neg, Op::Neg),
        (Unary::Exp, Op::Exp),
        (Unary::Log, Op::Log),
        (Unary::Sqrt, Op::Sqrt),
        (Unary::Rsqrt, Op::Rsqrt),
        (Unary::Abs, Op::Abs),
        (Unary::Relu, Op::Activation(Activation::Relu)),
        (Unary::Gelu, Op::Activation(Activation::Gelu)),
        (Unary::GeluTanh, Op::Activation(Activation::GeluTanh)),
        (Unary::Sigmoid, Op::Activation(Activation::Sigmoid)),
        (Unary::Tanh, Op::Activation(Activation::Tanh)),
        (Unary::Silu, Op::Activation(Activation::Silu)),
        (Unary::LeakyRelu { slope: 0.125 }, Op::LeakyRelu(number(0.125))),
        (Unary::LeakyRelu { slope: -0.5 }, Op::LeakyRelu(number(-0.5))),
        (Unary::Elu { alpha: 1.5 }, Op::Elu(number(1.5))),
        (
            Unary::Softplus { beta: 2.5, threshold: 4.0 },
            Op::Softplus { beta: number(2.5), threshold: number(4.0) },
        ),
        (Unary::Hardtanh { min: -0.5, max: 3.0 }, Op::Hardtanh { min: number(-0.5), max: number(3.0) }),
        (Unary::LogSigmoid, Op::LogSigmoid),
        (Unary::Softshrink { lambda: 0.5 }, Op::Softshrink(number(0.5))),
        (Unary::SmoothL1 { beta: 1.5 }, Op::SmoothL1(number(1.5))),
    ]
}

/// Counts around whole vectors of four and whole workgroups of them.
#[test]
fn each_function() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[][..], &[3], &[4], &[5, 13], &[257], &[2, 2, 8, 11]] {
        for (function, op) in functions() {
            let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
            let mut x: Vec<f32> =
                data::uniform("x", shape.iter().product()).iter().map(|x| 6.0 * x).collect();
            if positive {
                x.iter_mut().for_each(|x| *x = x.abs() + 1e-3);
            }
            if x.len() > 3 {
                x[1] = f32::NAN;
                x[2] = if positive { 1.0 } else { 0.0 };
            }
            let x = f32_tensor(shape, x);
            let grad = seeded("grad", shape);
            let (at, of) = (array(&x), array(&grad));
            let reads = match op.gradient_reads() {
                GradientReads::Input => x,
                GradientReads::Output => {
                    let result = kiln_reference::unary(function, &at);
                    f32_tensor(shape, result.data.iter().map(|&y| y as f32).collect())
                }
            };
            let expected = kiln_reference::unary_grad(function, &at, &of);
            let bound = |(&x, grad): (&f64, &f64)| match x.is_nan() {
                true => 0.0,
                false => tolerance::unary_grad(function, x) * grad.abs(),
            };
            let bounds: Vec<f64> = at.data.iter().zip(&of.data).map(bound).collect();
            let what = format!("{function:?}' of {shape:?}");
            conforms(
                gpu,
                what,
                &[reads, grad],
                |g, v| g.apply(UnaryGrad { function: op }, v),
                &expected,
                &bounds,
            );
        }
    }
}
