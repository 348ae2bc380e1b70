//! Layers that are made of layers.

use kiln_engine::Value;

use crate::cnn::Layer;
use crate::cnn::build::{Builder, shape};
use crate::cnn::fault::Fault;
use crate::cnn::fields::Fields;
use crate::cnn::layer::LayerRules;

/// What the layers of a shortcut have in front of their names.
const SHORTCUT: &str = "shortcut";

/// `sequential`, as `torch.nn.Sequential`: layers one after the other, under one name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequential {
    /// The layers; required.
    pub body: Vec<Layer>,
}

impl LayerRules for Sequential {
    const WORD: &'static str = "sequential";
    const PREFIX: &'static str = "block";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.layers("body", true, &mut self.body);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        b.layers("body layer", &self.body, x)
    }
}

/// `residual`: the sum of what two ways make of the input (He et al., 2015). Tensors of the body are called
/// `block1.conv1.weight`, those of the shortcut `block1.shortcut.conv1.weight`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Residual {
    /// The layers of one way; required.
    pub body: Vec<Layer>,
    /// Those of the other; none where the input itself is added.
    pub shortcut: Vec<Layer>,
}

impl LayerRules for Residual {
    const WORD: &'static str = "residual";
    const PREFIX: &'static str = "block";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.layers("body", true, &mut self.body);
        fields.layers("shortcut", false, &mut self.shortcut);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        if self.body.iter().any(|layer| layer.name.as_deref() == Some(SHORTCUT)) {
            return Err(Fault::new(format!(
                "a layer of the body is called {SHORTCUT:?}, as the other way is"
            )));
        }
        let body = b.layers("body layer", &self.body, x)?;
        let shortcut = b.scope(SHORTCUT, |b| b.layers("shortcut layer", &self.shortcut, x))?;
        let (long, short) = (b.g.desc(body), b.g.desc(shortcut));
        if long != short {
            let (long, short) = (shape(long), shape(short));
            return Err(Fault::new(format!(
                "body and shortcut: expected the same shape of both, got {long} of the body and {short} of the shortcut"
            )));
        }
        Ok(b.g.add(body, shortcut)?)
    }
}
