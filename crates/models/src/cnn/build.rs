//! From a description to a graph.

use kiln_engine::{DType, GraphBuilder, TensorDesc, Value};

use super::Layer;
use super::fault::Fault;
use super::tensors::{Init, TensorSpec};

/// What a network's tensors are in a graph, and whether it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Inference on constants, which are read when the graph is loaded.
    Constants,
    /// Inference on the session's variables: the network as it stands in the middle of training.
    Variables,
    /// Training on the session's variables: batch statistics, and dropout.
    Training {
        /// What dropout draws from: u32 `[4]`, `[seed, seed >> 32, step, 0]`.
        random: Value,
    },
}

/// A network in a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// What the last layer makes.
    pub output: Value,
    /// The learned tensors, by name, in the order of the layers.
    pub parameters: Vec<(String, Value)>,
    /// What a training step has to note down; none in inference.
    pub statistics: Vec<Statistics>,
}

/// The running statistics of a batch norm and what a batch says of them: `variable = (1 - momentum) variable + momentum
/// factor row`, for each of both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// `running_mean` and `running_var`, f32 `[C]` each.
    pub variables: [Value; 2],
    /// The batch's means and biased variances, f32 `[2, C]`.
    pub batch: Value,
    /// How far a batch moves the variables.
    pub momentum: f32,
    /// 1 for the means. For the variances `n / (n - 1)` with `n` numbers a channel, which makes them unbiased; 1 where `n`
    /// is 1.
    pub factors: [f32; 2],
}

/// The most elements of one tensor: more are not addressed with 32 bits.
const MOST_ELEMENTS: usize = 1 << 31;

/// What comes together while layers are added.
pub(super) struct Notes {
    mode: Mode,
    /// What the names of the current layer's tensors begin with: `block1.conv1.`.
    prefix: String,
    pub(super) tensors: Vec<TensorSpec>,
    pub(super) parameters: Vec<(String, Value)>,
    pub(super) statistics: Vec<Statistics>,
    /// Dropouts so far.
    dropouts: u32,
}

impl Notes {
    pub(super) fn new(mode: Mode) -> Notes {
        Notes {
            mode,
            prefix: String::new(),
            tensors: vec![],
            parameters: vec![],
            statistics: vec![],
            dropouts: 0,
        }
    }
}

/// Adds layers to a graph.
pub(super) struct Builder<'a> {
    pub(super) g: &'a mut GraphBuilder,
    pub(super) notes: &'a mut Notes,
}

