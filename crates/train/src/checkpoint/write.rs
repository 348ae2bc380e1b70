//! From a run to bytes.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use kiln_engine::Tensor;
use safetensors::{Dtype, View};

use super::{Checkpoint, FORMAT, NOTE, Note};
use crate::TrainError;
use crate::state::OPTIMIZER;

/// PyTorch's count of the steps that a batch norm has seen, beside its running statistics.
const STATISTIC: &str = ".running_mean";
const TRACKED: &str = ".num_batches_tracked";

pub(super) fn bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>, TrainError> {
    let Checkpoint { config, network, normalization, classes, state, progress } = checkpoint;
    let words: BTreeSet<&str> = state.tensors.keys().filter_map(|name| optimizer_word(name)).collect();
    let note = Note {
        format: FORMAT,
        config: config.clone(),
        network: network.to_toml(),
        normalization: normalization.clone(),
        classes: classes.clone(),
        step: state.step,
        optimizer: words.into_iter().map(str::to_owned).collect(),
        progress: progress.clone(),
    };
    let note = serde_json::to_string(&note).expect("a note should be what JSON can hold");
    let mut tensors = Vec::with_capacity(state.tensors.len());
    for (name, tensor) in &state.tensors {
        if let Some(tracked) = tracked(name) {
            tensors.push((tracked, Stored::Count(state.step as i64)));
        }
        tensors.push((name.clone(), Stored::Values(tensor, tensor.as_f32()?)));
    }
    // One note and no more: several would stand in the order of a hash map, another one in each process.
    let notes = HashMap::from([(NOTE.to_owned(), note)]);
    safetensors::serialize(tensors, Some(notes))
        .map_err(|error| TrainError::config("checkpoint", error.to_string()))
}

/// `momentum_buffer` of `optimizer.momentum_buffer.conv1.weight`.
fn optimizer_word(name: &str) -> Option<&str> {
    name.strip_prefix(OPTIMIZER)?.split('.').next()
}

/// The name of the count beside a running mean.
pub(super) fn tracked(name: &str) -> Option<String> {
    name.strip_suffix(STATISTIC).map(|layer| format!("{layer}{TRACKED}"))
}

/// A tensor as the file holds it.
enum Stored<'a> {
    Values(&'a Tensor, &'a [f32]),
    Count(i64),
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Stored::Values(..) => Dtype::F32,
            Stored::Count(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Stored::Values(tensor, _) => tensor.shape(),
            Stored::Count(_) => &[],
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Stored::Values(_, values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Stored::Count(count) => count.to_le_bytes().to_vec().into(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Stored::Values(_, values) => size_of_val(*values),
            Stored::Count(_) => size_of::<i64>(),
        }
    }
}
