//! The gradient of the cross-entropy by its logits.

use kiln_engine::ops::CrossEntropy;
use kiln_engine::{DType, GraphBuilder, Scalar};
use kiln_tests::data;
use kiln_tests::device;
use kiln_tests::gradient::conforms;
use kiln_tests::graph::{seeded, u32_tensor};

#[test]
fn by_the_logits() {
    let Some(gpu) = device::gpu() else { return };
    for (rows, classes) in [(1, 2), (7, 10), (5, 33)] {
        let labels = data::indices("labels", rows, classes);
        let weight: Vec<f32> = data::uniform("weight", classes).iter().map(|x| x + 1.25).collect();
        let weights = kiln_reference::Array::from_f32(&[classes], &weight);
        for (weighted, smoothing) in [(false, 0.0f32), (true, 0.25), (false, 0.25), (true, 0.0)] {
            let operands = [seeded("logits", &[rows, classes]), u32_tensor(&[rows], labels.clone())];
            conforms(
                gpu,
                format!("{rows}x{classes}, weights {weighted}, smoothing {smoothing}"),
                &operands,
                |g, v| {
                    let mut inputs = v.to_vec();
                    if weighted {
                        inputs.push(g.literal(&[classes], &weight)?);
                    }
                    g.apply(CrossEntropy { label_smoothing: Scalar::new(smoothing) }, &inputs)
                },
                |x| {
                    let weights = weighted.then_some(&weights);
                    kiln_reference::cross_entropy(&x[0], &labels, weights, smoothing.into())
                },
            );
        }
    }
}

#[test]
fn class_weights_have_none() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[4, 3], DType::F32);
    let labels = g.input("labels", &[4], DType::U32);
    let weight = g.variable("weight", &[3], DType::F32);
    let op = CrossEntropy { label_smoothing: Scalar::new(0.0) };
    let losses = g.apply(op, &[x, labels, weight]).expect("the shapes fit");
    let loss = g.sum(losses, &[0], false).expect("a sum of rows");
    let error = g.gradients(loss, &[weight]).expect_err("class weights have no gradient");
    assert!(error.to_string().contains("no gradient of the class weights"), "{error}");
}
