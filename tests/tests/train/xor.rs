//! The network `xor`, trained as it is by default.

use kiln_engine::{AdamOptions, Optimizer, RmsPropOptions, SgdOptions};
use kiln_models::cnn::Architecture;
use kiln_tests::device;
use kiln_tests::graph::f32_tensor;
use kiln_train::loader::Batch;
use kiln_train::schedule::Schedule;
use kiln_train::trainer::{Trainer, TrainerOptions};

use crate::support::architecture;

const SEEDS: u64 = 10;
/// As many epochs as the command makes; all four points are one batch.
const STEPS: u32 = 20;

/// The optimizer that a network names for itself.
fn optimizer(architecture: &Architecture) -> Optimizer {
    let training = architecture.training();
    let (own, decay) = (training.momentum, training.weight_decay);
    let mut optimizer = training.optimizer.parse().expect("the optimizer should be known");
    match &mut optimizer {
        Optimizer::Sgd(SgdOptions { momentum, weight_decay, .. })
        | Optimizer::RmsProp(RmsPropOptions { momentum, weight_decay, .. }) => {
            (*momentum, *weight_decay) = (own, decay)
        }
        Optimizer::Adam(AdamOptions { weight_decay, .. })
        | Optimizer::AdamW(AdamOptions { weight_decay, .. }) => {
            *weight_decay = decay;
        }
    }
    optimizer
}

/// All four points right, by ten seeds of ten.
#[test]
fn every_seed_learns_all_four_points() {
    let Some(gpu) = device::gpu() else { return };
    let architecture = architecture("xor");
    let points = Batch {
        index: 0,
        shape: [4, 2, 1, 1],
        images: vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
        labels: vec![0, 1, 1, 0],
        origins: vec![0, 1, 2, 3],
    };
    let training = architecture.training();
    let schedule: Schedule = training.schedule.parse().expect("the schedule should parse");
    let scheduler = schedule.start(training.lr, STEPS).expect("the schedule should start");
    let options = |seed| TrainerOptions {
        optimizer: optimizer(&architecture),
        clip: None,
        accumulate: 1,
        label_smoothing: 0.0,
        seed,
    };
    let learns = |seed: u64| {
        let mut trainer = Trainer::new(gpu, &architecture, options(seed)).expect("the options should do");
        trainer.initialize().expect("the parameters should be there");
        for step in 0..STEPS {
            trainer.step(&points, scheduler.rate(f64::from(step))).expect("the step should run");
        }
        let records = trainer.records().expect("the device should answer");
        let (first, last) = (&records[0], &records[records.len() - 1]);
        assert!(last.finite && last.loss < first.loss, "seed {seed}: {first:?}, {last:?}");
        // What the network itself says, not what training counted.
        let images = f32_tensor(&points.shape, points.images.clone());
        let outputs = trainer.outputs(&images).expect("the network should run");
        let outputs = outputs.as_f32().expect("outputs are f32");
        let said: Vec<u32> = outputs.iter().map(|&output| u32::from(output > 0.0)).collect();
        said == points.labels
    };
    let learned: Vec<u64> = (0..SEEDS).filter(|&seed| learns(seed)).collect();
    assert_eq!(learned.len() as u64, SEEDS, "seeds that learned all four points: {learned:?}");
}
