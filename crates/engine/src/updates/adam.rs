//! Adam, and AdamW.

use kiln_kernels::adam;

use super::UpdateRules;
use super::optimizer_rule::{check, not_negative, share};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::Scalar;
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `torch.optim.Adam` (Kingma and Ba, 2015) and `torch.optim.AdamW` (Loshchilov and Hutter, 2019), in place. With
/// `d = scale gradient + weight_decay parameter`:
/// `exp_avg += gain (d - exp_avg)`, `exp_avg_sq += gain_sq (d^2 - exp_avg_sq)`,
/// `parameter -= decay parameter + rate exp_avg / (correction sqrt(exp_avg_sq) + eps)`.
///
/// Variables: the parameter, `exp_avg`, `exp_avg_sq`. Inputs: the gradient, the rates `[rate, correction, decay, unused]`
/// and a [`Guard`](crate::ops::Guard)'s output; nothing changes where its scale is 0.
/// [`Optimizer::rates`](crate::Optimizer::rates) gives the rates of each step, bias corrections and decoupled decay
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Adam {
    /// 1 - beta1, rounded once: the difference from a rounded beta1 would have lost digits.
    pub gain: Scalar,
    /// 1 - beta2.
    pub gain_sq: Scalar,
    /// Added to the root. At least 0.
    pub eps: Scalar,
    /// How much of the parameter is added to its gradient: Adam's weight decay, not AdamW's. At least 0.
    pub weight_decay: Scalar,
}

impl UpdateRules for Adam {
    const NAME: &'static str = "adam";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        share("gain", self.gain)?;
        share("gain_sq", self.gain_sq)?;
        not_negative("eps", self.eps)?;
        not_negative("weight decay", self.weight_decay)?;
        check(&["exp_avg", "exp_avg_sq"], variables, inputs)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (rates, guard) = (lowering.whole(1)?, lowering.whole(2)?);
        for block in lowering.blocks()? {
            let bindings = adam::Bindings {
                parameter: lowering.variable(0, &block)?,
                exp_avg: lowering.variable(1, &block)?,
                exp_avg_sq: lowering.variable(2, &block)?,
                gradient: lowering.rowwise(0, &block)?,
                rates,
                guard,
            }
            .into_array();
            for span in spans(block.elements) {
                let variant = match (span.wide, lowering.profile.kind.is_software()) {
                    (true, false) => adam::Variant::Quad,
                    (true, true) => adam::Variant::Once,
                    (false, _) => adam::Variant::Single,
                };
                let params = adam::Params {
                    begin: span.range.start,
                    end: span.range.end,
                    gain: self.gain.get(),
                    gain_sq: self.gain_sq.get(),
                    epsilon: self.eps.get(),
                    weight_decay: self.weight_decay.get(),
                };
                let groups = span.groups(variant.threads(), variant.steps());
                lowering.dispatch(variant.kernel(), [], &params, bindings, groups)?;
            }
        }
        Ok(())
    }
}
