//! Division by the Euclidean norm over the last dimension.

use kiln_kernels::l2_normalize_row;

use super::{OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, row_form};
use crate::tensor::{DType, TensorDesc};

/// `x / max(||x||, epsilon)` over the last dimension: `torch.nn.functional.normalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct L2Normalize {
    /// Lower bound of the divisor.
    pub epsilon: Scalar,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 2;

impl OpRules for L2Normalize {
    const NAME: &'static str = "l2_normalize";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        if input.rank() == 0 {
            return Err(Mismatch::new("input rank", "at least 1", input));
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let cols = lowering.output.desc.last() as u32;
        let variant = match row_form(lowering.profile, cols, PASSES * u64::from(cols)) {
            RowForm::Serial => l2_normalize_row::Variant::Serial,
            RowForm::Tree => l2_normalize_row::Variant::Tree,
        };
        lowering.check_iterations(PASSES * u64::from(cols.div_ceil(variant.lanes())))?;
        for block in lowering.row_blocks(lowering.output.desc.rank() - 1)? {
            let rows = block.elements / cols;
            let params = l2_normalize_row::Params { rows, cols, epsilon: self.epsilon.get() };
            let bindings =
                l2_normalize_row::Bindings { input: lowering.rowwise(0, &block)?, output: block.output };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// `(grad - y sum(grad y)) / norm`, and `grad / epsilon` where the norm is below epsilon.
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (x, y, grad) = (backward.input(0), backward.output(), backward.grad());
        let g = &mut *backward.g;
        let last = [g.desc(x).rank() - 1];
        let squares = g.mul(x, x)?;
        let square = g.sum(squares, &last, true)?;
        let norm = g.sqrt(square)?;
        let (epsilon, one) = (g.scalar(self.epsilon.get()), g.scalar(1.0));
        let divisor = g.maximum(norm, epsilon)?;
        let below = g.greater(epsilon, norm)?;
        let moves = g.sub(one, below)?;
        let product = g.mul(grad, y)?;
        let along = g.sum(product, &last, true)?;
        let along = g.mul(along, moves)?;
        let along = g.mul(y, along)?;
        let across = g.sub(grad, along)?;
        Ok(vec![Some(g.div(across, divisor)?)])
    }
}
