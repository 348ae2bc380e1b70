//! Running means.

use kiln_kernels::lerp;

use super::UpdateRules;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::{Guard, expect};
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `running = (1 - momentum) running + momentum factor batch`, in place and element by element: the running statistics of
/// `torch.nn.BatchNorm2d`, where the factor `n / (n - 1)` makes a batch's variance unbiased.
///
/// One variable. Inputs: the batch's value, the momentum (the share of the new value, from 0 to 1) and the factor, all of
/// the same shape, so that statistics of many layers may lie in one vector; and a [`Guard`]'s output: nothing changes where
/// its scale is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lerp;

impl UpdateRules for Lerp {
    const NAME: &'static str = "lerp";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let &[running] = variables else {
            return Err(Mismatch::new("number of variables", 1, variables.len()));
        };
        let [batch, momentum, factor, guard] = expect::inputs(inputs)?;
        expect::numbers("running value", running, &running.shape)?;
        for (what, desc) in [("batch's value", batch), ("momentum", momentum), ("factor", factor)] {
            expect::numbers(what, desc, &running.shape)?;
        }
        expect::numbers("guard", guard, &[Guard::LENGTH])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let guard = lowering.whole(3)?;
        for block in lowering.blocks()? {
            let bindings = lerp::Bindings {
                variable: lowering.variable(0, &block)?,
                input: lowering.rowwise(0, &block)?,
                momentum: lowering.rowwise(1, &block)?,
                factor: lowering.rowwise(2, &block)?,
                guard,
            }
            .into_array();
            for span in spans(block.elements) {
                let variant = if span.wide { lerp::Variant::Quad } else { lerp::Variant::Single };
                let params = lerp::Params { begin: span.range.start, end: span.range.end };
                let groups = span.groups(variant.threads(), variant.steps());
                lowering.dispatch(variant.kernel(), [], &params, bindings, groups)?;
            }
        }
        Ok(())
    }
}
