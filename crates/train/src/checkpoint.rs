//! Checkpoints: safetensors files that hold a network and all that it takes to go on training it.
//!
//! | in the file | what it is |
//! |---|---|
//! | `conv1.weight`, `bn1.running_mean`, ... | parameters and running statistics, F32, under the names of a PyTorch state dict |
//! | `bn1.num_batches_tracked` | the number of steps, I64, where PyTorch has it |
//! | `optimizer.momentum_buffer.conv1.weight`, ... | the optimizer's state, F32 |
//! | `__metadata__`, key `kiln` | JSON: the format's version, configuration, network, normalization, class names, step and progress |
//!
//! All of it depends on the run alone, neither on time nor on the machine's mood: equal runs give equal bytes.

mod read;
mod trained;
mod write;

use std::path::Path;

use kiln_models::atomic;
use kiln_models::cnn::Architecture;
use serde::{Deserialize, Serialize};

pub use trained::Trained;

use crate::TrainError;
use crate::config::RunConfig;
use crate::normalization::Normalization;
use crate::progress::Progress;
use crate::state::State;

/// The key of the note in a file's header.
const NOTE: &str = "kiln";

/// The version of the note's form.
const FORMAT: u32 = 1;

/// A run between two steps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What the run was asked to do.
    pub config: RunConfig,
    /// The network, its activation in place.
    pub network: Architecture,
    /// How examples are normalised.
    pub normalization: Normalization,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Parameters, statistics and the optimizer's state.
    pub state: State,
    /// How far the run has come.
    pub progress: Progress,
}

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
struct Note {
    format: u32,
    config: RunConfig,
    /// The network's description, as TOML.
    network: String,
    normalization: Normalization,
    classes: Vec<String>,
    step: u64,
    /// The optimizer's words for its state; each parameter has a tensor for each of them.
    optimizer: Vec<String>,
    progress: Progress,
}

/// The part of a note that is looked at first.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Checkpoint {
    /// The file's bytes. The same state gives the same bytes.
    ///
    /// # Errors
    /// Where a tensor is not of f32.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        write::bytes(self)
    }

    /// Writes the file so that at any moment there is a whole one: the old one or the new one.
    ///
    /// # Errors
    /// Those of [`to_bytes`](Self::to_bytes), and where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        atomic::write_file(path, &self.to_bytes()?).map_err(|error| TrainError::io(path, error))
    }

    /// Reads a file that Kiln wrote.
    ///
    /// # Errors
    /// Where it cannot be read, is no safetensors file or cut short, was not written by Kiln or by a version with another
    /// format, or lacks a tensor or has another one or one of another shape than its own network needs.
    pub fn read(path: &Path) -> Result<Checkpoint, TrainError> {
        read::checkpoint(path)
    }
}

#[cfg(test)]
mod tests;
