//! What the kernels of products and convolutions do with a sum before they write it.

use std::fmt;

use crate::error::Mismatch;
use crate::ops::{Activation, expect};
use crate::tensor::TensorDesc;

/// `activation(sum + bias) + residual`, each part if asked for.
///
/// The op that has an epilogue takes the bias as an input after its own, and the residual after that. The bias holds a
/// number for each column of a product or channel of a convolution; the residual is of the output's shape.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// Whether a bias is added.
    pub bias: bool,
    /// Applied after the bias.
    pub activation: Option<Activation>,
    /// Whether a tensor is added last.
    pub residual: bool,
}

impl Epilogue {
    /// Nothing but the bias, if there is one.
    pub fn with_bias(bias: bool) -> Self {
        Self { bias, ..Self::default() }
    }

    /// How many inputs it takes.
    pub fn inputs(&self) -> usize {
        usize::from(self.bias) + usize::from(self.residual)
    }

    /// Checks the inputs behind the op's `own` ones, for an output of so many columns or channels.
    pub(crate) fn check(
        &self,
        own: usize,
        inputs: &[&TensorDesc],
        channels: usize,
        output: &TensorDesc,
    ) -> Result<(), Mismatch> {
        if inputs.len() != own + self.inputs() {
            return Err(Mismatch::new("number of inputs", own + self.inputs(), inputs.len()));
        }
        if self.bias {
            expect::numbers("bias", inputs[own], &[channels])?;
        }
        if self.residual {
            expect::numbers("residual", inputs[inputs.len() - 1], &output.shape)?;
        }
        Ok(())
    }

    /// How many operations it adds to an output of so many elements.
    pub(crate) fn operations(&self, elements: u64) -> u64 {
        elements.saturating_mul(self.inputs() as u64 + u64::from(self.activation.is_some()))
    }

    /// The bits that tell a kernel which parts there are: 1 bias, 2 residual.
    pub(crate) fn flags(&self) -> u32 {
        u32::from(self.bias) + 2 * u32::from(self.residual)
    }

    /// The activation's number in `lib/activation.wgsl`.
    pub(crate) fn activation_code(&self) -> u32 {
        self.activation.map_or(0, Activation::code)
    }
}

impl fmt::Debug for Epilogue {
    /// `bias+Relu+residual`, or `none`: plans are read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .bias
            .then(|| "bias".to_owned())
            .into_iter()
            .chain(self.activation.map(|activation| format!("{activation:?}")))
            .chain(self.residual.then(|| "residual".to_owned()))
            .collect();
        if parts.is_empty() { f.write_str("none") } else { f.write_str(&parts.join("+")) }
    }
}
