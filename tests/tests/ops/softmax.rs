//! Softmax with an additive mask, and its logarithm.

use kiln_engine::ops::Softmax;
use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::tolerance::{LOG_SOFTMAX, SOFTMAX};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, in_range, operands};

fn check(shape: &[usize], dim: usize, mask: Option<(&[usize], f32)>, scale: f32) {
    let Some(gpu) = device::gpu() else { return };
    let scaled = |name: &str, shape: &[usize], scale: f32| {
        let numbers = data::uniform(name, shape.iter().product());
        f32_tensor(shape, numbers.iter().map(|x| scale * x).collect())
    };
    let mut operands = vec![scaled("x", shape, scale)];
    if let Some((shape, value)) = mask {
        let numbers: Vec<f32> = data::uniform("mask", shape.iter().product())
            .iter()
            .enumerate()
            .map(|(i, &x)| if i > 0 && x > 0.5 { value } else { x })
            .collect();
        operands.push(f32_tensor(shape, numbers));
    }
    let x = array(&operands[0]);
    let mask = operands.get(1).map(array);
    let expected = kiln_reference::softmax(&x, mask.as_ref(), dim);
    let bounds = SOFTMAX.bounds(&kiln_reference::softmax_terms(&x, mask.as_ref(), dim));
    let what = format!("over {dim} of {shape:?}, mask {:?}", mask.as_ref().map(|mask| &mask.shape));
    conforms(gpu, &what, &operands, |g, v| g.softmax(v[0], v.get(1).copied(), dim), &expected, &bounds);
    let expected = kiln_reference::log_softmax(&x, mask.as_ref(), dim);
    let bounds = LOG_SOFTMAX.bounds(&kiln_reference::log_softmax_terms(&x, mask.as_ref(), dim));
    let what = format!("log {what}");
    conforms(gpu, what, &operands, |g, v| g.apply(Softmax { dim, log: true }, v), &expected, &bounds);
}

#[test]
fn over_each_dimension() {
    for (shape, dim) in [
        (&[1][..], 0),
        (&[67], 0),
        (&[9, 31], 1),
        (&[9, 31], 0),
        (&[3, 5, 129], 2),
        (&[3, 5, 129], 1),
        (&[3, 5, 129], 0),
        (&[2, 3, 8, 33], 2),
    ] {
        check(shape, dim, None, 5.0);
    }
}

#[test]
fn masks_broadcast() {
    let shape = [2, 3, 7, 33];
    for mask in [&[2, 3, 7, 33][..], &[33], &[7, 1], &[3, 1, 33], &[2, 1, 1, 33], &[2, 1, 7, 1], &[]] {
        for dim in [1, 3] {
            check(&shape, dim, Some((mask, -1e9)), 3.0);
        }
    }
    check(&[5, 40], 1, Some((&[40], f32::NEG_INFINITY)), 3.0);
}

#[test]
fn large_scores_do_not_overflow() {
    check(&[3, 50], 1, None, 300.0);
}

/// Rows beyond what a software driver lets one invocation loop: Mesa's llvmpipe stops all loops of an invocation, in
/// silence, after 65,535 iterations in total. 32,128 is T5's vocabulary.
#[test]
fn long_rows() {
    check(&[2, 32_128], 1, None, 5.0);
    check(&[1, 70_001], 1, Some((&[70_001], -1e9)), 5.0);
    check(&[70_001, 2], 0, None, 5.0);
}

#[derive(Deserialize)]
struct Attributes {
    dim: usize,
}

#[test]
fn as_in_pytorch() {
    for (op, log) in [("softmax", false), ("log_softmax", true)] {
        for case in golden::op_cases(op) {
            let Attributes { dim } = case.attributes();
            let (x, mask) = (&case.inputs[0], case.inputs.get(1));
            let (made, bounds) = if log {
                let terms = kiln_reference::log_softmax_terms(x, mask, dim);
                (kiln_reference::log_softmax(x, mask, dim), LOG_SOFTMAX.bounds(&terms))
            } else {
                let terms = kiln_reference::softmax_terms(x, mask, dim);
                (kiln_reference::softmax(x, mask, dim), SOFTMAX.bounds(&terms))
            };
            assert_oracle(&case, &made);
            let Some(gpu) = device::gpu() else { continue };
            let expected = in_range(&case.output);
            let operands = operands(&case);
            conforms(gpu, &case.name, &operands, |g, v| g.apply(Softmax { dim, log }, v), &expected, &bounds);
        }
    }
}
