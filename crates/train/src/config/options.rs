//! Options as they are said, each of them or none.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{RunConfig, optimizer};
use crate::TrainError;
use crate::augment::Augmentation;
use crate::schedule::Schedule;

/// What is asked of a run. What is left out follows from the network ([`RunOptions::resolve`]). In TOML, as in
/// `config.toml` and in the file of a sweep, the options are keys of the same names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunOptions {
    /// A network's name, or the file that describes one (ends in `.toml`).
    pub arch: Option<String>,
    /// The description itself, under the name that `arch` gives.
    pub architecture: Option<String>,
    /// An activation for the place of the network's own: `relu`, `sigmoid`, ...
    pub activation: Option<String>,
    /// The folder of the data, or a word that stands for a data set (`fashion-mnist`, `xor`).
    pub data: Option<PathBuf>,
    /// Training examples to leave out at the start. Default 0.
    pub train_offset: Option<usize>,
    /// Training examples to take after these. Default all.
    pub train_limit: Option<usize>,
    /// The fraction of these to set aside for validation. Default 0.
    pub validation: Option<f64>,
    /// Default 20.
    pub epochs: Option<u32>,
    /// Default 100.
    pub batch_size: Option<usize>,
    /// In how many parts to compute a batch. Default 1.
    pub accumulate: Option<usize>,
    /// `sgd`, `adam`, `adamw` or `rmsprop`. Default that of the network.
    pub optimizer: Option<String>,
    /// The learning rate at the start. Default that of the network, or for another optimizer than the network's that of
    /// the optimizer.
    pub lr: Option<f64>,
    /// For `sgd` and `rmsprop`. Default as for `lr`.
    pub momentum: Option<f64>,
    /// For `sgd`. Default false.
    pub nesterov: Option<bool>,
    /// Default as for `lr`.
    pub weight_decay: Option<f64>,
    /// For `adam` and `adamw`. Default 0.9.
    pub beta1: Option<f64>,
    /// For `adam` and `adamw`. Default 0.999.
    pub beta2: Option<f64>,
    /// For all but `sgd`. Default 1e-8.
    pub eps: Option<f64>,
    /// For `rmsprop`. Default 0.99.
    pub alpha: Option<f64>,
    /// Default that of the network.
    #[serde(with = "words")]
    pub schedule: Option<Schedule>,
    /// Default by epochs.
    pub schedule_by: Option<ScheduleBy>,
    /// Default none.
    #[serde(with = "words")]
    pub augment: Option<Augmentation>,
    /// Epochs without a better validation loss to bear. Default all.
    pub early_stop: Option<u32>,
    /// The most that the norm of all gradients may be. Default no limit.
    pub clip: Option<f64>,
    /// From 0 to below 1. Default 0.
    pub label_smoothing: Option<f64>,
    /// Default 0.
    pub seed: Option<u64>,
}

/// When a schedule changes the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleBy {
    /// Before each epoch, as a PyTorch scheduler that steps once an epoch.
    #[default]
    Epoch,
    /// Before each step, as one that steps with every batch: a warm-up and a cosine go smoothly.
    Step,
}

impl RunOptions {
    /// Reads options in TOML; `origin` stands for the text in messages.
    ///
    /// # Errors
    /// Where it is no TOML, or an option is not known or has a value of another kind.
    pub fn parse(text: &str, origin: &str) -> Result<RunOptions, TrainError> {
        toml::from_str(text).map_err(|error| TrainError::config(origin, toml_message(text, &error)))
    }
}

/// The message of an error as one line that begins with the line of the text.
pub(crate) fn toml_message(text: &str, error: &toml::de::Error) -> String {
    let message: Vec<&str> = error.message().split_whitespace().collect();
    match error.span() {
        Some(span) if !text.is_empty() => {
            let line = text[..span.start.min(text.len())].lines().count().max(1);
            let starts_line = text[..span.start.min(text.len())].ends_with('\n');
            format!("line {}: {}", line + usize::from(starts_line), message.join(" "))
        }
        _ => message.join(" "),
    }
}

impl From<RunConfig> for RunOptions {
    fn from(config: RunConfig) -> RunOptions {
        let mut options = RunOptions {
            arch: Some(config.arch),
            architecture: config.architecture,
            activation: config.activation,
            data: Some(config.data),
            train_offset: Some(config.train_offset),
            train_limit: config.train_limit,
            validation: Some(config.validation),
            epochs: Some(config.epochs),
            batch_size: Some(config.batch_size),
            accumulate: Some(config.accumulate),
            lr: Some(config.lr),
            schedule: Some(config.schedule),
            schedule_by: Some(config.schedule_by),
            augment: Some(config.augment),
            early_stop: config.early_stop,
            clip: config.clip,
            label_smoothing: Some(config.label_smoothing),
            seed: Some(config.seed),
            ..RunOptions::default()
        };
        optimizer::say(config.optimizer, &mut options);
        options
    }
}

impl TryFrom<RunOptions> for RunConfig {
    type Error = TrainError;

    fn try_from(options: RunOptions) -> Result<RunConfig, TrainError> {
        options.settle(None)
    }
}

impl Display for ScheduleBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScheduleBy::Epoch => "epoch",
            ScheduleBy::Step => "step",
        })
    }
}

impl FromStr for ScheduleBy {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<ScheduleBy, TrainError> {
        match text {
            "epoch" => Ok(ScheduleBy::Epoch),
            "step" => Ok(ScheduleBy::Step),
            _ => Err(TrainError::option("schedule by", text, "expected epoch or step")),
        }
    }
}

/// Options that are written as words.
mod words {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}
