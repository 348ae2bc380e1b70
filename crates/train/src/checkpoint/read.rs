//! From a file to a run.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_engine::{Tensor, WeightSource};
use kiln_models::ModelError;
use kiln_models::cnn::Architecture;
use kiln_models::weights::Weights;

use super::write::tracked;
use super::{Checkpoint, FORMAT, NOTE, Note, Version};
use crate::TrainError;
use crate::state::{OPTIMIZER, State};

/// Names and shapes.
type Shapes = Vec<(String, Vec<usize>)>;

pub(super) fn checkpoint(path: &Path) -> Result<Checkpoint, TrainError> {
    let weights = Weights::open(path)?;
    let Some((note, network)) = note(&weights)? else {
        let message = "not a checkpoint of a run: a safetensors file without Kiln's note";
        return Err(TrainError::checkpoint(path, message));
    };
    let mut shapes = shapes(&network);
    for word in &note.optimizer {
        let parameters = network.tensors().into_iter().filter(|spec| spec.trainable);
        shapes.extend(parameters.map(|spec| (format!("{OPTIMIZER}{word}.{}", spec.name), spec.shape)));
    }
    let tensors = tensors(&weights, shapes, &[])?;
    Ok(Checkpoint {
        config: note.config,
        network,
        normalization: note.normalization,
        classes: note.classes,
        state: State { step: note.step, tensors },
        progress: note.progress,
    })
}

/// What stands beside the tensors, and the network described there; none where Kiln did not write the file.
pub(super) fn note(weights: &Weights) -> Result<Option<(Note, Architecture)>, TrainError> {
    let path = weights.path();
    let damaged = |error: serde_json::Error| {
        TrainError::checkpoint(path, format!("Kiln's note in it cannot be read: {error}"))
    };
    let Some(text) = weights.note(NOTE) else { return Ok(None) };
    let Version { format } = serde_json::from_str(text).map_err(damaged)?;
    if format != FORMAT {
        let message = format!("a checkpoint of format {format}, this version of Kiln reads format {FORMAT}");
        return Err(TrainError::checkpoint(path, message));
    }
    let note: Note = serde_json::from_str(text).map_err(damaged)?;
    let network = Architecture::parse(&note.network, &path.display().to_string())?;
    let (means, channels) = (note.normalization.channels(), network.input()[0]);
    if means != channels || note.normalization.std.len() != channels {
        let message = format!("normalization of {means} channels for a network that reads {channels}");
        return Err(TrainError::checkpoint(path, message));
    }
    Ok(Some((note, network)))
}

/// Names and shapes of a network's tensors.
pub(super) fn shapes(network: &Architecture) -> Shapes {
    network.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect()
}

/// Reads the tensors, where the file has exactly these, besides the counts that PyTorch keeps and what is `ignored`.
pub(super) fn tensors(
    weights: &Weights,
    shapes: Shapes,
    ignored: &[&str],
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let counts: Vec<String> = shapes.iter().filter_map(|(name, _)| tracked(name)).collect();
    let ignored: Vec<&str> = counts.iter().map(String::as_str).chain(ignored.iter().copied()).collect();
    weights.check(&shapes, &ignored)?;
    let mut tensors = BTreeMap::new();
    for (name, shape) in shapes {
        let mut values = vec![0.0; shape.iter().product()];
        weights
            .read(&name, 0..values.len(), &mut values)
            .map_err(|error| ModelError::TensorRead(error.to_string()))?;
        tensors.insert(name, Tensor::f32(shape, values)?);
    }
    Ok(tensors)
}
