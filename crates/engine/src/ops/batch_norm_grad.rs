//! The gradient of a batch normalisation by its own statistics.

use kiln_kernels::{batch_norm_grad, batch_norm_grad_flat};

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Lowering};
use crate::planes::{Eights, PlaneLoads, Planes};
use crate::tensor::TensorDesc;

/// The gradient by x of `(x - mean) / sqrt(variance + epsilon) * weight + bias` where mean and variance are those of x,
/// channel by channel: `weight r (grad - bias_grad / m - (x - mean) r weight_grad / m)` with `r = 1 / sqrt(variance +
/// epsilon)` and `m` elements a channel (Ioffe and Szegedy, 2015).
///
/// Inputs: the gradient of the result and x of `[N, C]` or `[N, C, ...]`, mean and variance as `[2, C]`, then weight, and
/// the gradients of bias and weight, of `[C]` each; with a relu the bias as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchNormGrad {
    /// Added to the variance.
    pub epsilon: Scalar,
    /// Whether the gradient given is that of a relu behind the norm: where the norm's result, computed anew from x, is 0 or
    /// less, 0 takes its place.
    pub relu: bool,
}

impl OpRules for BatchNormGrad {
    const NAME: &'static str = "batch_norm_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let ([grad, input, moments, channels @ ..], bias) = if self.relu {
            let [own @ .., bias] = expect::inputs::<7>(inputs)?;
            (own, Some(bias))
        } else {
            (expect::inputs::<6>(inputs)?, None)
        };
        let count = expect::channels(grad)?;
        expect::numbers("input", input, &grad.shape)?;
        expect::numbers("mean and variance", moments, &[2, count])?;
        for (what, desc) in
            ["weight", "gradient of the bias", "gradient of the weight"].into_iter().zip(channels)
        {
            expect::numbers(what, desc, &[count])?;
        }
        if let Some(bias) = bias {
            expect::numbers("bias", bias, &[count])?;
        }
        Ok(grad.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let overrides = batch_norm_grad::Overrides { relu: u32::from(self.relu) };
        for block in lowering.blocks()? {
            let planes = Planes::of(desc, &block);
            if let Some(eights) = planes.eights(lowering.profile) {
                self.lower_eights(lowering, &block, planes.channels, eights)?;
                continue;
            }
            let (planes, loads) = planes.loads(lowering.profile);
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
                share: share(desc),
                epsilon: self.epsilon.get(),
            };
            let bindings = batch_norm_grad::Bindings {
                grad: lowering.rowwise(0, &block)?,
                input: lowering.rowwise(1, &block)?,
                moments: lowering.whole(2)?,
                weight: lowering.whole(3)?,
                bias: lowering.whole(self.bias())?,
                bias_grad: lowering.whole(4)?,
                weight_grad: lowering.whole(5)?,
                output: block.output,
            };
            let bindings = bindings.into_array();
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings, runs.workgroups)?;
        }
        Ok(())
    }
}

/// One by the elements of a channel.
fn share(desc: &TensorDesc) -> f32 {
    let elements = desc.elements() / desc.shape[1];
    (1.0 / elements as f64) as f32
}

impl BatchNormGrad {
    /// The input that is bound as the bias: where no kernel reads it, the weight.
    fn bias(&self) -> usize {
        if self.relu { 6 } else { 3 }
    }

    fn lower_eights(
        &self,
        lowering: &mut Lowering<'_>,
        block: &Block,
        channels: u32,
        eights: Eights,
    ) -> Result<()> {
        use batch_norm_grad_flat::Variant;
        let variant = if eights.words { Variant::Wide } else { Variant::Plain };
        let params = batch_norm_grad_flat::Params {
            eights: eights.count,
            run: eights.run,
            channels,
            inner: eights.inner,
            share: share(lowering.output.desc),
            epsilon: self.epsilon.get(),
        };
        let bindings = batch_norm_grad_flat::Bindings {
            grad: lowering.rowwise(0, block)?,
            input: lowering.rowwise(1, block)?,
            moments: lowering.whole(2)?,
            weight: lowering.whole(3)?,
            bias: lowering.whole(self.bias())?,
            bias_grad: lowering.whole(4)?,
            weight_grad: lowering.whole(5)?,
            output: block.output,
        };
        let overrides = batch_norm_grad_flat::Overrides { relu: u32::from(self.relu) };
        let groups = eights.workgroups(variant.threads());
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_has_its_shape() {
        let op = BatchNormGrad { epsilon: Scalar::new(1e-5), relu: false };
        let (x, channels, moments) =
            (TensorDesc::f32([2, 3, 5]), TensorDesc::f32([3]), TensorDesc::f32([2, 3]));
        let made = op.infer(&[&x, &x, &moments, &channels, &channels, &channels]);
        assert_eq!(made.as_ref(), Ok(&x));
        let error = op.infer(&[&x, &moments, &moments, &channels, &channels, &channels]);
        assert_eq!(error.expect_err("ranks").to_string(), "input: expected [2, 3, 5], got f32[2, 3]");
        let error = op.infer(&[&x, &x, &channels, &channels, &channels, &channels]);
        assert_eq!(error.expect_err("ranks").to_string(), "mean and variance: expected [2, 3], got f32[3]");
        let error = op.infer(&[&x, &x, &moments, &channels, &channels, &moments]);
        assert_eq!(
            error.expect_err("ranks").to_string(),
            "gradient of the weight: expected [3], got f32[2, 3]"
        );
        let op = BatchNormGrad { relu: true, ..op };
        let made = op.infer(&[&x, &x, &moments, &channels, &channels, &channels, &channels]);
        assert_eq!(made.as_ref(), Ok(&x));
        let error = op.infer(&[&x, &x, &moments, &channels, &channels, &channels, &moments]);
        assert_eq!(error.expect_err("ranks").to_string(), "bias: expected [3], got f32[2, 3]");
    }
}
