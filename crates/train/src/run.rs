//! A run: from data and a configuration to a trained network, in a folder of its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `config.toml` | all that is needed to repeat the run ([`RunConfig`]) |
//! | `metrics.jsonl` | a line an epoch ([`Epoch`] and its `seconds`), and in the end one of the test ([`Test`]) |
//! | `curves.svg` | loss and accuracy over the epochs |
//! | `last.safetensors` | the run after its last epoch, or where it was interrupted ([`Checkpoint`]) |
//! | `best.safetensors` | the run after the epoch with the best validation loss; after the last one where nothing is set aside |
//! | `confusion.png` | which class was taken for which on the test part |
//! | `reconstructions.png` | instead of it, for networks that reconstruct: test images, and below each what the network makes of it |
//!
//! A checkpoint is there before the first step, and from then on there is always a whole one: whenever the process is
//! killed, [`Run::resume`] goes on, and what comes out is the same, bit for bit, as if the run had never stopped. The
//! test part is looked at once, in the end, by the network of `best.safetensors`.

mod data;
mod finish;
mod folder;
mod lock;
mod metrics;
mod steps;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_models::cnn::{Architecture, Objective};

pub use data::{RunData, evaluation_data, fitted, looking};
pub(crate) use folder::{config_of, is_started};
pub use metrics::Test;
pub(crate) use metrics::test_of;

use crate::TrainError;
use crate::checkpoint::Checkpoint;
use crate::config::{RunConfig, RunOptions};
use crate::early_stop::Verdict;
use crate::events::{EpochDone, Event, Finished, Interrupted, Observer, Seconds, Started};
use crate::learner::Learner;
use crate::loader::Loader;
use crate::metrics::{Accuracy, RunningLoss};
use crate::plot;
use crate::progress::{Epoch, Progress, Score};
use crate::schedule::Scheduler;
use folder::{BEST, CONFIG, CURVES, Folder, LAST};
use metrics::Metrics;

/// A run that is ready to go, or to go on.
pub struct Run<L> {
    folder: Folder,
    config: RunConfig,
    data: RunData,
    learner: L,
    scheduler: Scheduler,
    progress: Progress,
    metrics: Metrics,
    /// Steps made by the network in the last checkpoint.
    saved: u64,
}

/// How a run is steered from outside.
pub struct Control<'a> {
    /// Asked after each step; where it says yes, the run saves and stops.
    pub interrupted: &'a dyn Fn() -> bool,
    /// A checkpoint is written in the middle of an epoch where the last one is older than this.
    pub save_every: Duration,
}

impl Default for Control<'_> {
    /// Never interrupted; a checkpoint every ten minutes.
    fn default() -> Self {
        Control { interrupted: &|| false, save_every: Duration::from_secs(600) }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All its epochs are done, or enough of them.
    Finished(Finished),
    /// It was interrupted and can be resumed.
    Interrupted(Interrupted),
}

impl<L: Learner> Run<L> {
    /// Refuses a folder in which [`start`](Self::start) would not start a run: to be asked before data are read.
    ///
    /// # Errors
    /// Where it holds something, with a hint where that is a run.
    pub fn check_folder(path: &Path) -> Result<(), TrainError> {
        folder::check_free(path)
    }

    /// Starts a run in an empty or new folder. `learner` makes the network
    /// ([`on`](crate::learner::on) a device).
    ///
    /// # Errors
    /// Where the folder holds something or cannot be written, the data cannot be read or do not suit the network, or the
    /// learner cannot be made.
    pub fn start(
        path: &Path,
        config: RunConfig,
        network: Architecture,
        learner: impl FnOnce(&RunConfig, &Architecture) -> Result<L, TrainError>,
    ) -> Result<Run<L>, TrainError> {
        folder::check_free(path)?;
        let data = RunData::open(&config, network)?;
        let scheduler = config.schedule.start(config.lr, config.epochs)?;
        let mut learner = learner(&config, &data.network)?;
        learner.initialize()?;
        let progress = Progress::new(scheduler.state(), config.early_stop);
        let folder = Folder::create(path)?;
        let metrics = Metrics::default();
        let mut run = Run { folder, config, data, learner, scheduler, progress, metrics, saved: 0 };
        run.save(true)?;
        run.folder.write(CONFIG, run.config.to_toml().as_bytes())?;
        Ok(run)
    }

