//! The words for layers, and what every kind of layer says of itself.

use std::fmt;
use std::str::FromStr;

use kiln_engine::Value;

use super::build::Builder;
use super::fault::{Fault, meant};
use super::fields::Fields;
use super::layers::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, BatchNorm1d, BatchNorm2d, ChannelShuffle, Conv2d,
    ConvTranspose2d, Dropout, Elu, Flatten, Gelu, GroupNorm, Hardtanh, InstanceNorm2d, LayerNorm, LeakyRelu,
    Linear, LocalResponseNorm, LogSigmoid, MaxPool2d, Prelu, ReflectionPad2d, Relu, Relu6, ReplicationPad2d,
    Residual, Sequential, Sigmoid, Silu, Softplus, Softshrink, Tanh, Unflatten, Upsample, ZeroPad2d,
};
use crate::error::ModelError;

/// What a kind of layer is: its word, its options and the operations that it becomes.
pub(super) trait LayerRules: Default {
    /// The word in a description: PyTorch's name of the module in snake case.
    const WORD: &'static str;
    /// What layers without a name are called, a number behind it.
    const PREFIX: &'static str;
    /// Whether it is a function of one number that can stand in for another such.
    const IS_ACTIVATION: bool = false;

    /// Walks over the options.
    fn fields(&mut self, fields: &mut impl Fields);

    /// Adds the layer's operations behind `x`.
    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault>;
}

/// A layer of an [`Architecture`](super::Architecture).
///
/// ```
/// use kiln_models::cnn::{Conv2d, Layer, Relu};
///
/// let layers: Vec<Layer> = vec![Layer::from(Conv2d::new(16, 3)).named("stem"), Relu.into()];
/// assert_eq!(layers[1].kind.word(), "relu");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The name, which its tensors and its path begin with; without one the layer is called by its kind and a number:
    /// `conv1`.
    pub name: Option<String>,
    /// What it does.
    pub kind: LayerKind,
}

impl Layer {
    /// The same layer with a name: letters, digits, `_` and `-`.
    pub fn named(mut self, name: impl Into<String>) -> Layer {
        self.name = Some(name.into());
        self
    }
}

/// Declares the kinds, in the order in which messages list them.
macro_rules! kinds {
    ($($kind:ident,)*) => {
        /// What a layer does.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum LayerKind {
            $(#[doc = concat!("[`", stringify!($kind), "`]")] $kind($kind),)*
        }

        impl LayerKind {
            /// The words for all kinds.
            pub const WORDS: &'static [&'static str] = &[$($kind::WORD),*];

            const ACTIVATIONS: &'static [(&'static str, bool)] = &[$(($kind::WORD, $kind::IS_ACTIVATION)),*];

            /// The kind of that word with all options at their defaults.
            pub(super) fn blank(word: &str) -> Option<LayerKind> {
                $(if word == $kind::WORD { return Some(LayerKind::$kind($kind::default())); })*
                None
            }

            /// The word for it: `conv2d`.
            pub fn word(&self) -> &'static str {
                match self { $(LayerKind::$kind(_) => $kind::WORD,)* }
            }

            pub(super) fn prefix(&self) -> &'static str {
                match self { $(LayerKind::$kind(_) => $kind::PREFIX,)* }
            }

            pub(super) fn fields(&mut self, fields: &mut impl Fields) {
                match self { $(LayerKind::$kind(layer) => layer.fields(fields),)* }
            }

            pub(super) fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
                match self { $(LayerKind::$kind(layer) => layer.build(b, x),)* }
            }
        }

        $(impl From<$kind> for Layer {
            fn from(layer: $kind) -> Layer {
                Layer { name: None, kind: LayerKind::$kind(layer) }
            }
        })*
    };
}

kinds! {
    Conv2d, ConvTranspose2d, Linear,
    BatchNorm2d, BatchNorm1d, GroupNorm, InstanceNorm2d, LayerNorm, LocalResponseNorm,
    Relu, Relu6, Sigmoid, Tanh, Silu, Gelu, LeakyRelu, Elu, Prelu, Softplus, Hardtanh, LogSigmoid, Softshrink,
    MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, AdaptiveMaxPool2d,
    Dropout, Flatten, Unflatten, Upsample, ZeroPad2d, ReflectionPad2d, ReplicationPad2d, ChannelShuffle,
    Sequential, Residual,
}

/// An activation by its word, with PyTorch's defaults: `"sigmoid".parse()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation(LayerKind);

impl Activation {
    /// The words for all activations without learned numbers.
    pub fn words() -> impl Iterator<Item = &'static str> {
        LayerKind::ACTIVATIONS.iter().filter(|(_, is_activation)| *is_activation).map(|(word, _)| *word)
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        self.0.word()
    }

    /// The layer that it is.
    pub fn kind(&self) -> &LayerKind {
        &self.0
    }
}

impl FromStr for Activation {
    type Err = ModelError;

    /// # Errors
    /// [`ModelError::Architecture`] for a word that is none, with the one that may be meant.
    fn from_str(word: &str) -> Result<Activation, ModelError> {
        let known = Activation::words().find(|known| *known == word);
        known.and_then(LayerKind::blank).map(Activation).ok_or_else(|| ModelError::Architecture {
            origin: "activation".to_owned(),
            message: format!("unknown word {word:?}{}", meant(word, Activation::words())),
        })
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
