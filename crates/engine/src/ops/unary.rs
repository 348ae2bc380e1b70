//! Pointwise functions of one tensor.

use kiln_kernels::unary;

use super::{GradientReads, OpRules, Scalar, UnaryGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::spans::spans;
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

/// `output[i] = f(input[i])`; the activations are `torch.nn.functional`'s of the names given. NaN passes through, also
/// where PyTorch loses it (its `softshrink` of old).
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
    /// `x` where it is above 0, else the slope times `x`: `leaky_relu` (Maas, Hannun and Ng, 2013).
    LeakyRelu(Scalar),
    /// `x` where it is above 0, else `alpha * (e^x - 1)`: `elu` (Clevert, Unterthiner and Hochreiter, 2015).
    Elu(Scalar),
    /// `log(1 + e^(beta x)) / beta`, and `x` itself where `beta x` is above the threshold: `softplus`.
    Softplus {
        /// How sharp the bend is; any number but 0.
        beta: Scalar,
        /// Where the straight part begins.
        threshold: Scalar,
    },
    /// `x`, but at least `min` and at most `max`: `hardtanh`; `relu6` with 0 and 6.
    Hardtanh {
        /// The least result.
        min: Scalar,
        /// The greatest result; not below `min`.
        max: Scalar,
    },
    /// `-log(1 + e^-x)`: `logsigmoid`.
    LogSigmoid,
    /// `x` moved towards 0 by lambda, which is at least 0, and 0 where it is nearer: `softshrink`.
    Softshrink(Scalar),
    /// `0.5 x^2 / beta` where `|x|` is below beta, which is at least 0, else `|x| - 0.5 beta`: of a difference, each
    /// term of `smooth_l1_loss` (Girshick, 2015).
    SmoothL1(Scalar),
}

impl Unary {
    /// The function's number in `unary.wgsl` and what the kernel takes with it.
    pub(super) fn code(self) -> (u32, [f32; 2]) {
        match self {
            Unary::Activation(activation) => (activation.code(), [0.0; 2]),
            Unary::Neg => (7, [0.0; 2]),
            Unary::Exp => (8, [0.0; 2]),
            Unary::Log => (9, [0.0; 2]),
            Unary::Sqrt => (10, [0.0; 2]),
            Unary::Rsqrt => (11, [0.0; 2]),
            Unary::Abs => (12, [0.0; 2]),
            Unary::LeakyRelu(slope) => (13, [slope.get(), 0.0]),
            Unary::Elu(alpha) => (14, [alpha.get(), 0.0]),
            Unary::Softplus { beta, threshold } => (15, [beta.get(), threshold.get()]),
            Unary::Hardtanh { min, max } => (16, [min.get(), max.get()]),
            Unary::LogSigmoid => (17, [0.0; 2]),
            Unary::Softshrink(lambda) => (18, [lambda.get(), 0.0]),
            Unary::SmoothL1(beta) => (19, [beta.get(), 0.0]),
        }
    }

    /// Refuses numbers with which the function is none.
    pub(super) fn check_options(self) -> Result<(), Mismatch> {
        match self {
            Unary::Softplus { beta, .. } if beta.get() == 0.0 => {
                Err(Mismatch::new("softplus beta", "a number other than 0", beta.get()))
            }
            // Asked this way round, so that NaN is refused.
            Unary::Hardtanh { min, max } if min.get() <= max.get() => Ok(()),
            Unary::Hardtanh { min, max } => {
                let expected = format!("at most the max of {}", max.get());
                Err(Mismatch::new("hardtanh min", expected, min.get()))
            }
            Unary::Softshrink(lambda) if lambda.get() >= 0.0 => Ok(()),
            Unary::Softshrink(lambda) => Err(Mismatch::new("softshrink lambda", "at least 0", lambda.get())),
            Unary::SmoothL1(beta) if beta.get() >= 0.0 => Ok(()),
            Unary::SmoothL1(beta) => Err(Mismatch::new("smooth_l1 beta", "at least 0", beta.get())),
            _ => Ok(()),
        }
    }
}

impl OpRules for Unary {
    const NAME: &'static str = "unary";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        self.check_options()?;
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (op, [a, b]) = self.code();
        for block in lowering.blocks()? {
            let input = lowering.rowwise(0, &block)?;
            for span in spans(block.elements) {
                let variant = if span.wide { unary::Variant::Quad } else { unary::Variant::Single };
                let params = unary::Params { begin: span.range.start, end: span.range.end, a, b };
                let bindings = unary::Bindings { input, output: block.output };
                let overrides = unary::Overrides { op };
                let groups = span.groups(variant.threads(), 1);
                lowering.dispatch(
                    variant.kernel(),
                    overrides.pairs(),
                    &params,
                    bindings.into_array(),
                    groups,
                )?;
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let grad = backward.grad();
        if *self == Unary::Neg {
            return Ok(vec![Some(backward.g.neg(grad)?)]);
        }
        let reads = match self.gradient_reads() {
            GradientReads::Input => backward.input(0),
            GradientReads::Output => backward.output(),
        };
        Ok(vec![Some(backward.g.apply(UnaryGrad { function: *self }, &[reads, grad])?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_function_are_refused() {
        let number = Scalar::new;
        let (low, high, nan) = (number(-1.0), number(1.0), number(f32::NAN));
        for (function, expected) in [
            (Unary::Hardtanh { min: low, max: high }, None),
            (Unary::Hardtanh { min: high, max: high }, None),
            (
                Unary::Hardtanh { min: high, max: low },
                Some("hardtanh min: expected at most the max of -1, got 1"),
            ),
            (
                Unary::Hardtanh { min: nan, max: high },
                Some("hardtanh min: expected at most the max of 1, got NaN"),
            ),
            (Unary::Softshrink(number(0.0)), None),
            (Unary::Softshrink(low), Some("softshrink lambda: expected at least 0, got -1")),
            (Unary::SmoothL1(number(0.0)), None),
            (Unary::SmoothL1(nan), Some("smooth_l1 beta: expected at least 0, got NaN")),
            (Unary::Softplus { beta: low, threshold: high }, None),
            (
                Unary::Softplus { beta: number(0.0), threshold: high },
                Some("softplus beta: expected a number other than 0, got 0"),
            ),
        ] {
            let inferred = function.infer(&[&TensorDesc::f32([2, 3])]);
            assert_eq!(inferred.err().map(|e| e.to_string()).as_deref(), expected, "{function:?}");
        }
    }
}