    /// Goes on with the run in a folder, from its last checkpoint. Of the options `given` with it, all have to be those of
    /// the run, but for `data`: that may have moved, and has to be the same.
    ///
    /// # Errors
    /// Where there is no run, its checkpoint is damaged, the options or the data are others, or the learner cannot be made.
    pub fn resume(
        path: &Path,
        given: &RunOptions,
        learner: impl FnOnce(&RunConfig, &Architecture) -> Result<L, TrainError>,
    ) -> Result<Run<L>, TrainError> {
        let folder = Folder::open(path)?;
        let Checkpoint { config, network, normalization, classes, state, progress } =
            Checkpoint::read(&folder.file(LAST))?;
        let differences = config.differences(&network, given)?;
        if !differences.is_empty() {
            return Err(TrainError::OtherRun { folder: path.to_owned(), differences });
        }
        let moved = RunConfig { data: given.data.clone().unwrap_or(config.data.clone()), ..config.clone() };
        let data = RunData::open(&moved, network)?;
        if data.normalization != normalization || data.train.classes() != classes {
            let message = "the data are not those that it has learned from so far".to_owned();
            let differences = vec![format!("{}: {message}", moved.data.display())];
            return Err(TrainError::OtherRun { folder: path.to_owned(), differences });
        }
        let mut scheduler = config.schedule.start(config.lr, config.epochs)?;
        scheduler.restore(progress.plateau);
        let mut learner = learner(&config, &data.network)?;
        learner.restore(&state)?;
        let metrics = Metrics::read(&folder, progress.epochs.len());
        let saved = state.step;
        let run = Run { folder, config, data, learner, scheduler, progress, metrics, saved };
        run.folder.write(CONFIG, run.config.to_toml().as_bytes())?;
        Ok(run)
    }

    /// What the run was asked to do.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Goes on to the end, or until it is interrupted.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] where the loss is no number any more; and where the device fails or a file cannot be
    /// written. The checkpoints that were written stay.
    pub fn train(
        mut self,
        control: &Control<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        observer.event(&Event::Started(self.started()));
        let mut saved = Instant::now();
        while self.progress.epoch < self.config.epochs && !self.progress.stopped {
            let started = Instant::now();
            if let steps::End::Interrupted = self.steps(control, observer, &mut saved)? {
                return Ok(Outcome::Interrupted(self.interrupt(observer)?));
            }
            let train = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let validation = self.validate(observer)?;
            let seconds = Seconds { train, validation: started.elapsed().as_secs_f64() };
            self.end_epoch(validation, seconds, observer)?;
            saved = Instant::now();
        }
        Ok(Outcome::Finished(self.finish(observer)?))
    }

    /// Closes an epoch and puts it on the disk.
    fn end_epoch(
        &mut self,
        validation: Option<Score>,
        seconds: Seconds,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let rate = self.rate(self.data.batches(&self.config).saturating_sub(1));
        let train = self.score_so_far();
        let epoch = self.progress.epoch;
        self.scheduler.observe(validation.unwrap_or(train).loss);
        let verdict = validation.map(|validation| self.progress.early_stop.observe(epoch, validation.loss));
        let best = verdict.is_none_or(|verdict| verdict == Verdict::Better);
        let done = Epoch { epoch: epoch + 1, steps: self.steps_done(), lr: rate, train, validation, best };
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.progress.loss = RunningLoss::default();
        self.progress.accuracy = Accuracy::default();
        self.progress.plateau = self.scheduler.state();
        self.progress.stopped = verdict == Some(Verdict::Stop);
        self.progress.epochs.push(done.clone());
        self.metrics.push(seconds);
        self.metrics.write(&self.folder, &self.progress.epochs)?;
        let curves = plot::curves(&self.folder.file(CURVES), &self.progress.epochs)?;
        self.folder.write(CURVES, curves.as_bytes())?;
        let path = self.save(best)?;
        observer.event(&Event::Epoch(EpochDone { epoch: done, epochs: self.config.epochs, seconds }));
        observer.event(&Event::saved(&path, self.saved));
        Ok(())
    }

