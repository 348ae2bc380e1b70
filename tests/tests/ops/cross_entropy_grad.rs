//! The gradient of the cross-entropy with respect to its logits.

use kiln_engine::ops::CrossEntropyGrad;
use kiln_engine::{Scalar, Tensor};
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded, u32_tensor};
use kiln_tests::tolerance::SOFTMAX;

use crate::cross_entropy::operands as forward_operands;

/// Those of the forward op with the rows' gradients between labels and weights.
fn operands(rows: usize, classes: usize, scale: f32) -> [Tensor; 4] {
    let [logits, labels, weight] = forward_operands(rows, classes, scale);
    [logits, labels, seeded("upstream", &[rows]), weight]
}

fn check(operands: &[Tensor], label_smoothing: f32) {
    let Some(gpu) = device::gpu() else { return };
    let (logits, labels) = (array(&operands[0]), operands[1].as_u32().expect("labels should be u32"));
    let (grad, weight) = (array(&operands[2]), operands.get(3).map(array));
    let smoothing = f64::from(label_smoothing);
    let expected = kiln_reference::cross_entropy_grad(&logits, labels, &grad, weight.as_ref(), smoothing);
    let terms = kiln_reference::cross_entropy_grad_terms(&logits, labels, &grad, weight.as_ref(), smoothing);
    let what = format!("{:?}, weights {}, smoothing {smoothing}", logits.shape, weight.is_some());
    let op = CrossEntropyGrad { label_smoothing: Scalar::new(label_smoothing) };
    conforms(gpu, what, operands, |g, v| g.apply(op, v), &expected, &SOFTMAX.bounds(&terms));
}

#[test]
fn rows_of_logits() {
    for (rows, classes) in [(1, 1), (1, 2), (7, 10), (100, 10), (9, 31), (5, 33), (3, 129), (67, 1000)] {
        let operands = operands(rows, classes, 5.0);
        for smoothing in [0.0, 0.1, 1.0] {
            check(&operands[..3], smoothing);
            check(&operands, smoothing);
        }
    }
}

#[test]
fn large_logits_do_not_overflow() {
    check(&operands(5, 50, 300.0), 0.1);
}

/// More classes than a software driver lets one invocation loop over.
#[test]
fn long_rows() {
    check(&operands(2, 32_128, 5.0), 0.1);
}

#[test]
fn an_unknown_label_makes_its_row_nan() {
    let [logits, _, grad, weight] = operands(4, 10, 5.0);
    let labels = u32_tensor(&[4], vec![10, 3, u32::MAX, 9]);
    for smoothing in [0.0, 0.1] {
        check(&[logits.clone(), labels.clone(), grad.clone()], smoothing);
        check(&[logits.clone(), labels.clone(), grad.clone(), weight.clone()], smoothing);
    }
}
