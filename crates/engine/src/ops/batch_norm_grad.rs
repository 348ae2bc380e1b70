//! The gradient of a batch normalisation by its own statistics.

use kiln_kernels::batch_norm_grad;

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::planes::{PlaneLoads, Planes};
use crate::tensor::TensorDesc;

/// The gradient by x of `(x - mean) / sqrt(variance + epsilon) * weight + bias` where mean and variance are those of x,
/// channel by channel: `weight r (grad - bias_grad / m - (x - mean) r weight_grad / m)` with `r = 1 / sqrt(variance +
/// epsilon)` and `m` elements a channel (Ioffe and Szegedy, 2015).
///
/// Inputs: the gradient of the result and x of `[N, C]` or `[N, C, ...]`, then mean, variance, weight, and the
/// gradients of bias and weight, of `[C]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchNormGrad {
    /// Added to the variance.
    pub epsilon: Scalar,
}

impl OpRules for BatchNormGrad {
    const NAME: &'static str = "batch_norm_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [grad, input, channels @ ..] = expect::inputs::<7>(inputs)?;
        let count = expect::channels(grad)?;
        expect::numbers("input", input, &grad.shape)?;
        for (what, desc) in ["mean", "variance", "weight", "gradient of the bias", "gradient of the weight"]
            .iter()
            .zip(channels)
        {
            expect::numbers(what, desc, &[count])?;
        }
        Ok(grad.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let elements = desc.elements() / desc.shape[1];
        for block in lowering.blocks()? {
            let (planes, loads) = Planes::of(desc, &block).loads(lowering.profile);
            let variant = match loads {
                PlaneLoads::Narrow => batch_norm_grad::Variant::Narrow,
                PlaneLoads::Wide => batch_norm_grad::Variant::Wide,
                PlaneLoads::NarrowVector => batch_norm_grad::Variant::NarrowVector,
                PlaneLoads::WideVector => batch_norm_grad::Variant::WideVector,
                PlaneLoads::Across => batch_norm_grad::Variant::Across,
            };
            let runs = planes.runs(variant.threads(), variant.lanes(), variant.steps());
            let params = batch_norm_grad::Params {
                planes: planes.planes,
                channels: planes.channels,
                inner: planes.inner,
                runs_per_plane: runs.per_plane,
                share: (1.0 / elements as f64) as f32,
                epsilon: self.epsilon.get(),
            };
            let bindings = batch_norm_grad::Bindings {
                grad: lowering.rowwise(0, &block)?,
                input: lowering.rowwise(1, &block)?,
                mean: lowering.whole(2)?,
                variance: lowering.whole(3)?,
                weight: lowering.whole(4)?,
                bias_grad: lowering.whole(5)?,
                weight_grad: lowering.whole(6)?,
                output: block.output,
            };
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), runs.workgroups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_has_its_shape() {
        let op = BatchNormGrad { epsilon: Scalar::new(1e-5) };
        let (x, channels, other) =
            (TensorDesc::f32([2, 3, 5]), TensorDesc::f32([3]), TensorDesc::f32([2, 3]));
        let made = op.infer(&[&x, &x, &channels, &channels, &channels, &channels, &channels]);
        assert_eq!(made.as_ref(), Ok(&x));
        let error = op.infer(&[&x, &other, &channels, &channels, &channels, &channels, &channels]);
        assert_eq!(error.expect_err("ranks").to_string(), "input: expected [2, 3, 5], got f32[2, 3]");
        let error = op.infer(&[&x, &x, &channels, &channels, &channels, &channels, &other]);
        assert_eq!(
            error.expect_err("ranks").to_string(),
            "gradient of the weight: expected [3], got f32[2, 3]"
        );
    }
}
