//! Ten steps of every optimizer.

use kiln_tests::{device, golden};
use kiln_train::schedule::Schedule;
use serde::Deserialize;

use crate::support::{Run, furthest};

/// How far a loss may be from PyTorch's, relatively. In f32 PyTorch itself is within 3e-7.
const BOUND: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    epochs: u32,
    steps_per_epoch: usize,
    curves: Vec<Curve>,
}

#[derive(Deserialize)]
struct Curve {
    name: String,
    #[serde(flatten)]
    run: Run,
    /// Of all gradients together, before clipping.
    norms: Vec<f64>,
    schedule: Option<String>,
    /// What the schedule gives.
    rates: Option<Vec<f64>>,
}

/// The rate of each step: the schedule's, which are PyTorch's to the last digits, or always the same.
fn rates(golden: &Golden, curve: &Curve) -> Vec<f64> {
    let base = curve.run.rate();
    let Some(words) = &curve.schedule else { return vec![base; curve.run.losses.len()] };
    let schedule: Schedule = words.parse().expect("the schedule should parse");
    let scheduler = schedule.start(base, golden.epochs).expect("the schedule should start");
    let time = |step: usize| step as f64 / golden.steps_per_epoch as f64;
    let rates: Vec<f64> = (0..curve.run.losses.len()).map(|step| scheduler.rate(time(step))).collect();
    let expected = curve.rates.as_ref().expect("a schedule should come with its rates");
    for (step, (rate, expected)) in rates.iter().zip(expected).enumerate() {
        assert!((rate - expected).abs() <= 1e-12 * base, "{words}, step {step}: {rate} for {expected}");
    }
    rates
}

fn follows(only: impl Fn(&str) -> bool) {
    let Some(gpu) = device::gpu() else { return };
    let golden: Golden = golden::json("train/curves.json");
    let mut found = 0;
    for curve in golden.curves.iter().filter(|curve| only(&curve.name)) {
        found += 1;
        let rates = rates(&golden, curve);
        let records = curve.run.train(gpu, |step| rates[step]);
        assert!(records.iter().all(|record| record.finite), "{}: {records:?}", curve.name);
        for (what, got, expected) in [
            ("loss", records.iter().map(|record| record.loss).collect::<Vec<_>>(), &curve.run.losses),
            ("norm", records.iter().map(|record| record.norm).collect(), &curve.norms),
        ] {
            let (off, step) = furthest(got.iter().copied(), expected);
            assert!(
                off <= BOUND,
                "{}: {what} of step {}: got {}, expected {} ({off:.1e} off)",
                curve.name,
                step + 1,
                got[step],
                expected[step]
            );
        }
    }
    assert!(found > 0, "the golden should have such curves");
}

#[test]
fn sgd() {
    follows(|name| {
        matches!(name, "sgd" | "sgd_momentum" | "sgd_dampening" | "sgd_nesterov" | "sgd_weight_decay")
    });
}

#[test]
fn adam() {
    follows(|name| name == "adam" || name == "adam_weight_decay");
}

#[test]
fn adamw() {
    follows(|name| name == "adamw");
}

#[test]
fn rmsprop() {
    follows(|name| name == "rmsprop" || name == "rmsprop_momentum");
}

#[test]
fn clipping() {
    follows(|name| name.ends_with("_clip"));
}

/// A batch in three parts of 4, 4 and 2 examples.
#[test]
fn accumulation() {
    follows(|name| name.starts_with("sgd_accumulate"));
}

#[test]
fn schedules() {
    follows(|name| name == "sgd_cosine" || name == "sgd_warmup");
}
