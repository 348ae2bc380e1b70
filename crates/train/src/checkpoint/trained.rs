//! Networks to be used, not trained further.

use std::path::Path;

use kiln_models::cnn::Architecture;
use kiln_models::weights::Weights;

use super::read;
use crate::TrainError;
use crate::normalization::Normalization;
use crate::state::{OPTIMIZER, State};

/// A trained network: from a checkpoint, or from a PyTorch state dict that was saved as safetensors (F32, F16 or BF16,
/// counts as I64).
#[derive(Clone, Debug)]
pub struct Trained {
    /// The network.
    pub network: Architecture,
    /// Parameters and statistics, without the optimizer's state.
    pub state: State,
    /// How examples are normalised; not known where Kiln did not write the file.
    pub normalization: Option<Normalization>,
    /// The names of the classes; not known where Kiln did not write the file.
    pub classes: Option<Vec<String>>,
    /// How many epochs it has been trained for; not known where Kiln did not write the file.
    pub epochs: Option<u32>,
}

impl Trained {
    /// Reads a checkpoint that Kiln wrote.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`](super::Checkpoint::read).
    pub fn open_own(path: &Path) -> Result<Trained, TrainError> {
        if read::note(&Weights::open(path)?)?.is_none() {
            let message = "not written by Kiln: it does not say how images are normalised";
            return Err(TrainError::checkpoint(path, message));
        }
        Trained::open(path, None)
    }

    /// Reads a file. A checkpoint says which network it is for; for another file, `network` has to.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`](super::Checkpoint::read); where a file that Kiln did not write comes without a network,
    /// or a checkpoint with another one than its own; and where names or shapes are not the network's: all that are
    /// missing or unexpected are listed.
    pub fn open(path: &Path, network: Option<&Architecture>) -> Result<Trained, TrainError> {
        let weights = Weights::open(path)?;
        let (network, note) = match (read::note(&weights)?, network) {
            (Some((_, own)), Some(given)) if own.to_toml() != given.to_toml() => {
                let (own, given) = (own.name(), given.name());
                let message = if own == given {
                    format!("it holds network {own} with other layers than those given")
                } else {
                    format!("it holds network {own}, {given} was given")
                };
                return Err(TrainError::checkpoint(path, message));
            }
            (Some((note, own)), _) => (own, Some(note)),
            (None, Some(given)) => (given.clone(), None),
            (None, None) => {
                let message = "not written by Kiln: say with --arch which network its weights are for";
                return Err(TrainError::checkpoint(path, message));
            }
        };
        let of_optimizer = format!("{OPTIMIZER}*");
        let ignored: &[&str] = if note.is_some() { &[&of_optimizer] } else { &[] };
        let tensors = read::tensors(&weights, read::shapes(&network), ignored)?;
        let step = note.as_ref().map_or(0, |note| note.step);
        let epochs = note.as_ref().map(|note| note.progress.epoch);
        let (normalization, classes) = note.map(|note| (note.normalization, note.classes)).unzip();
        Ok(Trained { network, state: State { step, tensors }, normalization, classes, epochs })
    }
}
