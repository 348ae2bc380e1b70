//! Pointwise functions of one tensor.

use kiln_kernels::unary;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// A function that a kernel's epilogue can apply to its result: `torch.nn.functional`'s of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x * Phi(x)`, with erf (Hendrycks and Gimpel, 2016).
    Gelu,
    /// The approximation of GELU by tanh: PyTorch's `approximate="tanh"`, Hugging Face's `gelu_new`.
    GeluTanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`.
    Silu,
}

impl Activation {
    /// The kind's number in `lib/activation.wgsl`, where 0 is the identity.
    pub(crate) fn code(self) -> u32 {
        match self {
            Activation::Relu => 1,
            Activation::Gelu => 2,
            Activation::GeluTanh => 3,
            Activation::Sigmoid => 4,
            Activation::Tanh => 5,
            Activation::Silu => 6,
        }
    }
}

/// `output[i] = f(input[i])`. NaN passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// One of the activations.
    Activation(Activation),
    /// `-x`.
    Neg,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// Absolute value.
    Abs,
}

impl OpRules for Unary {
    const NAME: &'static str = "unary";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let op = match self {
            Unary::Activation(activation) => activation.code(),
            Unary::Neg => 7,
            Unary::Exp => 8,
            Unary::Log => 9,
            Unary::Sqrt => 10,
            Unary::Rsqrt => 11,
            Unary::Abs => 12,
        };
        for block in lowering.blocks()? {
            let bindings = unary::Bindings { input: lowering.rowwise(0, &block)?, output: block.output };
            let params = unary::Params { count: block.elements };
            let variant = unary::Variant::Base;
            let overrides = unary::Overrides { op };
            let groups = u64::from(block.elements.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}
