//! What a run is asked to do.
//!
//! [`RunOptions`] is what somebody says: some options, in any form that a command line or a file gives. With what the
//! network has for defaults they become a [`RunConfig`], in which everything is settled: it is written beside the
//! run as `config.toml`, and a checkpoint carries it. Its options read back as the same run.

mod compare;
mod optimizer;
mod options;
mod resolve;

use std::fmt::Write as _;
use std::path::PathBuf;

use kiln_engine::Optimizer;
use kiln_models::cnn::Architecture;
use serde::{Deserialize, Serialize};

pub(crate) use options::toml_message;
pub use options::{RunOptions, ScheduleBy};

use crate::TrainError;
use crate::augment::Augmentation;
use crate::schedule::Schedule;

/// All that decides what a run comes to: the same configuration and the same data give the same checkpoint, byte for
/// byte, on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "RunOptions", try_from = "RunOptions")]
pub struct RunConfig {
    /// The network's name.
    pub arch: String,
    /// The network's description, where it comes from a file and not with Kiln.
    pub architecture: Option<String>,
    /// The activation that takes the place of the network's own.
    pub activation: Option<String>,
    /// Where the data are: a folder, or a word that stands for a data set.
    pub data: PathBuf,
    /// How many training examples are left out at the start.
    pub train_offset: usize,
    /// How many training examples are taken after these; all that are left where there is none.
    pub train_limit: Option<usize>,
    /// The fraction of these that is set aside for validation; 0 for none.
    pub validation: f64,
    /// How often the training examples are gone through.
    pub epochs: u32,
    /// Examples in a step; the last step of an epoch has what is left.
    pub batch_size: usize,
    /// In how many parts a batch is computed.
    pub accumulate: usize,
    /// How parameters follow from gradients.
    pub optimizer: Optimizer,
    /// The learning rate that the schedule starts from.
    pub lr: f64,
    /// How the rate changes.
    pub schedule: Schedule,
    /// When it does.
    pub schedule_by: ScheduleBy,
    /// How examples are changed by chance.
    pub augment: Augmentation,
    /// Epochs without a better validation loss after which the run stops.
    pub early_stop: Option<u32>,
    /// The most that the norm of all gradients may be.
    pub clip: Option<f64>,
    /// How much of each label is spread over all classes.
    pub label_smoothing: f64,
    /// Decides first parameters, order, augmentation, dropout, and what is set aside.
    pub seed: u64,
}

impl RunConfig {
    /// The network, with the activation that was asked for.
    ///
    /// # Errors
    /// Where there is none of that name, or its description or the activation is not what it should be.
    pub fn network(&self) -> Result<Architecture, TrainError> {
        resolve::network(&self.arch, self.architecture.as_deref(), self.activation.as_deref())
    }

    /// Every option as it is settled.
    pub fn options(&self) -> RunOptions {
        RunOptions::from(self.clone())
    }

    /// The text of `config.toml`.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# All that decides what this run came to.\n\n");
        let options = toml::to_string(self).expect("options should be what TOML can hold");
        let _ = write!(text, "{options}");
        text
    }

    /// Reads the text of `config.toml`; `origin` stands for it in messages.
    ///
    /// # Errors
    /// Where it is no TOML, an option is not known or lacking, or one has an impossible value.
    pub fn parse(text: &str, origin: &str) -> Result<RunConfig, TrainError> {
        RunOptions::parse(text, origin)?
            .settle(None)
            .map_err(|error| TrainError::config(origin, error.to_string()))
    }
}

#[cfg(test)]
mod tests;
