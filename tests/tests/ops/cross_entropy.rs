//! The cross-entropy of logits with labels, with class weights and label smoothing.

use kiln_engine::Tensor;
use kiln_engine::ops::CrossEntropy;
use kiln_tests::graph::{array, conforms, f32_tensor, u32_tensor};
use kiln_tests::tolerance::LOG_SOFTMAX;
use kiln_tests::{data, device};

/// Logits, labels, and class weights: the operands without the last ones are those without weights.
pub(crate) fn operands(rows: usize, classes: usize, scale: f32) -> [Tensor; 3] {
    let logits = data::uniform("logits", rows * classes).iter().map(|x| scale * x).collect();
    let weight = data::uniform("class weights", classes).iter().map(|x| x + 1.25).collect();
    [
        f32_tensor(&[rows, classes], logits),
        u32_tensor(&[rows], data::indices("labels", rows, classes)),
        f32_tensor(&[classes], weight),
    ]
}

fn check(operands: &[Tensor], label_smoothing: f32) {
    let Some(gpu) = device::gpu() else { return };
    let (logits, labels) = (array(&operands[0]), operands[1].as_u32().expect("labels should be u32"));
    let weight = operands.get(2).map(array);
    let smoothing = f64::from(label_smoothing);
    let expected = kiln_reference::cross_entropy(&logits, labels, weight.as_ref(), smoothing);
    let terms = kiln_reference::cross_entropy_terms(&logits, labels, weight.as_ref(), smoothing);
    let what = format!("{:?}, weights {}, smoothing {smoothing}", logits.shape, weight.is_some());
    let op = CrossEntropy { label_smoothing: kiln_engine::Scalar::new(label_smoothing) };
    conforms(gpu, what, operands, |g, v| g.apply(op, v), &expected, &LOG_SOFTMAX.bounds(&terms));
}

#[test]
fn rows_of_logits() {
    for (rows, classes) in [(1, 1), (1, 2), (7, 10), (100, 10), (9, 31), (5, 33), (3, 129), (67, 1000)] {
        let operands = operands(rows, classes, 5.0);
        for smoothing in [0.0, 0.1, 1.0] {
            check(&operands[..2], smoothing);
            check(&operands, smoothing);
        }
    }
}

#[test]
fn large_logits_do_not_overflow() {
    check(&operands(5, 50, 300.0), 0.0);
    check(&operands(5, 50, 300.0), 0.1);
}

/// More classes than a software driver lets one invocation loop over.
#[test]
fn long_rows() {
    check(&operands(2, 32_128, 5.0), 0.1);
    check(&operands(1, 70_001, 5.0), 0.0);
}

/// Where the label's probability is nearly 1 the loss is small, and keeps the digits that f32 has below 1.
#[test]
fn a_loss_next_to_zero() {
    let logits = f32_tensor(&[3, 3], vec![0.0, 9.0, -3.0, 14.0, 0.0, 0.0, -40.0, 0.0, -40.0]);
    check(&[logits, u32_tensor(&[3], vec![1, 0, 1])], 0.0);
}

#[test]
fn what_is_not_finite() {
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    let logits = f32_tensor(
        &[5, 3],
        [[nan, 0.0, 0.0], [-infinite, 1.0, 2.0], [-infinite, 1.0, 2.0], [infinite, 0.0, 0.0], [-infinite; 3]]
            .concat(),
    );
    // A label without any probability has an infinite loss; one beside it does not mind.
    check(&[logits, u32_tensor(&[5], vec![1, 0, 1, 0, 0])], 0.0);
}

/// A label that is no class gives NaN in its row, and reads no other row's logits.
#[test]
fn an_unknown_label_is_nan() {
    let [logits, _, weight] = operands(4, 10, 5.0);
    let labels = u32_tensor(&[4], vec![10, 3, u32::MAX, 9]);
    for smoothing in [0.0, 0.1] {
        check(&[logits.clone(), labels.clone()], smoothing);
        check(&[logits.clone(), labels.clone(), weight.clone()], smoothing);
    }
}
