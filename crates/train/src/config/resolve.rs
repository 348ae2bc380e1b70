//! From what is said to what is done.

use std::path::Path;

use kiln_models::cnn::{Activation, Architecture, Objective, TrainingDefaults};

use super::{RunConfig, RunOptions, ScheduleBy, optimizer};
use crate::TrainError;
use crate::schedule::Schedule;

/// What a run does where nobody says anything.
const EPOCHS: u32 = 20;
const BATCH_SIZE: usize = 100;

/// TOML has no larger whole number.
const LARGEST_SEED: u64 = i64::MAX as u64;

impl RunOptions {
    /// Settles every option: what is not said follows from the network's defaults, and what these leave open is as
    /// [`RunOptions`] says. Gives the network as well.
    ///
    /// # Errors
    /// Where network or data are not named, the network's file or description is not what it should be, or an option has
    /// an impossible value.
    pub fn resolve(mut self) -> Result<(RunConfig, Architecture), TrainError> {
        let arch = self.arch.clone().ok_or_else(|| missing("arch", "the network"))?;
        if self.architecture.is_none() && Architecture::is_file(&arch) {
            let opened = Architecture::open(Path::new(&arch))?;
            self.arch = Some(opened.name().to_owned());
            self.architecture = Some(opened.to_toml());
        }
        let arch = self.arch.clone().unwrap_or(arch);
        let plain = network(&arch, self.architecture.as_deref(), None)?;
        let network = network(&arch, self.architecture.as_deref(), self.activation.as_deref())?;
        if let Some(activation) = self.activation.take_if(|_| network == plain)
            && activation != "relu"
        {
            let expected = format!("network {} has no relu that it could take the place of", plain.name());
            return Err(TrainError::option("activation", activation, expected));
        }
        let config = self.settle(Some(network.training()))?;
        if config.label_smoothing > 0.0 && network.objective() != Objective::Classification {
            let expected = format!("network {} does not tell classes apart, expected 0", network.name());
            return Err(TrainError::option("label smoothing", config.label_smoothing, expected));
        }
        Ok((config, network))
    }

    /// Settles every option, without looking at the network.
    pub(super) fn settle(self, defaults: Option<&TrainingDefaults>) -> Result<RunConfig, TrainError> {
        // The network's numbers belong to the network's optimizer.
        let defaults = defaults
            .filter(|defaults| self.optimizer.as_ref().is_none_or(|given| *given == defaults.optimizer));
        let name = self.optimizer.as_deref().or(defaults.map(|defaults| defaults.optimizer.as_str()));
        let mut numbers = self.clone();
        if let Some(defaults) = defaults {
            numbers.weight_decay.get_or_insert(defaults.weight_decay);
            if defaults.momentum > 0.0 {
                numbers.momentum.get_or_insert(defaults.momentum);
            }
        }
        let name = name.ok_or_else(|| missing("optimizer", "sgd, adam, adamw or rmsprop"))?;
        let optimizer = optimizer::with(optimizer::by_name(name)?, &numbers)?;
        let lr = self.lr.or(defaults.map(|defaults| defaults.lr)).unwrap_or(optimizer.default_rate());
        let schedule = match (self.schedule, defaults) {
            (Some(schedule), _) => schedule,
            (None, Some(defaults)) => {
                let origin = || format!("network {}", self.arch.as_deref().unwrap_or_default());
                let parsed = defaults.schedule.parse::<Schedule>();
                parsed.map_err(|error| TrainError::config(origin(), error.to_string()))?
            }
            (None, None) => Schedule::default(),
        };
        let config = RunConfig {
            arch: self.arch.ok_or_else(|| missing("arch", "the network"))?,
            architecture: self.architecture,
            activation: self.activation,
            data: self.data.ok_or_else(|| missing("data", "a folder"))?,
            train_offset: self.train_offset.unwrap_or(0),
            train_limit: self.train_limit,
            validation: self.validation.unwrap_or(0.0),
            epochs: self.epochs.unwrap_or(EPOCHS),
            batch_size: self.batch_size.unwrap_or(BATCH_SIZE),
            accumulate: self.accumulate.unwrap_or(1),
            optimizer,
            lr,
            schedule,
            schedule_by: self.schedule_by.unwrap_or(ScheduleBy::Epoch),
            augment: self.augment.unwrap_or_default(),
            early_stop: self.early_stop,
            clip: self.clip,
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            seed: self.seed.unwrap_or(0),
        };
        config.check()?;
        Ok(config)
    }
}

impl RunConfig {
    /// Refuses values that no run could have.
    fn check(&self) -> Result<(), TrainError> {
        let at_least_one = |option, value: usize| match value {
            0 => Err(TrainError::option(option, value, "expected at least 1")),
            _ => Ok(()),
        };
        at_least_one("epochs", self.epochs as usize)?;
        at_least_one("batch size", self.batch_size)?;
        at_least_one("accumulate", self.accumulate)?;
        at_least_one("train limit", self.train_limit.unwrap_or(1))?;
        at_least_one("early stop", self.early_stop.unwrap_or(1) as usize)?;
        for (option, value) in [("validation", self.validation), ("label smoothing", self.label_smoothing)] {
            if !(0.0..1.0).contains(&value) {
                return Err(TrainError::option(option, value, "expected a number from 0 to below 1"));
            }
        }
        if let Some(clip) = self.clip
            && !(clip > 0.0 && clip.is_finite())
        {
            return Err(TrainError::option("clip", clip, "expected a finite number above 0"));
        }
        if let Some(patience) = self.early_stop
            && self.validation == 0.0
        {
            let expected = "expected a validation part to judge by, and there is none";
            return Err(TrainError::option("early stop", patience, expected));
        }
        if self.seed > LARGEST_SEED {
            return Err(TrainError::option("seed", self.seed, format!("expected at most {LARGEST_SEED}")));
        }
        self.schedule.start(self.lr, self.epochs).map(drop)
    }
}

/// The network of a name or a description.
pub(super) fn network(
    arch: &str,
    description: Option<&str>,
    activation: Option<&str>,
) -> Result<Architecture, TrainError> {
    let network = match description {
        Some(text) => Architecture::parse(text, arch)?,
        None => Architecture::by_name(arch)?,
    };
    match activation {
        Some(activation) => Ok(network.with_activation(&activation.parse::<Activation>()?)),
        None => Ok(network),
    }
}

fn missing(option: &str, what: &str) -> TrainError {
    TrainError::config("run", format!("{option} is missing: expected {what}"))
}
