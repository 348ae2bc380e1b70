//! Local response normalisation.

use kiln_engine::ops::LocalResponseNorm;
use kiln_engine::{GraphBuilder, Scalar, Value};
use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::tolerance::LOCAL_RESPONSE_NORM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, decimal, operands};

fn check(shape: &[usize], size: usize, alpha: f32, beta: f32, k: f32) {
    let Some(gpu) = device::gpu() else { return };
    let mut x: Vec<f32> = data::uniform("x", shape.iter().product()).iter().map(|x| 20.0 * x).collect();
    if x.len() > 2 {
        x[1] = f32::NAN; // fills the windows that it is in
    }
    let operands = [f32_tensor(shape, x)];
    let x = array(&operands[0]);
    let wide = kiln_reference::LocalResponseNorm {
        size,
        alpha: f64::from(alpha),
        beta: f64::from(beta),
        k: f64::from(k),
    };
    let expected = kiln_reference::local_response_norm(&x, &wide);
    let bounds = LOCAL_RESPONSE_NORM.bounds(&kiln_reference::local_response_norm_terms(&x, &wide));
    let [alpha, beta, k] = [alpha, beta, k].map(Scalar::new);
    let options = LocalResponseNorm { size, alpha, beta, k };
    let what = format!("{shape:?}, {options:?}");
    conforms(gpu, what, &operands, |g, v| g.local_response_norm(v[0], options), &expected, &bounds);
}

/// AlexNet's, on planes of every form.
#[test]
fn shapes() {
    for shape in [
        &[1, 1, 1][..],
        &[2, 7, 31],
        &[3, 5, 33],
        &[2, 3, 6, 7],
        &[1, 11, 17, 31],
        &[1, 3, 2, 3, 5],
        &[70, 2, 3],
    ] {
        check(shape, 5, 1e-4, 0.75, 2.0);
        check(shape, 5, 2.0, 0.75, 1.0);
    }
}

#[test]
fn windows() {
    for size in [1, 2, 3, 4, 9, 10, 25, 100_000] {
        check(&[2, 9, 5, 5], size, 3.0, 0.75, 1.0);
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
    for case in golden::op_cases("local_response_norm") {
        let Attributes { size, alpha, beta, k } = case.attributes();
        let wide = kiln_reference::LocalResponseNorm {
            size,
            alpha: decimal(alpha),
            beta: decimal(beta),
            k: decimal(k),
        };
        assert_oracle(&case, &kiln_reference::local_response_norm(&case.inputs[0], &wide));
        let Some(gpu) = device::gpu() else { continue };
        let terms = kiln_reference::local_response_norm_terms(&case.inputs[0], &wide);
        let mut options = LocalResponseNorm::new(size);
        if (alpha, beta, k) != (1e-4, 0.75, 1.0) {
            let [alpha, beta, k] = [alpha, beta, k].map(Scalar::new);
            options = LocalResponseNorm { alpha, beta, k, ..options };
        }
        let bounds = LOCAL_RESPONSE_NORM.bounds(&terms);
        let operands = operands(&case);
        let build = |g: &mut GraphBuilder, v: &[Value]| g.local_response_norm(v[0], options);
        conforms(gpu, &case.name, &operands, build, &case.output, &bounds);
    }
}
