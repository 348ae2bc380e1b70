//! Whether a training step may change anything, and how far its gradients are clipped.

use kiln_kernels::guard;

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;

/// From a loss `[]`, the squared norm `[]` of all gradients, the flag `stopped` `[1]` of earlier steps and some number `[]`
/// to be noted: `[scale, norm, stopped, loss, note]`, of shape `[5]`, the record of a training step.
///
/// Where the loss or the squared norm is not finite, or the flag was not 0, the scale is 0, with which the update rules
/// change nothing, and the new flag is 1. Elsewhere the flag is 0 and the scale is what gradients are multiplied by:
/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_` has it, or 1 without a `max_norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The norm that clipped gradients have at most; above 0.
    pub max_norm: Option<Scalar>,
}

impl Guard {
    /// Elements of the output.
    pub(crate) const LENGTH: usize = 5;
}

impl OpRules for Guard {
    const NAME: &'static str = "guard";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [loss, squared_norm, stopped, note] = expect::inputs(inputs)?;
        expect::numbers("loss", loss, &[])?;
        expect::numbers("squared norm", squared_norm, &[])?;
        expect::numbers("stopped", stopped, &[1])?;
        expect::numbers("note", note, &[])?;
        if let Some(max_norm) = self.max_norm.map(Scalar::get)
            && !(max_norm > 0.0 && max_norm.is_finite())
        {
            return Err(Mismatch::new("max_norm", "a finite number above 0", max_norm));
        }
        Ok(TensorDesc::f32([Self::LENGTH]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let variant = guard::Variant::Base;
        let max_norm = self.max_norm.map_or(1.0, Scalar::get);
        let params = guard::Params { count: Self::LENGTH as u32, max_norm };
        let bindings = guard::Bindings {
            loss: lowering.whole(0)?,
            squared_norm: lowering.whole(1)?,
            stopped: lowering.whole(2)?,
            note: lowering.whole(3)?,
            output: lowering.whole_output()?,
        };
        let overrides = guard::Overrides { clip: u32::from(self.max_norm.is_some()) };
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_to_clip_to_is_a_positive_number() {
        let (scalar, flag) = (TensorDesc::f32([]), TensorDesc::f32([1]));
        for (max_norm, fits) in [
            (None, true),
            (Some(1.0), true),
            (Some(0.0), false),
            (Some(f32::NAN), false),
            (Some(f32::INFINITY), false),
        ] {
            let op = Guard { max_norm: max_norm.map(Scalar::new) };
            assert_eq!(op.infer(&[&scalar, &scalar, &flag, &scalar]).is_ok(), fits, "{max_norm:?}");
        }
        let error =
            Guard { max_norm: None }.infer(&[&scalar, &scalar, &scalar, &scalar]).map_err(|e| e.to_string());
        assert_eq!(error, Err("stopped: expected [1], got f32[]".to_owned()));
    }
}
