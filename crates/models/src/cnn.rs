//! Small convolutional networks that can be trained: known by name, read from a TOML file, or written in Rust.
//!
//! # Networks
//!
//! | name | input | parameters | what it is | optimizer | learning rate | momentum | weight decay | schedule |
//! |---|---|---|---|---|---|---|---|---|
//! | `base` | 1x28x28 | 431,080 | conv 5x5 to 20, max pool 2, conv 5x5 to 50, max pool 2, conv 4x4 to 500 with relu, conv 1x1 to 10 | sgd | 0.02 | 0.9 | 0.0005 | `cosine` |
//! | `bn` | 1x28x28 | 432,220 | `base` with a batch norm behind each of its first three convolutions | sgd | 0.02 | 0.9 | 0.0005 | `cosine` |
//! | `base-dropout` | 1x28x28 | 431,080 | `base` with dropout before and behind its classifier | sgd | 0.02 | 0.9 | 0.0005 | `cosine` |
//! | `bn-dropout` | 1x28x28 | 432,220 | `bn` with the same | sgd | 0.02 | 0.9 | 0.0005 | `cosine` |
//! | `sk` | 1x28x28 | 442,210 | `bn` with two 3x3 in place of each 5x5, and batch norm and relu behind all convolutions but the last | sgd | 0.05 | 0.9 | 0.0005 | `cosine` |
//! | `sk-0.2` | 1x28x28 | 18,834 | `sk` with a fifth of the channels | sgd | 0.05 | 0.9 | 0.0005 | `cosine` |
//! | `sk-0.5` | 1x28x28 | 112,335 | with half of them | sgd | 0.05 | 0.9 | 0.0005 | `cosine` |
//! | `sk-1.5` | 1x28x28 | 989,635 | with half as many again | sgd | 0.05 | 0.9 | 0.0005 | `cosine` |
//! | `sk-2` | 1x28x28 | 1,754,610 | with twice as many | sgd | 0.05 | 0.9 | 0.0005 | `cosine` |
//! | `convnet` | 3x32x32 | 50,774 | conv 5x5 to 3, relu, max pool 2, conv 5x5 to 16, relu, average pool 2, linear 120, relu, linear 10 | sgd | 0.01 | 0.9 | 0.0005 | `cosine` |
//! | `lenet` | 1x28x28 | 61,706 | LeNet-5 with rectifiers and maximum pooling; its first convolution pads by 2 | adam | 0.002 | 0 | 0 | `cosine` |
//! | `resnet8` | 3x32x32 | 78,042 | three residual blocks of two 3x3, to 16, 32 and 64 channels, 1x1 projections where these change, global average pool | sgd | 0.1 | 0.9 | 0.0005 | `cosine` |
//! | `mobilenet-tiny` | 3x32x32 | 37,162 | five depthwise separable convolutions with batch norm, to 128 channels, global average pool | sgd | 0.1 | 0.9 | 0.0001 | `cosine` |
//! | `autoencoder` | 1x28x28 | 13,557 | two convolutions of stride 2, down to 4x7x7, and two transposed ones back to the image | adam | 0.003 | 0 | 0 | `cosine` |
//! | `xor` | 2x1x1 | 33 | 2-8-1 with tanh | adam | 0.2 | 0 | 0 | `constant` |
//!
//! The defaults are for 20 epochs with batches of 100. Weights start as PyTorch's modules do: [`Init`].
//!
//! Where a description leaves something open, this was chosen:
//!
//! - `base` has a `relu` behind its third convolution alone; behind the first two there is nothing but the pooling.
//!   `bn` has its batch norms right behind the three convolutions.
//! - `base-dropout` and `bn-dropout` drop half of what the third convolution's `relu` gives to the classifier, and half
//!   of what the classifier makes. The loss and the accuracy of training are those of the network with its dropouts, so
//!   they look much worse than the test's.
//! - Two windows of 3x3 see as far as one of 5x5, so `sk` fits 28x28 images as `base` does, without padding.
//!   `sk-S` has `round(S * 20)`, `round(S * 50)` and `round(S * 500)` channels, with any S above 0 up to 16, and its
//!   classifier as many as there are classes.
//! - Another activation ([`Architecture::with_activation`]) takes the place of every `relu`; `mobilenet-tiny`, with its
//!   `relu6`, and `xor` stay as they are.
//! - Other channels, sizes and classes: [`Architecture::for_input`].
//!
//! # Files
//!
//! ```
//! use kiln_models::cnn::Architecture;
//!
//! # fn main() -> Result<(), kiln_models::ModelError> {
//! let text = r#"
//! name = "little"
//! input = [1, 28, 28]
//! objective = "classification" # or "binary", "reconstruction"
//! layers = [
//!   { layer = "conv2d", out_channels = 8, kernel_size = 3, padding = 1 },
//!   "relu",
//!   { layer = "residual", body = [
//!     { layer = "conv2d", out_channels = 8, kernel_size = 3, padding = "same", bias = false },
//!     "batch_norm2d",
//!   ] },
//!   { layer = "max_pool2d", kernel_size = 4 },
//!   "flatten",
//!   { layer = "linear", name = "head", out_features = 10 },
//! ]
//!
//! [training]
//! optimizer = "adam"
//! lr = 0.001
//! schedule = "cosine"
//! "#;
//! let little = Architecture::parse(text, "little.toml")?;
//! let names: Vec<String> = little.tensors().into_iter().map(|tensor| tensor.name).collect();
//! assert_eq!(names[..3], ["conv1.weight", "conv1.bias", "block1.conv1.weight"]);
//! assert_eq!(names.last().unwrap(), "head.bias");
//! assert_eq!(Architecture::parse(&little.to_toml(), "again")?, little);
//! # Ok(())
//! # }
//! ```
//!
//! A layer is a table with its word as `layer`, or the word alone. The words are PyTorch's modules in snake case
//! ([`LayerKind::WORDS`]), the options PyTorch's arguments with PyTorch's defaults. How many channels or features a layer
//! reads follows from the layer before it; `in_channels`, `in_features`, `num_features` and `num_channels` may be stated
//! all the same and are checked. Two words hold layers themselves: `sequential` puts those of `body` under one name, and
//! `residual` adds what `body` and `shortcut` make of its input, which without a `shortcut` is added itself.
//!
//! `name` is what a layer's tensors begin with: `head.weight`. A layer without one is called by its kind and a number:
//! `conv1`, `deconv1`, `fc1`, `bn1`, `norm1`, `pool1`, `drop1`, `block1`, else by its word. Within a block the
//! block's name stands in front, and `shortcut` for the layers of that: `block1.shortcut.conv1.weight`.
//!
//! What `training` leaves out follows from its optimizer ([`TrainingDefaults::of`]).
//!
//! # Layers
//!
//! Options in bold are required. Sizes are one number, or `[height, width]`.
//!
//! | word | options (defaults) |
//! |---|---|
//! | `conv2d` | **`out_channels`**, **`kernel_size`**, `stride` (1), `padding` (0), `dilation` (1), `groups` (1), `bias` (true), `in_channels` |
//! | `conv_transpose2d` | **`out_channels`**, **`kernel_size`**, `stride` (1), `padding` (0), `output_padding` (0), `groups` (1), `bias` (true), `dilation` (1), `in_channels` |
//! | `linear` | **`out_features`**, `bias` (true), `in_features` |
//! | `batch_norm2d` | `eps` (0.00001), `momentum` (0.1), `affine` (true), `num_features` |
//! | `batch_norm1d` | `eps` (0.00001), `momentum` (0.1), `affine` (true), `num_features` |
//! | `group_norm` | **`num_groups`**, `eps` (0.00001), `affine` (true), `num_channels` |
//! | `instance_norm2d` | `eps` (0.00001), `affine` (false), `num_features` |
//! | `layer_norm` | `normalized_shape`, `eps` (0.00001), `elementwise_affine` (true) |
//! | `local_response_norm` | **`size`**, `alpha` (0.0001), `beta` (0.75), `k` (1.0) |
//! | `relu` | |
//! | `relu6` | |
//! | `sigmoid` | |
//! | `tanh` | |
//! | `silu` | |
//! | `gelu` | `approximate` ("none") |
//! | `leaky_relu` | `negative_slope` (0.01) |
//! | `elu` | `alpha` (1.0) |
//! | `prelu` | `num_parameters` (1), `init` (0.25) |
//! | `softplus` | `beta` (1.0), `threshold` (20.0) |
//! | `hardtanh` | `min_val` (-1.0), `max_val` (1.0) |
//! | `log_sigmoid` | |
//! | `softshrink` | `lambd` (0.5) |
//! | `max_pool2d` | **`kernel_size`**, `stride`, `padding` (0), `dilation` (1), `ceil_mode` (false) |
//! | `avg_pool2d` | **`kernel_size`**, `stride`, `padding` (0), `ceil_mode` (false), `count_include_pad` (true) |
//! | `adaptive_avg_pool2d` | **`output_size`** |
//! | `adaptive_max_pool2d` | **`output_size`** |
//! | `dropout` | `p` (0.5) |
//! | `flatten` | |
//! | `unflatten` | **`unflattened_size`** |
//! | `upsample` | `size`, `scale_factor`, `mode` ("nearest"), `align_corners` (false) |
//! | `zero_pad2d` | **`padding`** |
//! | `reflection_pad2d` | **`padding`** |
//! | `replication_pad2d` | **`padding`** |
//! | `channel_shuffle` | **`groups`** |
//! | `sequential` | **`body`** |
//! | `residual` | **`body`**, `shortcut` |

