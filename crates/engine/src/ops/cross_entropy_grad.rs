//! The gradient of the cross-entropy with respect to its logits.

use kiln_kernels::cross_entropy_grad_row;

use super::{CrossEntropy, OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::TensorDesc;

/// `output[n, c] = grad[n] (softmax(logits[n])[c] sum_i q[n, i] - q[n, c])`, with the `q` of [`CrossEntropy`]: what its
/// rows' gradients are for the logits.
///
/// Inputs: logits `[N, C]`, labels u32 `[N]`, the gradient `[N]` of each row's loss, and class weights `[C]` where there
/// are some; the output is `[N, C]`. A label that is no class makes its row NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossEntropyGrad {
    /// As in [`CrossEntropy`].
    pub label_smoothing: Scalar,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 3;

impl OpRules for CrossEntropyGrad {
    const NAME: &'static str = "cross_entropy_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let (logits, labels, grad, weight) = match inputs {
            [logits, labels, grad] => (logits, labels, grad, None),
            [logits, labels, grad, weight] => (logits, labels, grad, Some(*weight)),
            _ => return Err(Mismatch::new("number of inputs", "3 or 4", inputs.len())),
        };
        let [rows, _] = CrossEntropy::check(logits, labels, weight, self.label_smoothing)?;
        expect::numbers("gradient", grad, &[rows])?;
        Ok(TensorDesc::clone(logits))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let cols = lowering.input(0).desc.last();
        let (own, each) = CrossEntropy::shares(self.label_smoothing, cols);
        let cols = cols as u32;
        let weighted = lowering.inputs.len() == 4;
        let variant = match row_form(lowering.profile, cols, looped(PASSES * u64::from(cols), 0)) {
            RowForm::Serial => cross_entropy_grad_row::Variant::Serial,
            RowForm::Tree => cross_entropy_grad_row::Variant::Tree,
        };
        lowering.check_iterations(looped(PASSES * u64::from(cols.div_ceil(variant.lanes())), 0))?;
        for block in lowering.blocks()? {
            let rows = block.rows.len() as u32;
            let params = cross_entropy_grad_row::Params { rows, cols, own, each };
            let input = lowering.rowwise(0, &block)?;
            let bindings = cross_entropy_grad_row::Bindings {
                input,
                labels: lowering.rowwise(1, &block)?,
                upstream: lowering.rowwise(2, &block)?,
                // Where there is none an override says so, and any readable buffer fills the place.
                weight: if weighted { lowering.whole(3)? } else { input },
                output: block.output,
            };
            let overrides = cross_entropy_grad_row::Overrides {
                weighted: u32::from(weighted),
                smooth: u32::from(each != 0.0),
            };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}