impl Builder<'_> {
    /// Adds a list of layers, `what` being what one of them is called in messages.
    pub(super) fn layers(&mut self, what: &str, layers: &[Layer], x: Value) -> Result<Value, Fault> {
        let names = names(what, layers)?;
        let mut x = x;
        for (position, (layer, name)) in (1..).zip(layers.iter().zip(&names)) {
            let built = self.scope(name, |b| layer.kind.build(b, x));
            x = built.map_err(|fault| {
                let word = layer.kind.word();
                fault.within(format!("{what} {position} ({word} {name:?}) on {}", shape(self.g.desc(x))))
            })?;
        }
        Ok(x)
    }

    /// Adds what `body` adds under a name, of which tensors' names and layer paths are made.
    pub(super) fn scope<R>(&mut self, name: &str, body: impl FnOnce(&mut Builder<'_>) -> R) -> R {
        let notes = &mut *self.notes;
        let length = notes.prefix.len();
        notes.prefix += name;
        notes.prefix += ".";
        let result = self.g.scope(name, |g| body(&mut Builder { g, notes }));
        notes.prefix.truncate(length);
        result
    }

    /// A learned tensor of the current layer.
    pub(super) fn parameter(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Value, Fault> {
        let value = self.tensor(name, shape, init, true)?;
        self.notes.parameters.push((format!("{}{name}", self.notes.prefix), value));
        Ok(value)
    }

    /// The weight of a convolution or product and its bias, one for each of `outputs`, as PyTorch starts them: uniform
    /// within `1 / sqrt(fan_in)`, where the fan-in is what an index of the first dimension holds. (For a transposed
    /// convolution, whose first dimension is that of the inputs, that is not the number of terms of a sum, but it is
    /// what PyTorch takes.)
    pub(super) fn learned(
        &mut self,
        shape: &[usize],
        outputs: usize,
        has_bias: bool,
    ) -> Result<(Value, Option<Value>), Fault> {
        let fan_in = TensorDesc::f32(shape).row_elements();
        let init = Init::Uniform((1.0 / (fan_in.max(1) as f64).sqrt()) as f32);
        let weight = self.parameter("weight", shape, init)?;
        let bias = if has_bias { Some(self.parameter("bias", &[outputs], init)?) } else { None };
        Ok((weight, bias))
    }

    /// The factor and offset of a normalisation, ones and zeros at first, or neither.
    pub(super) fn affine(
        &mut self,
        shape: &[usize],
        there: bool,
    ) -> Result<(Option<Value>, Option<Value>), Fault> {
        if !there {
            return Ok((None, None));
        }
        let weight = self.parameter("weight", shape, Init::Ones)?;
        Ok((Some(weight), Some(self.parameter("bias", shape, Init::Zeros)?)))
    }

    /// Numbers that are all alike and not learned.
    pub(super) fn filled(&mut self, shape: &[usize], number: f32) -> Result<Value, Fault> {
        let elements = checked_elements("numbers", shape)?;
        Ok(self.g.literal(shape, &vec![number; elements])?)
    }

    /// Batch normalisation over `channels`.
    pub(super) fn batch_norm(
        &mut self,
        x: Value,
        channels: usize,
        affine: bool,
        eps: f32,
        momentum: f32,
    ) -> Result<Value, Fault> {
        let (weight, bias) = self.affine(&[channels], affine)?;
        let mean = self.tensor("running_mean", &[channels], Init::Zeros, false)?;
        let variance = self.tensor("running_var", &[channels], Init::Ones, false)?;
        let Mode::Training { .. } = self.notes.mode else {
            return Ok(self.g.batch_norm(x, mean, variance, weight, bias, eps)?);
        };
        let numbers = self.g.desc(x).elements() / channels.max(1);
        let trained = self.g.batch_norm_training(x, weight, bias, eps)?;
        let unbiased = if numbers > 1 { numbers as f64 / (numbers - 1) as f64 } else { 1.0 };
        self.notes.statistics.push(Statistics {
            variables: [mean, variance],
            batch: trained.moments,
            momentum,
            factors: [1.0, unbiased as f32],
        });
        Ok(trained.output)
    }

    /// Dropout, which in inference is nothing.
    pub(super) fn dropout(&mut self, x: Value, p: f32) -> Result<Value, Fault> {
        let stream = self.notes.dropouts;
        self.notes.dropouts += 1;
        match self.notes.mode {
            Mode::Training { random } if p > 0.0 => Ok(self.g.dropout(x, p, random, stream)?),
            _ => Ok(x),
        }
    }

    /// `[channels, height, width]` of what must be images.
    pub(super) fn image(&self, x: Value) -> Result<[usize; 3], Fault> {
        match self.g.desc(x).shape[..] {
            [_, channels, height, width] => Ok([channels, height, width]),
            _ => Err(Fault::new("input: expected images, [N, channels, height, width]")),
        }
    }

    /// How wide the rows are that `x` must consist of.
    pub(super) fn features(&self, x: Value) -> Result<usize, Fault> {
        match self.g.desc(x).shape[..] {
            [_, features] => Ok(features),
            _ => Err(Fault::new("input: expected [N, features], which a flatten in front makes of it")),
        }
    }

    /// The shape of one example.
    pub(super) fn example(&self, x: Value) -> Vec<usize> {
        self.g.desc(x).shape.iter().skip(1).copied().collect()
    }

    /// Holds a number of the description against the input's.
    pub(super) fn expect(&self, option: &str, stated: Option<usize>, actual: usize) -> Result<(), Fault> {
        match stated {
            Some(stated) if stated != actual => {
                Err(Fault::new(format!("{option}: expected {actual}, as the input has, got {stated}")))
            }
            _ => Ok(()),
        }
    }

    fn tensor(&mut self, name: &str, shape: &[usize], init: Init, trainable: bool) -> Result<Value, Fault> {
        checked_elements(name, shape)?;
        let name = format!("{}{name}", self.notes.prefix);
        let value = match self.notes.mode {
            Mode::Constants => self.g.constant(&name, shape),
            Mode::Variables | Mode::Training { .. } => self.g.variable(&name, shape, DType::F32),
        };
        self.notes.tensors.push(TensorSpec { name, shape: shape.to_vec(), init, trainable });
        Ok(value)
    }
}

/// How many elements a tensor has; refused where no device could hold them.
fn checked_elements(name: &str, shape: &[usize]) -> Result<usize, Fault> {
    let elements = TensorDesc::f32(shape).elements();
    if (1..=MOST_ELEMENTS).contains(&elements) {
        return Ok(elements);
    }
    Err(Fault::new(format!("{name}: expected 1 to {MOST_ELEMENTS} elements, got a shape of {shape:?}")))
}

/// `[N, 20, 12, 12]`: the shape of a batch of any size.
pub(super) fn shape(desc: &TensorDesc) -> String {
    let extents = desc.shape.iter().skip(1).map(|extent| format!(", {extent}"));
    format!("[N{}]", extents.collect::<String>())
}

/// The names of layers: their own, or that of their kind and a number, which counts the layers of the list that are
/// called so, from 1.
fn names(what: &str, layers: &[Layer]) -> Result<Vec<String>, Fault> {
    let at = |position: usize, layer: &Layer| format!("{what} {} ({})", position + 1, layer.kind.word());
    let mut taken: Vec<&str> = vec![];
    for (position, layer) in layers.iter().enumerate() {
        let Some(name) = layer.name.as_deref() else { continue };
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            let fault = Fault::new(format!("name: expected letters, digits, _ and -, got {name:?}"));
            return Err(fault.within(at(position, layer)));
        }
        if taken.contains(&name) {
            let first = layers.iter().position(|other| other.name.as_deref() == Some(name)).unwrap_or(0);
            let fault = Fault::new(format!("name: {name:?} is taken by {what} {}", first + 1));
            return Err(fault.within(at(position, layer)));
        }
        taken.push(name);
    }
    let mut names: Vec<String> = Vec::with_capacity(layers.len());
    let mut counts: Vec<(&str, u32)> = vec![];
    for layer in layers {
        let name = layer.name.clone().unwrap_or_else(|| {
            let prefix = layer.kind.prefix();
            let known = counts.iter().position(|(counted, _)| *counted == prefix);
            let index = known.unwrap_or_else(|| {
                counts.push((prefix, 0));
                counts.len() - 1
            });
            loop {
                counts[index].1 += 1;
                let name = format!("{prefix}{}", counts[index].1);
                if !taken.contains(&name.as_str()) {
                    break name;
                }
            }
        });
        names.push(name);
    }
    Ok(names)
}