mod adapt;
mod build;
mod fault;
mod fields;
mod layer;
mod layers;
mod named;
mod tensors;
mod text;
mod training;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kiln_engine::{DType, Graph, GraphBuilder, TensorDesc, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use build::{Built, Mode, Statistics};
pub use layer::{Activation, Layer, LayerKind};
pub use layers::*;
pub use tensors::{Init, TensorSpec};
pub use training::{OPTIMIZERS, Objective, TrainingDefaults};

use crate::error::ModelError;
use crate::weights::Weights;
use build::{Builder, Notes, shape};
use fault::Fault;
use text::Description;

/// The input of [`Architecture::graph`]: f32 `[batch][channels][height][width]`.
pub const INPUT: &str = "x";
/// Its output.
pub const OUTPUT: &str = "y";

/// What a file of a network ends in.
pub const EXTENSION: &str = "toml";

/// What checkpoints hold besides the network: the optimizer's tensors.
const OPTIMIZER_STATE: &str = "optimizer.*";

/// The most bytes of a file of a network; a larger one is something else.
const LARGEST_FILE: u64 = 1 << 20;

/// A network as data: layers in their order, what they read, and what they are trained for.
///
/// One that exists can be built: all layers fit each other, and the output fits the objective.
///
/// ```
/// use kiln_models::cnn::Architecture;
/// use kiln_models::summary::summarize;
///
/// # fn main() -> Result<(), kiln_models::ModelError> {
/// let base = Architecture::by_name("base")?;
/// assert_eq!((base.input(), base.outputs()), ([1, 28, 28], 10));
/// assert_eq!(summarize(&base.graph(1)?).totals.parameters, 431_080);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    name: String,
    input: [usize; 3],
    objective: Objective,
    training: TrainingDefaults,
    layers: Vec<Layer>,
}

