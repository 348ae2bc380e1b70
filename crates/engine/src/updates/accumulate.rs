//! Sums over several runs.

use kiln_kernels::accumulate;

use super::UpdateRules;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::expect;
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `variable = mix[0] variable + mix[1] input`, in place: gradients summed over several batches before a step.
///
/// One variable. Inputs: what is added, of the same shape, and `mix`, of shape `[2]`, with which the host says in each run
/// what happens: `[1, share]` adds a batch by its share of the examples, and `[0, share]` starts a new sum, whatever the
/// variable held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accumulate;

impl UpdateRules for Accumulate {
    const NAME: &'static str = "accumulate";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let &[variable] = variables else {
            return Err(Mismatch::new("number of variables", 1, variables.len()));
        };
        let [input, mix] = expect::inputs(inputs)?;
        expect::numbers("sum", variable, &variable.shape)?;
        expect::numbers("summand", input, &variable.shape)?;
        expect::numbers("mix", mix, &[2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let mix = lowering.whole(1)?;
        for block in lowering.blocks()? {
            let (variable, input) = (lowering.variable(0, &block)?, lowering.rowwise(0, &block)?);
            for span in spans(block.elements) {
                let variant = if span.wide { accumulate::Variant::Quad } else { accumulate::Variant::Single };
                let params = accumulate::Params { begin: span.range.start, end: span.range.end };
                let bindings = accumulate::Bindings { variable, input, mix };
                let groups = span.groups(variant.threads(), variant.steps());
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }
}
