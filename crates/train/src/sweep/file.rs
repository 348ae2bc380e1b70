//! From a file to runs.

use std::collections::{BTreeMap, BTreeSet};

use kiln_models::cnn::Architecture;
use serde::Deserialize;
use toml::{Table, Value};

use super::{Cell, Experiment, Job, Sweep, parameters};
use crate::TrainError;
use crate::config::{RunConfig, RunOptions, toml_message};

/// The axis that is no option.
pub(super) const PARAMETERS: &str = "parameters";
const SEED: &str = "seed";

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    common: Table,
    experiment: Vec<WrittenExperiment>,
}

#[derive(Deserialize)]
struct WrittenExperiment {
    name: String,
    title: Option<String>,
    x: Option<String>,
    #[serde(flatten)]
    options: Table,
}

/// A combination of options.
type Combination = BTreeMap<String, Value>;

pub(super) fn parse(text: &str, origin: &str) -> Result<Sweep, TrainError> {
    let written: Written =
        toml::from_str(text).map_err(|error| TrainError::config(origin, toml_message(text, &error)))?;
    let grids: Vec<BTreeMap<String, Vec<Value>>> =
        written.experiment.iter().map(|experiment| grid(&written.common, &experiment.options)).collect();
    let varying: BTreeSet<&String> =
        grids.iter().flatten().filter(|(_, values)| values.len() > 1).map(|(option, _)| option).collect();
    let mut sweep = Sweep { experiments: Vec::new(), jobs: Vec::new() };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (experiment, grid) in written.experiment.iter().zip(&grids) {
        let refuse = |message: String| {
            TrainError::config(origin, format!("experiment {:?}: {message}", experiment.name))
        };
        check_name(&experiment.name).map_err(refuse)?;
        if sweep.experiments.iter().any(|other| other.name == experiment.name) {
            return Err(refuse("there are two of this name".to_owned()));
        }
        let mut cells = Vec::new();
        if grid.values().any(Vec::is_empty) {
            return Err(refuse("an option has no values: there is nothing to run".to_owned()));
        }
        for combination in combinations(grid) {
            let table: Table = combination.clone().into_iter().collect();
            let options: RunOptions =
                table.try_into().map_err(|error: toml::de::Error| refuse(toml_message("", &error)))?;
            let (config, network) = options.clone().resolve().map_err(|error| refuse(error.to_string()))?;
            let x = axis(experiment.x.as_deref(), &combination, &network).map_err(refuse)?;
            let row = row(experiment.x.as_deref(), grid, &combination, &config);
            let name = folder(&varying, &combination, &config);
            let job = *places.entry(name.clone()).or_insert_with(|| {
                sweep.jobs.push(Job { name, options, config: config.clone(), network });
                sweep.jobs.len() - 1
            });
            if sweep.jobs[job].config != config {
                let name = &sweep.jobs[job].name;
                return Err(refuse(format!("another experiment has a run {name} with other options")));
            }
            cells.push(Cell { job, row, x });
        }
        let title = experiment.title.clone().unwrap_or_else(|| experiment.name.clone());
        sweep.experiments.push(Experiment {
            name: experiment.name.clone(),
            title,
            x: experiment.x.clone(),
            cells,
        });
    }
    Ok(sweep)
}

/// The values of each option: those of the experiment, else the common ones.
fn grid(common: &Table, own: &Table) -> BTreeMap<String, Vec<Value>> {
    let values = |value: &Value| match value {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    let mut grid: BTreeMap<_, _> =
        common.iter().map(|(option, value)| (option.clone(), values(value))).collect();
    grid.extend(own.iter().map(|(option, value)| (option.clone(), values(value))));
    grid
}

/// All combinations: networks one after the other, seeds next to each other.
fn combinations(grid: &BTreeMap<String, Vec<Value>>) -> Vec<Combination> {
    let mut options: Vec<&String> = grid.keys().collect();
    options.sort_by_key(|option| (option.as_str() == SEED, order(option)));
    let mut all = vec![Combination::new()];
    for option in options {
        let with = |combination: &Combination, value: &Value| {
            let mut combination = combination.clone();
            combination.insert(option.clone(), value.clone());
            combination
        };
        all = all.iter().flat_map(|done| grid[option].iter().map(|value| with(done, value))).collect();
    }
    all
}

/// The network is named first, then its activation, then the number of examples, then the rest.
fn order(option: &str) -> usize {
    ["arch", "activation", "train_limit"].iter().position(|first| *first == option).unwrap_or(3)
}

/// Where a run stands on the axis.
fn axis(x: Option<&str>, combination: &Combination, network: &Architecture) -> Result<Option<f64>, String> {
    let value = match x {
        None => return Ok(None),
        Some(PARAMETERS) => return Ok(Some(parameters(network) as f64)),
        Some(option) => combination.get(option).ok_or_else(|| format!("x is {option}, which no run has"))?,
    };
    let number = value.as_float().or(value.as_integer().map(|value| value as f64));
    number.filter(|value| value.is_finite() && *value >= 0.0).map(Some).ok_or_else(|| {
        format!("x is {}: expected an option with numbers, or {PARAMETERS}", x.unwrap_or_default())
    })
}

/// What tells a run from others of its experiment, besides its place on the axis and the seed.
fn row(
    x: Option<&str>,
    grid: &BTreeMap<String, Vec<Value>>,
    combination: &Combination,
    config: &RunConfig,
) -> String {
    let axis = if x == Some(PARAMETERS) { "arch" } else { x.unwrap_or_default() };
    let mut varying: Vec<&String> = grid
        .iter()
        .filter(|(option, values)| values.len() > 1 && *option != axis && *option != SEED)
        .map(|(option, _)| option)
        .collect();
    varying.sort_by_key(|option| order(option));
    let word = |option: &&String| match option.as_str() {
        "arch" => config.arch.clone(),
        "activation" => shown(&combination[*option]),
        "train_limit" => format!("{} examples", shown(&combination[*option])),
        _ => format!("{} {}", option.replace('_', " "), shown(&combination[*option])),
    };
    let words: Vec<String> = varying.iter().map(word).collect();
    match (words.is_empty(), axis) {
        (true, "arch") => "test error".to_owned(),
        (true, _) => config.arch.clone(),
        (false, _) => words.join(", "),
    }
}

/// The name of a run's folder: the network, and whatever varies in the file.
fn folder(varying: &BTreeSet<&String>, combination: &Combination, config: &RunConfig) -> String {
    let mut options: Vec<&String> = varying.iter().copied().filter(|option| *option != "arch").collect();
    options.sort_by_key(|option| (option.as_str() == SEED, order(option)));
    let mut name = config.arch.clone();
    for option in options {
        let Some(value) = combination.get(option) else { continue };
        // The network's own activation is no other.
        if option == "activation" && config.activation.is_none() {
            continue;
        }
        let value = shown(value);
        name += &match option.as_str() {
            "activation" => format!("_{value}"),
            "train_limit" => format!("_n{value}"),
            SEED => format!("_s{value}"),
            other => format!("_{}{value}", other.replace('_', "-")),
        };
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => format!("{number:?}"),
        value => value.to_string(),
    }
}

/// Refuses what cannot be the name of a file.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => Ok(()),
        false => Err("expected a name of letters, digits, _ and -".to_owned()),
    }
}
