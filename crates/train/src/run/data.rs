//! The examples of a run.

use std::num::NonZero;
use std::thread::available_parallelism;

use kiln_models::cnn::{Architecture, Objective};

use crate::TrainError;
use crate::config::RunConfig;
use crate::data::{Dataset, FolderOptions, Part, Source};
use crate::loader::{LoaderOptions, Order};
use crate::normalization::Normalization;

/// What a run learns from, is validated by, and is judged by in the end.
#[derive(Clone, Debug)]
pub struct RunData {
    /// The network, fitted to the data where it is one that Kiln knows by name
    /// ([`for_input`](Architecture::for_input)); one from a file is as it is.
    pub network: Architecture,
    /// Training examples.
    pub train: Dataset,
    /// Those set aside.
    pub validation: Option<Dataset>,
    /// The test part.
    pub test: Dataset,
    /// How all of them are normalised.
    pub normalization: Normalization,
}

impl RunData {
    /// Finds the data of a run and reads them.
    ///
    /// # Errors
    /// Where they cannot be read, are not as many as asked for, or do not suit the network.
    pub fn open(config: &RunConfig, network: Architecture) -> Result<RunData, TrainError> {
        let source = Source::open(&config.data, &folder_options(&network))?;
        let parts = source.parts()?;
        let network = match config.architecture {
            None => network.for_input(parts.train.shape(), parts.train.classes().len())?,
            Some(_) => network,
        };
        suits(&network, &parts.train)?;
        suits(&network, &parts.test)?;
        config.augment.check(network.input())?;
        let train = parts.train.slice(config.train_offset, config.train_limit)?;
        let (train, validation) = train.split(config.validation, config.seed)?;
        let normalization = normalization(&source, &train)?;
        Ok(RunData { network, train, validation, test: parts.test, normalization })
    }

    /// How many batches an epoch has.
    pub fn batches(&self, config: &RunConfig) -> usize {
        self.train.len().div_ceil(config.batch_size)
    }
}

/// The examples that a trained network is to be tried on, normalised as it wants them: the part of a data set, or where
/// the network's own normalization is not known, that of the training part.
///
/// # Errors
/// Where the data cannot be read or do not suit the network.
pub fn evaluation_data(
    path: &std::path::Path,
    part: Part,
    network: &Architecture,
    own: Option<&Normalization>,
) -> Result<(Dataset, Normalization), TrainError> {
    let source = Source::open(path, &folder_options(network))?;
    let dataset = source.part(part)?;
    suits(network, &dataset)?;
    let normalization = match own {
        Some(own) => own.clone(),
        None => normalization(&source, &source.part(Part::Train)?)?,
    };
    normalization.check(dataset.shape())?;
    Ok((dataset, normalization))
}

/// A network that Kiln knows by name, fitted to a data set as a run fits it.
///
/// # Errors
/// Where the data cannot be read, or the network cannot read them.
pub fn fitted(path: &std::path::Path, network: Architecture) -> Result<Architecture, TrainError> {
    let dataset = Source::open(path, &folder_options(&network))?.part(Part::Test)?;
    Ok(network.for_input(dataset.shape(), dataset.classes().len())?)
}

/// How batches to learn from are made.
pub(super) fn training(config: &RunConfig) -> LoaderOptions {
    LoaderOptions {
        batch_size: config.batch_size,
        order: Order::Shuffled,
        augmentation: config.augment.clone(),
        seed: config.seed,
        ..LoaderOptions::default()
    }
}

/// How batches are made of examples that are only looked at.
pub fn looking(batch_size: usize) -> LoaderOptions {
    LoaderOptions { batch_size, ..LoaderOptions::default() }
}

fn normalization(source: &Source, train: &Dataset) -> Result<Normalization, TrainError> {
    source.normalization(train, available_parallelism().map_or(1, NonZero::get).min(4))
}

/// Images in a folder become what the network reads.
fn folder_options(network: &Architecture) -> FolderOptions {
    let shape = network.input();
    FolderOptions { shape: matches!(shape[0], 1 | 3).then_some(shape), ..FolderOptions::default() }
}

/// Refuses examples that a network cannot read, and classes that it cannot tell.
fn suits(network: &Architecture, data: &Dataset) -> Result<(), TrainError> {
    let refuse = |message: String| {
        let (network, data) = (network.name().to_owned(), data.name().to_owned());
        Err(TrainError::Unsuited { network, data, message })
    };
    let (reads, shape) = (network.input(), data.shape());
    if reads != shape {
        return refuse(format!(
            "the network reads examples of {reads:?} (channels, height, width), these are {shape:?}"
        ));
    }
    let (outputs, classes) = match network.objective() {
        Objective::Reconstruction => return Ok(()),
        Objective::Binary => ("two classes".to_owned(), 2),
        Objective::Classification => (format!("{} classes", network.outputs()), network.outputs()),
    };
    match data.classes().len() {
        same if same == classes => Ok(()),
        found => refuse(format!("the network tells {outputs} apart, the data have {found}")),
    }
}
