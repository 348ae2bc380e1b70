//! Whether a run is the one that is meant.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_models::cnn::{Architecture, Objective};
use serde_json::Value;

use super::{RunConfig, RunOptions, resolve};
use crate::TrainError;

/// Options that need more than a look at their values.
const NETWORK: [&str; 3] = ["arch", "architecture", "activation"];

impl RunConfig {
    /// What of the options given differs from this run, as `epochs is 20 in the run, 40 was given`; `network` is the
    /// run's. Options that are not given are as they are, and so is `data`: data may have moved, and whether they are
    /// the same is known by looking at them.
    ///
    /// # Errors
    /// Where the network given cannot be read.
    pub fn differences(&self, network: &Architecture, given: &RunOptions) -> Result<Vec<String>, TrainError> {
        let mut differences = Vec::new();
        if given.arch.is_some() || given.architecture.is_some() || given.activation.is_some() {
            differences.extend(self.other_network(network, given)?);
        }
        let run = map(&self.options());
        for (option, given) in map(given) {
            if NETWORK.contains(&option.as_str()) || option == "data" {
                continue;
            }
            let own = run.get(&option);
            if own != Some(&given) {
                let own = own.map_or("not set".to_owned(), shown);
                let option = option.replace('_', " ");
                differences.push(format!("{option} is {own} in the run, {} was given", shown(&given)));
            }
        }
        Ok(differences)
    }

    fn other_network(
        &self,
        network: &Architecture,
        given: &RunOptions,
    ) -> Result<Option<String>, TrainError> {
        let activation = given.activation.as_deref().or(self.activation.as_deref());
        let other = match (&given.arch, &given.architecture) {
            (Some(arch), None) if Architecture::is_file(arch) => {
                let text = Architecture::open(Path::new(arch))?.to_toml();
                resolve::network(arch, Some(&text), activation)?
            }
            (Some(arch), None) if *arch == self.arch => self.with(activation)?,
            (Some(arch), text) => resolve::network(arch, text.as_deref(), activation)?,
            (None, Some(text)) => resolve::network(&self.arch, Some(text), activation)?,
            (None, None) => self.with(activation)?,
        };
        // A network that Kiln knows by name is fitted to the data.
        let fitted = match (self.architecture.is_none(), network.objective()) {
            (true, Objective::Binary) => other.clone().for_input(network.input(), 2),
            (true, _) => other.clone().for_input(network.input(), network.outputs()),
            (false, _) => Ok(other.clone()),
        };
        let other = fitted.unwrap_or(other);
        if other.to_toml() == network.to_toml() {
            return Ok(None);
        }
        let name = |network: &Architecture, activation: Option<&str>| match activation {
            Some(activation) => format!("{} with {activation}", network.name()),
            None => network.name().to_owned(),
        };
        let (own, other) = (name(network, self.activation.as_deref()), name(&other, activation));
        Ok(Some(if own == other {
            format!("network {own} has other layers in the run than were given")
        } else {
            format!("the network is {own} in the run, {other} was given")
        }))
    }

    fn with(&self, activation: Option<&str>) -> Result<Architecture, TrainError> {
        resolve::network(&self.arch, self.architecture.as_deref(), activation)
    }
}

/// The options that are given, as plain values, by their names. (The order of JSON's own map depends on what else is built.)
fn map(options: &RunOptions) -> BTreeMap<String, Value> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => unreachable!("options should be a map of plain values"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
