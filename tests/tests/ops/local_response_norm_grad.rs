//! The gradient of local response normalisation.

use kiln_engine::Scalar;
use kiln_engine::ops::{LocalResponseNorm, LocalResponseNormGrad};
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::LOCAL_RESPONSE_NORM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, decimal, operands};

fn check(shape: &[usize], size: usize, alpha: f32, beta: f32, k: f32) {
    let Some(gpu) = device::gpu() else { return };
    let mut x: Vec<f32> = data::uniform("x", shape.iter().product()).iter().map(|x| 20.0 * x).collect();
    if x.len() > 2 {
        x[1] = f32::NAN; // fills the windows that it is in, and what these see
    }
    let operands = [f32_tensor(shape, x), seeded("grad", shape)];
    let [x, grad] = [array(&operands[0]), array(&operands[1])];
    let wide = kiln_reference::LocalResponseNorm {
        size,
        alpha: f64::from(alpha),
        beta: f64::from(beta),
        k: f64::from(k),
    };
    let expected = kiln_reference::local_response_norm_grad(&x, &grad, &wide);
    let terms = kiln_reference::local_response_norm_grad_terms(&x, &grad, &wide);
    let [alpha, beta, k] = [alpha, beta, k].map(Scalar::new);
    let op = LocalResponseNormGrad { forward: LocalResponseNorm { size, alpha, beta, k } };
    let what = format!("{shape:?}, {op:?}");
    conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected, &LOCAL_RESPONSE_NORM.bounds(&terms));
}

#[test]
fn shapes() {
    for shape in [
        &[1, 1, 1][..],
        &[2, 7, 31],
        &[3, 8, 33],
        &[2, 9, 6, 7],
        &[1, 17, 13, 5],
        &[1, 3, 2, 3, 5],
        &[70, 2, 3],
    ] {
        check(shape, 5, 1e-4, 0.75, 2.0);
        check(shape, 5, 2.0, 0.75, 1.0);
    }
}

/// Odd and even, of which the even ones see one channel more before than after.
#[test]
fn windows() {
    for size in 1..=LocalResponseNormGrad::LONGEST {
        check(&[2, 19, 5, 2], size, 3.0, 0.75, 1.0);
    }
    for beta in [0.25, 0.5, 1.0, 2.0, -1.0] {
        check(&[2, 9, 5, 5], 3, 0.1, beta, 0.5);
    }
}

#[derive(Deserialize)]
struct Attributes {
    size: usize,
    alpha: f32,
    beta: f32,
    k: f32,
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("local_response_norm_grad") {
        let Attributes { size, alpha, beta, k } = case.attributes();
        let wide = kiln_reference::LocalResponseNorm {
            size,
            alpha: decimal(alpha),
            beta: decimal(beta),
            k: decimal(k),
        };
        let (x, grad) = (&case.inputs[0], &case.inputs[1]);
        assert_oracle(&case, &kiln_reference::local_response_norm_grad(x, grad, &wide));
        let Some(gpu) = device::gpu() else { continue };
        let terms = kiln_reference::local_response_norm_grad_terms(x, grad, &wide);
        let [alpha, beta, k] = [alpha, beta, k].map(Scalar::new);
        let op = LocalResponseNormGrad { forward: LocalResponseNorm { size, alpha, beta, k } };
        let bounds = LOCAL_RESPONSE_NORM.bounds(&terms);
        let operands = operands(&case);
        conforms(gpu, &case.name, &operands, |g, v| g.apply(op, v), &case.output, &bounds);
    }
}
