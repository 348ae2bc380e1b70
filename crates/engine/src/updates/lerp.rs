//! Running means.

use kiln_kernels::lerp;

use super::UpdateRules;
use super::optimizer_rule::share;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::{Guard, Scalar, expect};
use crate::spans::{Span, spans};
use crate::tensor::TensorDesc;

/// `running = (1 - momentum) running + momentum factor batch`, in place: the running statistics of
/// `torch.nn.BatchNorm2d`, where the factor `n / (n - 1)` makes a batch's variance unbiased.
///
/// One variable. Inputs: the batch's value, of the same shape or a row of `[rows, ...]` of such, and a [`Guard`]'s output;
/// nothing changes where its scale is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lerp {
    /// The share of the new value, from 0 to 1.
    pub momentum: Scalar,
    /// What the new value is multiplied by.
    pub factor: Scalar,
    /// Which row of the batch's values it is; of one alone `None`.
    pub row: Option<usize>,
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
        match (self.row, batch.shape.split_first()) {
            (Some(row), Some((&rows, _))) if row < rows => {
                expect::numbers("batch's values", batch, &[&[rows], &running.shape[..]].concat())?;
            }
            (Some(row), _) => {
                return Err(Mismatch::new("row", format!("less than the rows of {batch}"), row));
            }
            (None, _) => expect::numbers("batch's value", batch, &running.shape)?,
        }
        expect::numbers("guard", guard, &[Guard::LENGTH])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let guard = lowering.whole(1)?;
        for block in lowering.blocks()? {
            let variable = lowering.variable(0, &block)?;
            let (input, start) = match self.row {
                None => (lowering.rowwise(0, &block)?, 0),
                Some(row) => {
                    let running = lowering.output.desc;
                    let start = row * running.elements() + block.rows.start * running.row_elements();
                    (lowering.whole(0)?, start as u32)
                }
            };
            // A row that starts within a vector is read singly.
            let single = Span { wide: false, range: 0..block.elements };
            let spans: Vec<Span> =
                if start.is_multiple_of(4) { spans(block.elements).collect() } else { vec![single] };
            for span in spans {
                let variant = if span.wide { lerp::Variant::Quad } else { lerp::Variant::Single };
                let params = lerp::Params {
                    begin: span.range.start,
                    end: span.range.end,
                    start: if span.wide { start / 4 } else { start },
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