    /// How the network does on the part that was set aside, if any.
    fn validate(&mut self, observer: &mut dyn Observer) -> Result<Option<Score>, TrainError> {
        let Some(part) = self.data.validation.clone() else { return Ok(None) };
        observer.event(&Event::Evaluating { part: "validation", examples: part.len() });
        let loader = Loader::start(&part, &self.data.normalization, &looking(self.config.batch_size), 0, 0)?;
        let evaluation = self.learner.evaluate(loader)?;
        let batches = self.data.batches(&self.config);
        let rate = self.rate(batches.saturating_sub(1));
        if !evaluation.loss.is_finite() {
            return Err(self.not_finite(self.steps_done(), "validation loss", evaluation.loss, rate));
        }
        Ok(Some(self.score(evaluation.loss, evaluation.accuracy)))
    }

    /// Saves where the run stands between two steps.
    fn interrupt(&mut self, observer: &mut dyn Observer) -> Result<Interrupted, TrainError> {
        let checkpoint = self.save(false)?;
        observer.event(&Event::saved(&checkpoint, self.saved));
        let folder = self.folder.path().to_owned();
        let interrupted =
            Interrupted { folder, epoch: self.progress.epoch + 1, step: self.saved, checkpoint };
        observer.event(&Event::Interrupted(interrupted.clone()));
        Ok(interrupted)
    }

    /// Writes the last checkpoint, and the same as the best one where it is, or nothing tells which one is.
    fn save(&mut self, best: bool) -> Result<PathBuf, TrainError> {
        let state = self.learner.state()?;
        let checkpoint = Checkpoint {
            config: self.config.clone(),
            network: self.data.network.clone(),
            normalization: self.data.normalization.clone(),
            classes: self.data.train.classes().to_vec(),
            state,
            progress: self.progress.clone(),
        };
        let bytes = checkpoint.to_bytes()?;
        // The best one first: where the process dies in between, the last one makes it again.
        if best || self.data.validation.is_none() {
            self.folder.write(BEST, &bytes)?;
        }
        let path = self.folder.write(LAST, &bytes)?;
        self.saved = checkpoint.state.step;
        Ok(path)
    }

    fn started(&self) -> Started {
        let parameters = self.data.network.tensors().into_iter().filter(|spec| spec.trainable);
        Started {
            folder: self.folder.path().to_owned(),
            arch: self.data.network.name().to_owned(),
            parameters: parameters.map(|spec| spec.shape.iter().product::<usize>()).sum(),
            train: self.data.train.len(),
            validation: self.data.validation.as_ref().map_or(0, |part| part.len()),
            test: self.data.test.len(),
            epochs: self.config.epochs,
            steps_per_epoch: self.data.batches(&self.config),
            step: self.steps_done(),
        }
    }

    /// Steps of the whole run so far.
    fn steps_done(&self) -> u64 {
        let batches = self.data.batches(&self.config) as u64;
        u64::from(self.progress.epoch) * batches + self.progress.batch as u64
    }

    fn score_so_far(&self) -> Score {
        self.score(self.progress.loss.mean().unwrap_or(f64::NAN), self.progress.accuracy)
    }

    fn score(&self, loss: f64, accuracy: Accuracy) -> Score {
        Score { loss, accuracy: accuracy.fraction().filter(|_| self.tells_apart()) }
    }

    /// Whether there is right and wrong for the network.
    fn tells_apart(&self) -> bool {
        self.data.network.objective() != Objective::Reconstruction
    }

    fn not_finite(&self, step: u64, what: &'static str, value: f64, rate: f64) -> TrainError {
        TrainError::NotFinite {
            step,
            epoch: self.progress.epoch + 1,
            what,
            value,
            rate,
            checkpoint: self.folder.file(LAST),
            saved: self.saved,
        }
    }
}
