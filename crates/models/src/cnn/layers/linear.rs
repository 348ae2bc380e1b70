//! Fully connected layers.

use kiln_engine::Value;

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{COUNT, FLAG, Fields};
use crate::cnn::layer::LayerRules;

/// `linear`, as `torch.nn.Linear`, on `[N, features]`: a weight of `[out_features, in]` and a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Features of the output; required.
    pub out_features: usize,
    /// Whether there is a bias: yes.
    pub bias: bool,
    /// Features that the input must have; any where it is not given.
    pub in_features: Option<usize>,
}

impl Linear {
    /// A layer with a bias.
    pub fn new(out_features: usize) -> Linear {
        Linear { out_features, bias: true, in_features: None }
    }
}

impl Default for Linear {
    fn default() -> Linear {
        Linear::new(0)
    }
}

impl LayerRules for Linear {
    const WORD: &'static str = "linear";
    const PREFIX: &'static str = "fc";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("out_features", &COUNT, &mut self.out_features);
        fields.optional("bias", &FLAG, &mut self.bias);
        fields.absent("in_features", &COUNT, &mut self.in_features);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let features = b.features(x)?;
        b.expect("in_features", self.in_features, features)?;
        let (weight, bias) = b.learned(&[self.out_features, features], self.out_features, self.bias)?;
        Ok(b.g.linear(x, weight, bias)?)
    }
}
