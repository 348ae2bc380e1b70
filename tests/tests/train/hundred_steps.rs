//! A hundred steps from the same parameters over the same batches.

use kiln_tests::{device, golden};
use serde::Deserialize;

use crate::support::{Run, furthest};

/// How far a loss may be from PyTorch's, relatively. In f32 PyTorch itself is within 3e-6.
const BOUND: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    runs: Vec<Run>,
}

fn follows(network: &str) {
    let Some(gpu) = device::gpu() else { return };
    let golden: Golden = golden::json("train/hundred_steps.json");
    let run =
        golden.runs.iter().find(|run| run.network == network).expect("the golden should have this network");
    assert_eq!(run.losses.len(), 100);
    let records = run.train(gpu, |_| run.rate());
    let (off, step) = furthest(records.iter().map(|record| record.loss), &run.losses);
    assert!(
        off <= BOUND,
        "loss of step {}: got {}, expected {} ({off:.1e} off)",
        step + 1,
        records[step].loss,
        run.losses[step]
    );
}

#[test]
fn bn() {
    follows("bn");
}

#[test]
fn convnet() {
    follows("convnet");
}
