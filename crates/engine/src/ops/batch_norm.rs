//! Batch normalisation by running statistics.

use kiln_kernels::batch_norm;

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::planes::Planes;
use crate::select::{PlaneForm, plane_form};
use crate::tensor::TensorDesc;

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` by channel, the second dimension:
/// `torch.nn.functional.batch_norm` with `training=False` (Ioffe and Szegedy, 2015).
///
/// Inputs: x of `[N, C]` or `[N, C, ...]`, then mean, variance, weight and bias of `[C]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: Scalar,
}

impl OpRules for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, mean, variance, weight, bias] = expect::inputs(inputs)?;
        let channels = expect::channels(input)?;
        for (what, desc) in [("mean", mean), ("variance", variance), ("weight", weight), ("bias", bias)] {
            expect::numbers(what, desc, &[channels])?;
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            let planes = Planes::of(lowering.output.desc, &block);
            let variant = match plane_form(lowering.profile, planes.inner) {
                PlaneForm::Narrow => batch_norm::Variant::Narrow,
                PlaneForm::Wide => batch_norm::Variant::Wide,
            };
            let runs = planes.runs(variant.threads(), variant.lanes(), variant.steps());
            let Planes { planes, channels, inner } = planes;
            let params = batch_norm::Params {
                planes,
                channels,
                inner,
                runs_per_plane: runs.per_plane,
                epsilon: self.epsilon.get(),
            };
            let bindings = batch_norm::Bindings {
                input: lowering.rowwise(0, &block)?,
                mean: lowering.whole(1)?,
                variance: lowering.whole(2)?,
                weight: lowering.whole(3)?,
                bias: lowering.whole(4)?,
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
    fn channels_are_the_second_dimension() {
        let op = BatchNorm { epsilon: Scalar::new(1e-5) };
        let channels = TensorDesc::f32([3]);
        for shape in [&[2, 3][..], &[2, 3, 5], &[2, 3, 5, 7], &[2, 3, 5, 7, 11]] {
            let x = TensorDesc::f32(shape);
            let inferred = op.infer(&[&x, &channels, &channels, &channels, &channels]);
            assert_eq!(inferred.as_ref(), Ok(&x));
        }
        let x = TensorDesc::f32([2, 4, 5]);
        let error = op.infer(&[&x, &channels, &channels, &channels, &channels]).expect_err("4 are not 3");
        assert_eq!(error.to_string(), "mean: expected [4], got f32[3]");
        let x = TensorDesc::f32([3]);
        let error = op.infer(&[&x, &channels, &channels, &channels, &channels]).expect_err("no batch");
        assert_eq!(error.to_string(), "input rank: expected at least 2, as [N, C, ...] has, got f32[3]");
    }
}
