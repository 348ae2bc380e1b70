//! Activations.

use kiln_engine::Value;

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{ABOVE_0, COUNT, Codec, FROM_0, Fields, NUMBER};
use crate::cnn::layer::LayerRules;
use crate::cnn::tensors::Init;

/// Declares activations without options.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident, $word:literal, |$g:ident, $x:ident| $apply:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl LayerRules for $name {
            const WORD: &'static str = $word;
            const PREFIX: &'static str = $word;
            const IS_ACTIVATION: bool = true;

            fn fields(&mut self, _: &mut impl Fields) {}

            fn build(&self, b: &mut Builder<'_>, $x: Value) -> Result<Value, Fault> {
                let $g = &mut *b.g;
                Ok($apply?)
            }
        }
    )*};
}

plain! {
    /// `relu`, as `torch.nn.ReLU`.
    Relu, "relu", |g, x| g.relu(x);
    /// `relu6`, as `torch.nn.ReLU6`: at most 6.
    Relu6, "relu6", |g, x| g.hardtanh(x, 0.0, 6.0);
    /// `sigmoid`, as `torch.nn.Sigmoid`.
    Sigmoid, "sigmoid", |g, x| g.sigmoid(x);
    /// `tanh`, as `torch.nn.Tanh`.
    Tanh, "tanh", |g, x| g.tanh(x);
    /// `silu`, as `torch.nn.SiLU`.
    Silu, "silu", |g, x| g.silu(x);
    /// `log_sigmoid`, as `torch.nn.LogSigmoid`.
    LogSigmoid, "log_sigmoid", |g, x| g.log_sigmoid(x);
}

/// Declares activations whose options are numbers.
macro_rules! with_numbers {
    ($(
        $(#[$doc:meta])*
        $name:ident, $word:literal { $($(#[$field_doc:meta])* $field:ident: $codec:ident = $default:literal,)* },
        |$g:ident, $x:ident| $apply:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: f64,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default),* }
            }
        }

        impl LayerRules for $name {
            const WORD: &'static str = $word;
            const PREFIX: &'static str = $word;
            const IS_ACTIVATION: bool = true;

            fn fields(&mut self, fields: &mut impl Fields) {
                $(fields.optional(stringify!($field), &$codec, &mut self.$field);)*
            }

            fn build(&self, b: &mut Builder<'_>, $x: Value) -> Result<Value, Fault> {
                let $g = &mut *b.g;
                $(let $field = self.$field as f32;)*
                Ok($apply?)
            }
        }
    )*};
}

with_numbers! {
    /// `leaky_relu`, as `torch.nn.LeakyReLU`.
    LeakyRelu, "leaky_relu" {
        /// What numbers below 0 are multiplied by: 0.01.
        negative_slope: NUMBER = 0.01,
    }, |g, x| g.leaky_relu(x, negative_slope);
    /// `elu`, as `torch.nn.ELU`.
    Elu, "elu" {
        /// Where it goes for numbers far below 0, negated: 1.
        alpha: NUMBER = 1.0,
    }, |g, x| g.elu(x, alpha);
    /// `softplus`, as `torch.nn.Softplus`.
    Softplus, "softplus" {
        /// How sharp the bend is: 1.
        beta: ABOVE_0 = 1.0,
        /// Where the straight part begins: 20.
        threshold: NUMBER = 20.0,
    }, |g, x| g.softplus(x, beta, threshold);
    /// `hardtanh`, as `torch.nn.Hardtanh`.
    Hardtanh, "hardtanh" {
        /// The least result: -1.
        min_val: NUMBER = -1.0,
        /// The greatest result: 1.
        max_val: NUMBER = 1.0,
    }, |g, x| g.hardtanh(x, min_val, max_val);
    /// `softshrink`, as `torch.nn.Softshrink`.
    Softshrink, "softshrink" {
        /// How far numbers are moved towards 0: 0.5.
        lambd: FROM_0 = 0.5,
    }, |g, x| g.softshrink(x, lambd);
}

/// `gelu`, as `torch.nn.GELU`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gelu {
    /// Whether tanh stands in for the distribution function: PyTorch's `approximate = "tanh"`. No: `"none"`.
    pub tanh: bool,
}

const APPROXIMATE: Codec<bool> = Codec {
    expected: "\"none\" or \"tanh\"",
    read: |value| match value.as_str()? {
        "none" => Some(false),
        "tanh" => Some(true),
        _ => None,
    },
    write: |&tanh| toml::Value::String(if tanh { "tanh" } else { "none" }.to_owned()),
};

impl LayerRules for Gelu {
    const WORD: &'static str = "gelu";
    const PREFIX: &'static str = "gelu";
    const IS_ACTIVATION: bool = true;

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("approximate", &APPROXIMATE, &mut self.tanh);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        Ok(if self.tanh { b.g.gelu_tanh(x)? } else { b.g.gelu(x)? })
    }
}

/// `prelu`, as `torch.nn.PReLU`: a rectifier with learned slopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prelu {
    /// Slopes: 1 for all channels, or as many as there are.
    pub num_parameters: usize,
    /// What they start as: 0.25.
    pub init: f64,
}

impl Default for Prelu {
    fn default() -> Prelu {
        Prelu { num_parameters: 1, init: 0.25 }
    }
}

impl LayerRules for Prelu {
    const WORD: &'static str = "prelu";
    const PREFIX: &'static str = "prelu";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("num_parameters", &COUNT, &mut self.num_parameters);
        fields.optional("init", &NUMBER, &mut self.init);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let channels = b.example(x).first().copied().unwrap_or(1);
        if ![1, channels].contains(&self.num_parameters) {
            let expected = format!("1 or the input's {channels} channels");
            return Err(Fault::new(format!(
                "num_parameters: expected {expected}, got {}",
                self.num_parameters
            )));
        }
        let slopes = b.parameter("weight", &[self.num_parameters], Init::Constant(self.init as f32))?;
        Ok(b.g.prelu(x, slopes)?)
    }
}
