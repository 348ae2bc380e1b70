//! What a run needs of whatever learns.

use kiln_engine::Tensor;
use kiln_gpu::Gpu;
use kiln_models::cnn::Architecture;

use crate::TrainError;
use crate::config::RunConfig;
use crate::loader::{Batch, Loader};
use crate::state::State;
use crate::trainer::{Evaluation, StepRecord, Trainer, TrainerOptions};

/// Something that learns from batches: a [`Trainer`], or a stand-in for tests of the loop.
///
/// The same state and the same batches must give the same next state, bit for bit: on that, resuming relies.
pub trait Learner {
    /// Takes its first parameters, from its seed, and starts at step 0.
    ///
    /// # Errors
    /// Where the device fails.
    fn initialize(&mut self) -> Result<(), TrainError>;

    /// Parameters, statistics and the optimizer's state after all steps so far.
    ///
    /// # Errors
    /// Where the device fails.
    fn state(&mut self) -> Result<State, TrainError>;

    /// Goes on from a state.
    ///
    /// # Errors
    /// Where the state is that of another network or optimizer, or the device fails.
    fn restore(&mut self, state: &State) -> Result<(), TrainError>;

    /// Learns from a batch. It may come back before the device is done. After a step whose loss or gradient norm was not
    /// finite, further steps change nothing.
    ///
    /// # Errors
    /// Where the device fails.
    fn step(&mut self, batch: &Batch, rate: f64) -> Result<(), TrainError>;

    /// What the steps since the last call came to, in their order. It waits for the device.
    ///
    /// # Errors
    /// Where the device fails.
    fn records(&mut self) -> Result<Vec<StepRecord>, TrainError>;

    /// Loss, and for classes who was taken for whom, over all batches, without learning from them.
    ///
    /// # Errors
    /// Where a batch cannot be made, or the device fails.
    fn evaluate(&mut self, loader: Loader) -> Result<Evaluation, TrainError>;

    /// What the network gives for a batch, `[example][...]`.
    ///
    /// # Errors
    /// Where the device fails.
    fn outputs(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError>;
}

impl RunConfig {
    /// What a step of the run does besides the network.
    pub fn trainer_options(&self) -> TrainerOptions {
        TrainerOptions {
            optimizer: self.optimizer,
            clip: self.clip.map(|clip| clip as f32),
            accumulate: self.accumulate,
            label_smoothing: self.label_smoothing as f32,
            seed: self.seed,
        }
    }
}

/// Makes the [`Trainer`] of a run on a device: for [`Run::start`](crate::run::Run::start) and
/// [`Run::resume`](crate::run::Run::resume).
pub fn on(gpu: &Gpu) -> impl Fn(&RunConfig, &Architecture) -> Result<Trainer, TrainError> {
    move |config, network| Trainer::new(gpu, network, config.trainer_options())
}

impl Learner for Trainer {
    fn initialize(&mut self) -> Result<(), TrainError> {
        self.initialize()
    }

    fn state(&mut self) -> Result<State, TrainError> {
        self.state()
    }

    fn restore(&mut self, state: &State) -> Result<(), TrainError> {
        self.restore(state)
    }

    fn step(&mut self, batch: &Batch, rate: f64) -> Result<(), TrainError> {
        self.step(batch, rate)
    }

    fn records(&mut self) -> Result<Vec<StepRecord>, TrainError> {
        self.records()
    }

    fn evaluate(&mut self, loader: Loader) -> Result<Evaluation, TrainError> {
        self.evaluate(loader)
    }

    fn outputs(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        let images = Tensor::f32(batch.shape, batch.images.clone())?;
        Ok(self.outputs(&images)?.into_f32()?)
    }
}
