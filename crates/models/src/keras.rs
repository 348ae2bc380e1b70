//! Weights in the HDF5 files that Keras writes, read by ranges.
//!
//! Keras keeps a convolution's kernel as [height, width, in, out] and a dense layer's as [in, out]; both are offered
//! in PyTorch's order, transposed while they are read. Three layouts are known: Keras 3 (`.weights.h5`, groups by
//! class, tensors `vars/0` and `vars/1`, the layer's own name in an attribute), Keras 2 (`save_weights`,
//! `block1_conv1/block1_conv1/kernel:0`) and whole models (`model_weights/…`). Only structures are read when a file
//! is opened, and nothing is ever mapped into memory.

mod element;
mod file;
mod vgg;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kiln_engine::{DType, TensorDesc, WeightError, WeightSource};

use crate::error::{ModelError, TensorDifferences};
use file::{Layer, Stored};
pub use vgg::vgg_layers;

/// How Keras stores the kernel of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KerasKernel {
    /// A convolution: [height, width, in, out] there, [out, in, height, width] here.
    Convolution,
    /// A dense layer: [in, out] there, [out, in] here.
    Dense,
    /// A dense layer behind the flattening of a feature map of this many rows and columns. Keras flattens
    /// [height, width, channels] and PyTorch [channels, height, width], so its inputs change places:
    /// [height · width · channels, out] there, [out, channels · height · width] here.
    Flattened {
        /// Rows of the feature map.
        height: usize,
        /// Columns of the feature map.
        width: usize,
    },
}

/// A layer of a network, and where a Keras file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KerasLayer {
    /// The layer's name in the network: `features.0` stands for `features.0.weight` and `features.0.bias`.
    pub name: String,
    /// The names under which it may lie in the file, the likeliest first: a layer's own name (`block1_conv1`), or
    /// its path (`layers/conv2d_1`), for files of Keras 3 that keep no names.
    pub keras: Vec<String>,
    /// How its kernel is stored.
    pub kernel: KerasKernel,
}

/// A Keras weight file, offered under the names of a network.
///
/// As a [`WeightSource`] it has `NAME.weight` and `NAME.bias` for each layer of the network that the file holds, all
/// as f32; files in half and in double precision are converted as they are read.
#[derive(Debug)]
pub struct KerasWeights {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// Layers of the network that the file does not have, as `features.0 (block1_conv1)`.
    absent: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Tensor {
    stored: Stored,
    kind: Kind,
}

/// What a stored tensor is, once its shape has proved that it can be that.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bias,
    Kernel {
        grid: Grid,
        flat: bool,
    },
    /// A tensor that is there and cannot be read as what it should be.
    Misfit,
}

/// A kernel as [height, width, in, out]; a dense one is a single place, or as many as were flattened.
#[derive(Clone, Copy, Debug)]
struct Grid {
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
}

impl KerasWeights {
    /// True where a path is named as Keras names its files: `.h5`, `.hdf5` or `.keras`.
    pub fn is_named_so(path: &Path) -> bool {
        path.extension().is_some_and(|extension| {
            ["h5", "hdf5", "keras"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        })
    }

    /// Opens a file and finds the layers of a network in it.
    ///
    /// Layers that are not there are no error yet: [`check`](Self::check) names them, and a part of a network may do
    /// without.
    ///
    /// # Errors
    /// [`ModelError::Hdf5`] where the file is not HDF5, is shorter than it should be, or is damaged.
    pub fn open(path: &Path, layers: &[KerasLayer]) -> Result<KerasWeights, ModelError> {
        let stored = file::layers(path)?;
        let mut tensors = BTreeMap::new();
        let mut absent = BTreeMap::new();
        for layer in layers {
            let Some(found) = find(&stored, &layer.keras) else {
                let keras = layer.keras.first().cloned().unwrap_or_default();
                absent.insert(layer.name.clone(), keras);
                continue;
            };
            if let Some(kernel) = found.kernel() {
                let kind = Kind::of_kernel(layer.kernel, &kernel.shape);
                tensors.insert(format!("{}.weight", layer.name), Tensor { stored: kernel.clone(), kind });
            }
            if let Some(bias) = found.bias() {
                tensors.insert(
                    format!("{}.bias", layer.name),
                    Tensor { stored: bias.clone(), kind: Kind::Bias },
                );
            }
        }
        Ok(KerasWeights { path: path.to_owned(), tensors, absent })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors that were found, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// Checks that the file holds the `expected` tensors (names and shapes of the network).
    ///
    /// # Errors
    /// [`ModelError::WrongTensors`] with their [`differences`](Self::differences).
    pub fn check(&self, expected: &[(String, Vec<usize>)]) -> Result<(), ModelError> {
        let differences = self.differences(expected);
        if differences.is_empty() {
            return Ok(());
        }
        Err(ModelError::WrongTensors { file: self.path.clone(), differences: differences.into() })
    }

    /// Every one of the `expected` tensors (names and shapes of the network) that is missing, of another shape or of
    /// a type that cannot be read as f32; missing ones with the layer's name in the file. What else the file holds
    /// does not matter.
    pub fn differences(&self, expected: &[(String, Vec<usize>)]) -> TensorDifferences {
        let mut differences = TensorDifferences::default();
        for (name, shape) in expected {
            let Some(tensor) = self.tensors.get(name) else {
                differences.missing.push(self.describe_missing(name));
                continue;
            };
            let got = tensor.shape();
            if got != *shape {
                differences.misshapen.push((name.clone(), shape.clone(), got));
            } else if let Err(dtype) = &tensor.stored.float {
                differences.mistyped.push((name.clone(), dtype.clone()));
            }
        }
        differences
    }

    fn describe_missing(&self, name: &str) -> String {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        match self.absent.get(layer) {
            Some(keras) if keras != layer => format!("{name} ({keras})"),
            _ => name.to_owned(),
        }
    }
}

impl WeightSource for KerasWeights {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        let tensor = self.tensors.get(name)?;
        let readable = tensor.stored.float.is_ok() && !matches!(tensor.kind, Kind::Misfit);
        readable.then(|| TensorDesc { shape: tensor.shape(), dtype: DType::F32 })
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        let describe = |message: String| WeightError(format!("{}: {name}: {message}", self.path.display()));
        let Some(tensor) = self.tensors.get(name) else {
            return Err(describe("not in the file".to_owned()));
        };
        tensor.read(elements, out).map_err(describe)
    }
}

/// The layer that bears the first of `names` that any has: by its path, by the end of its path, or by its own name.
fn find<'a>(layers: &'a [Layer], names: &[String]) -> Option<&'a Layer> {
    names.iter().find_map(|name| {
        layers
            .iter()
            .find(|layer| layer.path == *name)
            .or_else(|| layers.iter().find(|layer| layer.name == *name))
            .or_else(|| {
                layers
                    .iter()
                    .find(|layer| layer.path.strip_suffix(name).is_some_and(|start| start.ends_with('/')))
            })
    })
}

