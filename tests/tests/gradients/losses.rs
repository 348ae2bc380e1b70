//! The gradients of the losses that are composed of other ops.

use kiln_engine::{CrossEntropyOptions, LossReduction, MultiMarginOptions};
use kiln_reference::Array;
use kiln_tests::gradient::conforms;
use kiln_tests::graph::{f32_tensor, seeded, u32_tensor};
use kiln_tests::{data, device};

const ROWS: usize = 6;
const CLASSES: usize = 5;

fn mean(losses: &Array, total: f64) -> Array {
    Array::new(&[], vec![losses.data.iter().sum::<f64>() / total])
}

fn labels() -> Vec<u32> {
    data::indices("labels", ROWS, CLASSES)
}

fn weight() -> Vec<f32> {
    data::uniform("weight", CLASSES).iter().map(|x| x + 1.25).collect()
}

#[test]
fn of_labels() {
    let Some(gpu) = device::gpu() else { return };
    let (labels, weight) = (labels(), weight());
    let weights = Array::from_f32(&[CLASSES], &weight);
    let total: f64 = kiln_reference::label_weights(&labels, Some(&weights), CLASSES).data.iter().sum();
    // Multiples of a quarter off by a sixteenth: no hinge bends within a difference's step.
    let scores = data::uniform("scores", ROWS * CLASSES).into_iter().enumerate();
    let scores = scores.map(|(i, x)| (8.0 * x).round() / 4.0 + (i % CLASSES) as f32 / 32.0).collect();
    let operands = [f32_tensor(&[ROWS, CLASSES], scores), u32_tensor(&[ROWS], labels.clone())];
    conforms(
        gpu,
        "mean cross-entropy",
        &operands,
        |g, v| {
            let weight = Some(g.literal(&[CLASSES], &weight)?);
            let reduction = LossReduction::Mean;
            g.cross_entropy(v[0], v[1], CrossEntropyOptions { weight, label_smoothing: 0.125, reduction })
        },
        |x| mean(&kiln_reference::cross_entropy(&x[0], &labels, Some(&weights), 0.125), total),
    );
    conforms(
        gpu,
        "mean nll",
        &operands,
        |g, v| {
            let weight = g.literal(&[CLASSES], &weight)?;
            g.nll_loss(v[0], v[1], Some(weight), LossReduction::Mean)
        },
        |x| mean(&kiln_reference::nll_loss(&x[0], &labels, Some(&weights)), total),
    );
    for p in [1, 2] {
        conforms(
            gpu,
            format!("multi-margin of power {p}"),
            &operands,
            |g, v| {
                let weight = Some(g.literal(&[CLASSES], &weight)?);
                let reduction = LossReduction::None;
                g.multi_margin_loss(v[0], v[1], MultiMarginOptions { p, margin: 0.875, weight, reduction })
            },
            |x| kiln_reference::multi_margin_loss(&x[0], &labels, p as i32, 0.875, Some(&weights)),
        );
    }
}

#[test]
fn of_targets() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[3, 4, 5]), seeded("target", &[3, 4, 5])];
    let none = LossReduction::None;
    conforms(
        gpu,
        "mse",
        &operands,
        |g, v| g.mse_loss(v[0], v[1], none),
        |x| kiln_reference::mse_loss(&x[0], &x[1]),
    );
    conforms(
        gpu,
        "l1",
        &operands,
        |g, v| g.l1_loss(v[0], v[1], none),
        |x| kiln_reference::l1_loss(&x[0], &x[1]),
    );
    conforms(
        gpu,
        "smooth l1",
        &operands,
        |g, v| g.smooth_l1_loss(v[0], v[1], 0.5, LossReduction::Mean),
        |x| mean(&kiln_reference::smooth_l1_loss(&x[0], &x[1], 0.5), 60.0),
    );
}

#[test]
fn of_binary_targets() {
    let Some(gpu) = device::gpu() else { return };
    let logits = data::uniform("logits", ROWS * CLASSES).iter().map(|x| 5.0 * x).collect();
    let target = data::uniform("target", ROWS * CLASSES).iter().map(|x| 0.5 * x + 0.5).collect();
    let operands = [f32_tensor(&[ROWS, CLASSES], logits), f32_tensor(&[ROWS, CLASSES], target)];
    let weight = weight();
    let weights = Array::from_f32(&[CLASSES], &weight);
    conforms(
        gpu,
        "binary cross-entropy",
        &operands,
        |g, v| {
            let weight = g.literal(&[CLASSES], &weight)?;
            g.bce_with_logits(v[0], v[1], Some(weight), LossReduction::None)
        },
        |x| kiln_reference::bce_with_logits(&x[0], &x[1], Some(&weights)),
    );
}
