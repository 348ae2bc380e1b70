//! The gradients of pointwise functions of one tensor.

use kiln_kernels::unary_grad;

use super::{Activation, OpRules, Unary, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::spans::spans;
use crate::tensor::{DType, TensorDesc};

/// `output[i] = f'(x[i]) * grad[i]` for a function `f` of [`Unary`], where the first input is `x` or `f(x)`, whichever
/// [`Unary::gradient_reads`] says, and the second is the gradient of the function's result.
///
/// At kinks it is what PyTorch takes: 0 at the corners of `relu`, `abs`, `hardtanh` and `softshrink`, the left side's
/// slope for `leaky_relu` and `elu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnaryGrad {
    /// The function.
    pub function: Unary,
}

/// What a function's gradient is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GradientReads {
    /// What the function was applied to.
    Input,
    /// The function's result.
    Output,
}

impl Unary {
    /// What the function's gradient is computed from.
    ///
    /// The result, wherever it tells as much as the input: the next op keeps it anyway, so nothing else stays in memory
    /// until the gradient is due, and what makes the input can fuse the function (a convolution its relu). The input,
    /// where several inputs have one result (`gelu`, `silu`, `abs`, `smooth_l1`, `leaky_relu` with a slope below 0) or
    /// the result has lost digits that the gradient needs (`elu` far below 0, `softplus`, `log_sigmoid`, `log`).
    pub fn gradient_reads(self) -> GradientReads {
        match self {
            Unary::Activation(Activation::Relu | Activation::Sigmoid | Activation::Tanh)
            | Unary::Neg
            | Unary::Exp
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Hardtanh { .. }
            | Unary::Softshrink(_) => GradientReads::Output,
            Unary::LeakyRelu(slope) if slope.get() >= 0.0 => GradientReads::Output,
            Unary::Activation(Activation::Gelu | Activation::GeluTanh | Activation::Silu)
            | Unary::Log
            | Unary::Abs
            | Unary::LeakyRelu(_)
            | Unary::Elu(_)
            | Unary::Softplus { .. }
            | Unary::LogSigmoid
            | Unary::SmoothL1(_) => GradientReads::Input,
        }
    }
}

impl OpRules for UnaryGrad {
    const NAME: &'static str = "unary_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [reads, grad] = expect::inputs(inputs)?;
        expect::dtype("input", reads, DType::F32)?;
        expect::numbers("gradient", grad, &reads.shape)?;
        self.function.check_options()?;
        Ok(reads.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (op, [a, b]) = self.function.code();
        for block in lowering.blocks()? {
            let (reads, grad) = (lowering.rowwise(0, &block)?, lowering.rowwise(1, &block)?);
            for span in spans(block.elements) {
                let variant = if span.wide { unary_grad::Variant::Quad } else { unary_grad::Variant::Single };
                let params = unary_grad::Params { begin: span.range.start, end: span.range.end, a, b };
                let bindings = unary_grad::Bindings { reads, grad, output: block.output };
                let overrides = unary_grad::Overrides { op };
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Scalar;

    #[test]
    fn the_gradient_has_the_shape_of_the_function() {
        let op = UnaryGrad { function: Unary::Activation(Activation::Relu) };
        let infer = |reads: &[usize], grad: &[usize]| {
            let made = op.infer(&[&TensorDesc::f32(reads), &TensorDesc::f32(grad)]);
            made.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(&[2, 3], &[2, 3]), Ok(vec![2, 3]));
        assert_eq!(infer(&[2, 3], &[3]), Err("gradient: expected [2, 3], got f32[3]".into()));
        let none = UnaryGrad { function: Unary::Softshrink(Scalar::new(-1.0)) };
        assert!(none.infer(&[&TensorDesc::f32([2]), &TensorDesc::f32([2])]).is_err());
    }

    /// A slope below 0 folds the line: the result no longer says on which side its input was.
    #[test]
    fn a_result_is_read_where_it_tells_the_side() {
        let leaky = |slope| Unary::LeakyRelu(Scalar::new(slope)).gradient_reads();
        assert_eq!(leaky(0.01), GradientReads::Output);
        assert_eq!(leaky(0.0), GradientReads::Output);
        assert_eq!(leaky(-0.5), GradientReads::Input);
        assert_eq!(leaky(f32::NAN), GradientReads::Input);
    }
}