impl Kind {
    fn of_kernel(kernel: KerasKernel, shape: &[usize]) -> Kind {
        match (kernel, shape) {
            (KerasKernel::Convolution, &[height, width, inputs, outputs]) => {
                Kind::Kernel { grid: Grid { height, width, inputs, outputs }, flat: false }
            }
            (KerasKernel::Dense, &[inputs, outputs]) => {
                Kind::Kernel { grid: Grid { height: 1, width: 1, inputs, outputs }, flat: true }
            }
            (KerasKernel::Flattened { height, width }, &[rows, outputs])
                if height * width > 0 && rows.is_multiple_of(height * width) =>
            {
                let inputs = rows / (height * width);
                Kind::Kernel { grid: Grid { height, width, inputs, outputs }, flat: true }
            }
            _ => Kind::Misfit,
        }
    }
}

impl Tensor {
    /// The shape that the network sees; of a misfit, the one in the file.
    fn shape(&self) -> Vec<usize> {
        match self.kind {
            Kind::Kernel { grid, flat: true } => vec![grid.outputs, grid.per_output()],
            Kind::Kernel { grid, flat: false } => vec![grid.outputs, grid.inputs, grid.height, grid.width],
            Kind::Bias | Kind::Misfit => self.stored.shape.clone(),
        }
    }

    fn read(&self, elements: Range<usize>, out: &mut [f32]) -> Result<(), String> {
        let count: usize = self.stored.shape.iter().product();
        if elements.start > elements.end || elements.end > count {
            return Err(format!("elements {elements:?} asked for, it has {count}"));
        }
        if out.len() != elements.len() {
            return Err(format!("{} elements asked for, there is room for {}", elements.len(), out.len()));
        }
        if out.is_empty() {
            return Ok(());
        }
        match self.kind {
            Kind::Misfit => Err(format!("has shape {:?} in the file", self.stored.shape)),
            Kind::Bias => {
                out.copy_from_slice(&self.stored.read_last(elements)?);
                Ok(())
            }
            Kind::Kernel { grid, .. } => {
                let per = grid.per_output();
                let outputs = elements.start / per..elements.end.div_ceil(per);
                let columns = self.stored.read_last(outputs.clone())?;
                grid.transpose(&columns, outputs, elements, out);
                Ok(())
            }
        }
    }
}

impl Grid {
    /// Weights of one output.
    fn per_output(&self) -> usize {
        self.height * self.width * self.inputs
    }

    /// Puts the `elements` of the kernel as [out, in, height, width] into `out`, from `columns`: the kernel as
    /// [height, width, in, out], cut to `outputs` in its last axis.
    fn transpose(&self, columns: &[f32], outputs: Range<usize>, elements: Range<usize>, out: &mut [f32]) {
        let (per, places) = (self.per_output(), self.height * self.width);
        let width = outputs.len();
        for output in outputs.clone() {
            let (first, last) = (output * per, (output + 1) * per);
            let wanted = first.max(elements.start)..last.min(elements.end);
            let part = &mut out[wanted.start - elements.start..wanted.end - elements.start];
            let (mut input, mut place) = ((wanted.start - first) / places, (wanted.start - first) % places);
            for value in part {
                *value = columns[(place * self.inputs + input) * width + output - outputs.start];
                place += 1;
                if place == places {
                    (input, place) = (input + 1, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
