//! The gradient of local response normalisation.

use kiln_kernels::local_response_norm_grad;

use super::{LocalResponseNorm, OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;

/// The gradient of [`LocalResponseNorm`] by its input, the first one here, from that of its result, the second:
/// `grad_c base_c^-beta - 2 beta alpha / size x_c sum_d grad_d x_d base_d^(-beta - 1)`, over the channels `d` whose windows
/// see the channel `c`.
///
/// For windows of up to [`LONGEST`](Self::LONGEST) channels; those of longer ones are averages of pooling along channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalResponseNormGrad {
    /// The forward op.
    pub forward: LocalResponseNorm,
}

impl LocalResponseNormGrad {
    /// Channels in the longest window.
    pub const LONGEST: usize = VARIANT.longest() as usize;
}

const VARIANT: local_response_norm_grad::Variant = local_response_norm_grad::Variant::Base;

impl OpRules for LocalResponseNormGrad {
    const NAME: &'static str = "local_response_norm_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, grad] = expect::inputs(inputs)?;
        let output = self.forward.infer(&[input])?;
        expect::numbers("gradient", grad, &output.shape)?;
        if self.forward.size > Self::LONGEST {
            return Err(Mismatch::new("size", format!("at most {}", Self::LONGEST), self.forward.size));
        }
        Ok(output)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let (channels, inner) = (desc.shape[1] as u32, desc.elements_behind(2) as u32);
        let LocalResponseNorm { size, alpha, beta, k } = self.forward;
        let channel_groups = channels.div_ceil(VARIANT.channels());
        for block in lowering.blocks()? {
            let params = local_response_norm_grad::Params {
                count: block.elements / channels * channel_groups,
                channel_groups,
                channels,
                inner,
                k: k.get(),
                scale: alpha.get() / size as f32,
                beta: beta.get(),
            };
            let overrides =
                local_response_norm_grad::Overrides { before: size as u32 / 2, after: (size as u32 - 1) / 2 };
            let bindings = local_response_norm_grad::Bindings {
                input: lowering.rowwise(0, &block)?,
                grad: lowering.rowwise(1, &block)?,
                output: block.output,
            };
            let groups = u64::from(params.count.div_ceil(VARIANT.threads()));
            lowering.dispatch(VARIANT.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |size, input: &[usize], grad: &[usize]| {
            LocalResponseNormGrad { forward: LocalResponseNorm::new(size) }
                .infer(&[&TensorDesc::f32(input), &TensorDesc::f32(grad)])
                .map(|desc| desc.shape)
                .map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(5, &[2, 6, 5], &[2, 6, 5]), Ok(vec![2, 6, 5]));
        assert_eq!(infer(5, &[2, 6, 5], &[2, 6]), Err("gradient: expected [2, 6, 5], got f32[2, 6]".into()));
        assert_eq!(infer(10, &[2, 6, 5], &[2, 6, 5]), Err("size: expected at most 9, got 10".into()));
    }
}
