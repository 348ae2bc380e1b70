//! How far a run has come.

use serde::{Deserialize, Serialize};

use crate::early_stop::EarlyStop;
use crate::metrics::{Accuracy, RunningLoss};
use crate::schedule::PlateauState;

/// Where a run stands between two steps; with the [`State`](crate::state::State) all that it takes to go on. A checkpoint
/// carries it. No time is in it, so that equal runs give equal checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// How many epochs are done.
    pub epoch: u32,
    /// How many batches of the next one are.
    pub batch: usize,
    /// Their loss.
    pub loss: RunningLoss,
    /// Their accuracy.
    pub accuracy: Accuracy,
    /// What the schedule remembers.
    pub plateau: PlateauState,
    /// Which epoch was the best, and how long ago.
    pub early_stop: EarlyStop,
    /// Whether the run has stopped before all its epochs.
    pub stopped: bool,
    /// What the epochs so far came to.
    pub epochs: Vec<Epoch>,
}

/// What one epoch came to: a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Which one, counted from 1.
    pub epoch: u32,
    /// Steps made in the whole run until its end.
    pub steps: u64,
    /// The learning rate of its last step.
    pub lr: f64,
    /// How the network did on the training examples while it learned from them.
    pub train: Score,
    /// How it did on the validation part afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Score>,
    /// Whether its validation loss was the best so far; where nothing is set aside, each epoch is.
    pub best: bool,
}

/// How a network does on some examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean loss of an example.
    pub loss: f64,
    /// The fraction that is right, where there is right and wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Progress {
    /// At the start of a run.
    pub fn new(plateau: PlateauState, patience: Option<u32>) -> Progress {
        Progress {
            epoch: 0,
            batch: 0,
            loss: RunningLoss::default(),
            accuracy: Accuracy::default(),
            plateau,
            early_stop: EarlyStop::new(patience),
            stopped: false,
            epochs: Vec::new(),
        }
    }
}
