//! Running means.

use kiln_kernels::lerp;

use super::UpdateRules;
use super::optimizer_rule::share;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::{Guard, Scalar, expect};
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `running = (1 - momentum) running + momentum factor batch`, in place: the running statistics of
/// `torch.nn.BatchNorm2d`, where the factor `n / (n - 1)` makes a batch's variance unbiased.
///
/// One variable. Inputs: the batch's value, of the same shape, and a [`Guard`]'s output; nothing changes where its scale
/// is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lerp {
    /// The share of the new value, from 0 to 1.
    pub momentum: Scalar,
    /// What the new value is multiplied by.
    pub factor: Scalar,
}

impl UpdateRules for Lerp {
    const NAME: &'static str = "lerp";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        share("momentum", self.momentum)?;
        let &[running] = variables else {
            return Err(Mismatch::new("number of variables", 1, variables.len()));
        };
        let [batch, guard] = expect::inputs(inputs)?;
        expect::numbers("running value", running, &running.shape)?;
        expect::numbers("batch's value", batch, &running.shape)?;
        expect::numbers("guard", guard, &[Guard::LENGTH])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let guard = lowering.whole(1)?;
        for block in lowering.blocks()? {
            let (variable, input) = (lowering.variable(0, &block)?, lowering.rowwise(0, &block)?);
            for span in spans(block.elements) {
                let variant = if span.wide { lerp::Variant::Quad } else { lerp::Variant::Single };
                let params = lerp::Params {
                    begin: span.range.start,
                    end: span.range.end,
                    momentum: self.momentum.get(),
                    factor: self.factor.get(),
                };
                let bindings = lerp::Bindings { variable, input, guard };
                let groups = span.groups(variant.threads(), variant.steps());
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }
}
