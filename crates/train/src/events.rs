//! What a run tells of itself while it goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::progress::{Epoch, Score};

/// Something that happened in a run. As JSON, a map whose `event` names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Event {
    /// The run starts, or goes on.
    Started(Started),
    /// Some steps are done. Comes a few times a second, not for every step.
    Step(StepDone),
    /// The network is about to be tried on the validation part, or in the end on the test part.
    Evaluating {
        /// `validation` or `test`.
        part: &'static str,
        /// How many examples it has.
        examples: usize,
    },
    /// An epoch is done.
    Epoch(EpochDone),
    /// A checkpoint is on the disk.
    Saved {
        /// Its file.
        path: PathBuf,
        /// Steps that the network in it has made.
        step: u64,
    },
    /// The run has come to its end.
    Finished(Finished),
    /// The run was asked to stop, has saved where it stood, and can go on.
    Interrupted(Interrupted),
}

/// What a run starts with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Started {
    /// The run's folder.
    pub folder: PathBuf,
    /// The network's name.
    pub arch: String,
    /// Numbers that it learns.
    pub parameters: usize,
    /// Training examples.
    pub train: usize,
    /// Examples that are set aside; 0 for none.
    pub validation: usize,
    /// Test examples.
    pub test: usize,
    /// Epochs that the run is to have.
    pub epochs: u32,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Steps made before, where the run goes on.
    pub step: u64,
}

/// Where a run stands within an epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepDone {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// Epochs that the run is to have.
    pub epochs: u32,
    /// Steps of this epoch that are done.
    pub batch: usize,
    /// Steps of an epoch.
    pub batches: usize,
    /// Steps of the whole run that are done.
    pub step: u64,
    /// The learning rate.
    pub lr: f64,
    /// Loss and accuracy over the epoch so far.
    pub train: Score,
    /// Steps a second, lately.
    pub steps_per_second: f64,
    /// How long the remaining steps of the run will take at this rate, in seconds.
    #[serde(rename = "seconds_left", serialize_with = "seconds")]
    pub left: Duration,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochDone {
    /// Its line of `metrics.jsonl`.
    #[serde(flatten)]
    pub epoch: Epoch,
    /// Epochs that the run is to have.
    pub epochs: u32,
    /// How long it took.
    pub seconds: Seconds,
}

/// How long an epoch took, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Seconds {
    /// The steps.
    pub train: f64,
    /// The validation.
    pub validation: f64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finished {
    /// The run's folder.
    pub folder: PathBuf,
    /// The epoch whose network is `best.safetensors`, counted from 1.
    pub best_epoch: u32,
    /// Epochs that the run has had; fewer than it was to have where it stopped early.
    pub epochs: u32,
    /// Steps that it has made.
    pub steps: u64,
    /// How `best.safetensors` does on the test part.
    pub test: Score,
    /// The fraction of the test part that is wrong, where there is right and wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_error: Option<f64>,
    /// The checkpoint of the best epoch.
    pub best: PathBuf,
    /// The checkpoint of the last one.
    pub last: PathBuf,
}

/// Where a run was interrupted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interrupted {
    /// The run's folder, to be resumed.
    pub folder: PathBuf,
    /// The epoch it was in, counted from 1.
    pub epoch: u32,
    /// Steps made so far.
    pub step: u64,
    /// The checkpoint that it goes on from.
    pub checkpoint: PathBuf,
}

/// Somebody who is told of events: a closure, mostly.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);
}

impl<F: FnMut(&Event)> Observer for F {
    fn event(&mut self, event: &Event) {
        self(event);
    }
}

impl Event {
    pub(crate) fn saved(path: &Path, step: u64) -> Event {
        Event::Saved { path: path.to_owned(), step }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
