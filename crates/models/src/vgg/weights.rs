//! The tensors of VGG in a file, by whichever names it has for them.

use std::ops::Range;
use std::path::Path;

use kiln_engine::{TensorDesc, WeightError, WeightSource};

use super::{Preparation, Tap, VggConfig};
use crate::error::ModelError;
use crate::keras::{KerasWeights, vgg_layers};
use crate::weights::{Weights, constants};

/// Counters of training steps in the files of networks with batch norm: of no use here.
const IGNORED: &str = ".num_batches_tracked";

/// Names and shapes.
type Tensors = Vec<(String, Vec<usize>)>;

/// The weights of a network in a file, under torchvision's names and shapes.
///
/// Three kinds of files are read, by ranges: safetensors in torchvision's names and in timm's, told apart by what they
/// hold, and Keras's HDF5 files, told by their extension.
#[derive(Debug)]
pub struct VggWeights {
    file: File,
    /// What has been found in the file.
    tensors: Tensors,
    unknown: Vec<String>,
}

#[derive(Debug)]
enum File {
    Safetensors(Weights, Names),
    Keras(KerasWeights),
}

impl VggWeights {
    /// Opens the file of a whole network.
    ///
    /// The error names every tensor that is missing, misshapen or, in a safetensors file, unknown to the network, and
    /// which configuration the file fits where it is another one. `num_batches_tracked` is ignored.
    pub fn open(path: &Path, config: &VggConfig) -> Result<VggWeights, ModelError> {
        VggWeights::over(path, config, config.tensors()?, true)
    }

    /// Opens a file of which only what [`VggConfig::features`] of `taps` reads has to be there: whatever else it holds
    /// or lacks is no error.
    pub fn open_for(path: &Path, config: &VggConfig, taps: &[Tap]) -> Result<VggWeights, ModelError> {
        let needed = constants(&config.features(1, config.input(), taps)?);
        VggWeights::over(path, config, needed, false)
    }

    fn over(
        path: &Path,
        config: &VggConfig,
        tensors: Tensors,
        is_whole: bool,
    ) -> Result<VggWeights, ModelError> {
        if KerasWeights::is_named_so(path) {
            let file = KerasWeights::open(path, &vgg_layers(config))?;
            file.check(&tensors)?;
            return Ok(VggWeights { file: File::Keras(file), tensors, unknown: vec![] });
        }
        let file = Weights::open(path)?;
        let names = Names::of(&file);
        let mut differences = file.differences(&names.in_file(config, &tensors));
        let network = names.in_file(config, &config.tensors()?);
        differences
            .extra
            .retain(|name| !name.ends_with(IGNORED) && !network.iter().any(|(known, _)| known == name));
        let mut unknown = vec![];
        if !is_whole && differences.is_complete() {
            unknown = std::mem::take(&mut differences.extra);
        }
        if differences.is_empty() {
            return Ok(VggWeights { file: File::Safetensors(file, names), tensors, unknown });
        }
        differences.fitting = VggConfig::names().into_iter().find(|name| names.fit(&file, name));
        Err(ModelError::WrongTensors { file: path.to_owned(), differences: differences.into() })
    }

    /// How images are prepared for a network with these weights.
    pub fn preparation(&self) -> Preparation {
        match self.file {
            File::Safetensors(..) => Preparation::Torchvision,
            File::Keras(_) => Preparation::Keras,
        }
    }

    /// Tensors of the file that the network does not know, where that is no error.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }
}

impl WeightSource for VggWeights {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        let (_, shape) = self.tensors.iter().find(|(known, _)| known == name)?;
        Some(TensorDesc::f32(shape.as_slice()))
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        match &self.file {
            File::Safetensors(file, names) => file.read(&names.name(name), elements, out),
            File::Keras(file) => file.read(name, elements, out),
        }
    }
}

/// What a safetensors file calls the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// `features.0.weight`, `classifier.6.bias`: those of the graph.
    Torchvision,
    /// The same for the features; the fully connected layers are convolutions, `pre_logits.fc1.weight` of
    /// `[4096][512][7][7]`, with the same elements in the same order.
    Timm,
}

/// The fully connected layers in torchvision and in timm.
const TIMM: [(&str, &str); 3] = [
    ("classifier.0.", "pre_logits.fc1."),
    ("classifier.3.", "pre_logits.fc2."),
    ("classifier.6.", "head.fc."),
];

impl Names {
    /// By what the file holds.
    fn of(file: &Weights) -> Names {
        let is_timm = |name: &String| TIMM.iter().any(|(_, prefix)| name.starts_with(prefix));
        if file.names().iter().any(is_timm) { Names::Timm } else { Names::Torchvision }
    }

    /// What the file calls a tensor.
    fn name(self, name: &str) -> String {
        if self == Names::Timm
            && let Some((rest, theirs)) =
                TIMM.iter().find_map(|(ours, theirs)| Some((name.strip_prefix(ours)?, theirs)))
        {
            return format!("{theirs}{rest}");
        }
        name.to_owned()
    }

    /// Names and shapes as the file should have them.
    fn in_file(self, config: &VggConfig, tensors: &Tensors) -> Tensors {
        let grid = config.grid;
        let there = |(name, shape): &(String, Vec<usize>)| {
            let shape = match (self, name.as_str(), shape.as_slice()) {
                (Names::Timm, "classifier.0.weight", &[out, depth]) => {
                    vec![out, depth / (grid * grid), grid, grid]
                }
                (Names::Timm, "classifier.3.weight", &[out, depth]) => vec![out, depth, 1, 1],
                _ => shape.clone(),
            };
            (self.name(name), shape)
        };
        tensors.iter().map(there).collect()
    }

    /// Whether a file is that of the configuration of this name.
    fn fit(self, file: &Weights, name: &str) -> bool {
        let tensors =
            VggConfig::by_name(name).and_then(|config| Ok(self.in_file(&config, &config.tensors()?)));
        tensors.is_ok_and(|tensors| {
            let mut differences = file.differences(&tensors);
            differences.extra.retain(|name| !name.ends_with(IGNORED));
            differences.is_empty()
        })
    }
}

#[cfg(test)]
mod tests;