impl Architecture {
    /// A network of the given layers, which read examples of `input`, `[channels, height, width]`.
    ///
    /// # Errors
    /// [`ModelError::Architecture`] with the layer that does not fit.
    pub fn new(
        name: &str,
        input: [usize; 3],
        objective: Objective,
        training: TrainingDefaults,
        layers: Vec<Layer>,
    ) -> Result<Architecture, ModelError> {
        let architecture = Architecture { name: name.to_owned(), input, objective, training, layers };
        architecture.checked(name)
    }

    /// The network of a file.
    ///
    /// # Errors
    /// Where the file cannot be read; else as [`parse`](Self::parse).
    pub fn open(path: &Path) -> Result<Architecture, ModelError> {
        let failed = |source| ModelError::io(path, source);
        let file = File::open(path).map_err(failed)?;
        let mut bytes = vec![];
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        let refuse = |message: &str| ModelError::Architecture {
            origin: path.display().to_string(),
            message: message.to_owned(),
        };
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(refuse("not a network: expected TOML of at most 1 MiB, got more"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| refuse("not a network: expected TOML, got bytes that are not UTF-8"))?;
        Architecture::parse(&text, &path.display().to_string())
    }

    /// The network of a text in TOML, whose form the [module](self) describes; messages name it by its `origin`, a
    /// file. Where the text has no name, the network is called as the file without its extension.
    ///
    /// # Errors
    /// [`ModelError::Architecture`]: one line with the origin, the layer by its place and name, what was expected and
    /// what came.
    pub fn parse(text: &str, origin: &str) -> Result<Architecture, ModelError> {
        let description = text::parse(text).map_err(|fault| fault.of(origin))?;
        Architecture::described(description, origin)
    }

    /// The network of a name, or of a file where `name` ends in `.toml`.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name) and [`open`](Self::open).
    pub fn load(name: &str) -> Result<Architecture, ModelError> {
        if Architecture::is_file(name) {
            Architecture::open(Path::new(name))
        } else {
            Architecture::by_name(name)
        }
    }

    /// Whether [`load`](Self::load) takes this for a file.
    pub fn is_file(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION))
    }

    /// The text that [`parse`](Self::parse) makes the same network of.
    pub fn to_toml(&self) -> String {
        text::print(&self.description())
    }

    /// The network's name: the first part of every layer's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[channels, height, width]` of an example.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// What it is trained for.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// How it is trained where no one says otherwise.
    pub fn training(&self) -> &TrainingDefaults {
        &self.training
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The same network with other training defaults.
    pub fn with_training(self, training: TrainingDefaults) -> Architecture {
        Architecture { training, ..self }
    }

    /// How many numbers it makes of an example: the classes; 1 with [`Objective::Binary`]; as many as the input has
    /// with [`Objective::Reconstruction`].
    pub fn outputs(&self) -> usize {
        self.probe().1.row_elements()
    }

    /// All tensors, in the order of the layers.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        self.probe().0.tensors
    }

    /// Adds the network behind `x`, f32 `[N][channels][height][width]` of the [`input`](Self::input)'s extents.
    ///
    /// The output is `[N][classes]`, `[N][1]` or of the input's shape, by objective: nothing is behind the last layer,
    /// no softmax and no sigmoid.
    ///
    /// # Errors
    /// [`ModelError::Architecture`] where `x` is of another form, or a batch is too small for a layer.
    pub fn build(&self, g: &mut GraphBuilder, x: Value, mode: Mode) -> Result<Built, ModelError> {
        let mut notes = Notes::new(mode);
        let output = self.add(g, x, &mut notes).map_err(|fault| fault.of(&self.name))?;
        Ok(Built { output, parameters: notes.parameters, statistics: notes.statistics })
    }

    /// Inference over a batch, on constants: from [`INPUT`] to [`OUTPUT`].
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn graph(&self, batch: usize) -> Result<Graph, ModelError> {
        let mut g = GraphBuilder::new(&self.name);
        let x = self.declare(&mut g, batch);
        let built = self.build(&mut g, x, Mode::Constants)?;
        g.output(OUTPUT, built.output);
        Ok(g.finish())
    }

    /// Opens a file of the network's tensors in safetensors: a checkpoint, or a PyTorch state dict of the same names. What
    /// optimizers keep (`optimizer.*`) and PyTorch's counts of batches (`*.num_batches_tracked`) may be there too.
    ///
    /// # Errors
    /// Where the file is not safetensors, or lacks tensors, has others or has them in other shapes, all of which are
    /// named.
    pub fn open_weights(&self, path: &Path) -> Result<Weights, ModelError> {
        let weights = Weights::open(path)?;
        let tensors = self.tensors();
        let counts = tensors.iter().filter_map(|tensor| {
            tensor.name.strip_suffix("running_mean").map(|start| format!("{start}num_batches_tracked"))
        });
        let counts: Vec<String> = counts.collect();
        let ignored: Vec<&str> = counts.iter().map(String::as_str).chain([OPTIMIZER_STATE]).collect();
        let expected: Vec<(String, Vec<usize>)> =
            tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
        weights.check(&expected, &ignored)?;
        Ok(weights)
    }

    fn declare(&self, g: &mut GraphBuilder, batch: usize) -> Value {
        let [channels, height, width] = self.input;
        g.input(INPUT, &[batch, channels, height, width], DType::F32)
    }

    fn add(&self, g: &mut GraphBuilder, x: Value, notes: &mut Notes) -> Result<Value, Fault> {
        let desc = g.desc(x);
        if desc.rank() != 4 || desc.shape[1..] != self.input || desc.dtype != DType::F32 {
            let [channels, height, width] = self.input;
            let expected = format!("f32[N, {channels}, {height}, {width}]");
            return Err(Fault::new(format!("input: expected {expected}, got {desc}")));
        }
        let y = Builder { g, notes }.layers("layer", &self.layers, x)?;
        self.check_output(g.desc(y))?;
        Ok(y)
    }

    /// Whether the output is what the objective asks for.
    fn check_output(&self, output: &TensorDesc) -> Result<(), Fault> {
        let [channels, height, width] = self.input;
        let (fits, expected) = match self.objective {
            Objective::Classification => {
                (output.rank() == 2 && output.last() >= 2, "[N, classes] with at least 2 classes".to_owned())
            }
            Objective::Binary => (output.rank() == 2 && output.last() == 1, "[N, 1]".to_owned()),
            Objective::Reconstruction => (
                output.shape[1..] == self.input,
                format!("the input's shape, [N, {channels}, {height}, {width}]"),
            ),
        };
        if fits {
            return Ok(());
        }
        let objective = self.objective.word();
        Err(Fault::new(format!(
            "objective {objective}: the last layer: expected {expected}, got {}",
            shape(output)
        )))
    }

    /// The network, if it can be built.
    fn checked(self, origin: &str) -> Result<Architecture, ModelError> {
        let refuse = |message: String| Err(ModelError::Architecture { origin: origin.to_owned(), message });
        if !text::is_name(&self.name) {
            return refuse(format!("name: expected letters, digits, _, - and ., got {:?}", self.name));
        }
        match self.try_probe() {
            Ok(_) => Ok(self),
            Err(fault) => Err(fault.of(origin)),
        }
    }

    /// Tensors and output for one example.
    fn probe(&self) -> (Notes, TensorDesc) {
        let Ok(probe) = self.try_probe() else { unreachable!("the network was checked when it was made") };
        probe
    }

    fn try_probe(&self) -> Result<(Notes, TensorDesc), Fault> {
        let mut g = GraphBuilder::new(&self.name);
        let x = self.declare(&mut g, 1);
        let mut notes = Notes::new(Mode::Constants);
        let y = self.add(&mut g, x, &mut notes)?;
        let output = g.desc(y).clone();
        g.finish().check()?;
        Ok((notes, output))
    }

    fn description(&self) -> Description {
        Description {
            name: Some(self.name.clone()),
            input: self.input,
            objective: self.objective,
            training: self.training.clone(),
            layers: self.layers.clone(),
        }
    }

    fn described(description: Description, origin: &str) -> Result<Architecture, ModelError> {
        let Description { name, input, objective, training, layers } = description;
        let name = name.unwrap_or_else(|| name_of(origin));
        Architecture { name, input, objective, training, layers }.checked(origin)
    }
}

/// The name of a network in a file that does not say it.
fn name_of(origin: &str) -> String {
    let stem =
        Path::new(origin).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        stem.chars().map(|letter| if text::is_name(&format!("a{letter}")) { letter } else { '-' }).collect();
    if text::is_name(&name) { name } else { "network".to_owned() }
}

/// `3x32x32`.
fn extents(size: &[usize]) -> String {
    size.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

impl Serialize for Architecture {
    /// As the table that [`Architecture::to_toml`] writes, in any format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::table(&self.description()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    /// From such a table, checked as [`Architecture::parse`] checks it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Architecture, D::Error> {
        const ORIGIN: &str = "architecture";
        let table = toml::Table::deserialize(deserializer)?;
        let description = text::read(table).map_err(|fault| de::Error::custom(fault.of(ORIGIN)))?;
        Architecture::described(description, ORIGIN).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
