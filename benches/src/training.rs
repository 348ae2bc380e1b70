//! A network in training, to be measured.

use std::time::Instant;

use kiln_engine::{Optimizer, SgdOptions};
use kiln_gpu::Gpu;
use kiln_models::cnn::Architecture;
use kiln_train::loader::Batch;
use kiln_train::trainer::{Trainer, TrainerOptions};

use crate::{Failure, numbers};

/// A network in training, and the batch that it sees again and again: what the numbers are does not matter to the speed.
pub struct Training {
    name: String,
    trainer: Trainer,
    batch: Batch,
    steps: usize,
}

impl Training {
    /// A network by its name, in steps of `batch` examples; `steps` of them are a sample.
    ///
    /// # Errors
    /// For an unknown name, and where the device has no room for it.
    pub fn new(gpu: &Gpu, name: &str, batch: usize, steps: usize) -> Result<Training, Failure> {
        let architecture = Architecture::by_name(name)?;
        let [channels, height, width] = architecture.input();
        let shape = [batch, channels, height, width];
        let classes = architecture.outputs().max(2);
        let batch = Batch {
            index: 0,
            shape,
            images: numbers(shape.iter().product()),
            labels: (0..batch).map(|example| (example % classes) as u32).collect(),
            origins: (0..batch as u32).collect(),
        };
        let sgd = SgdOptions { momentum: 0.9, ..SgdOptions::default() };
        let settings = TrainerOptions::new(Optimizer::Sgd(sgd));
        let mut trainer = Trainer::new(gpu, &architecture, settings)?;
        trainer.initialize()?;
        Ok(Training { name: name.to_owned(), trainer, batch, steps })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Milliseconds of a step: the mean of a sample, which ends when the device has made all of it.
    ///
    /// # Errors
    /// A failure of the device, or a loss that is not finite.
    pub fn sample(&mut self) -> Result<f64, Failure> {
        let start = Instant::now();
        for _ in 0..self.steps {
            self.trainer.step(&self.batch, 1e-3)?;
        }
        let records = self.trainer.records()?;
        let took = start.elapsed().as_secs_f64() * 1e3 / self.steps as f64;
        match records.iter().find(|record| !record.finite) {
            Some(record) => Err(format!("{}: {record:?}", self.name).into()),
            None => Ok(took),
        }
    }

    /// Examples a second.
    pub fn rate(&self, milliseconds: f64) -> f64 {
        self.batch.labels.len() as f64 * 1e3 / milliseconds
    }
}
