//! Layer normalisation over the last dimension.

use kiln_kernels::layer_norm_row;

use super::group_norm::Standardized;
use super::{OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, row_form};
use crate::tensor::{DType, TensorDesc};

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` over the last dimension, with the biased variance:
/// `torch.nn.functional.layer_norm` (Ba, Kiros and Hinton, 2016). Weight and bias are `[last]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: Scalar,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 3;

impl OpRules for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight, bias] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        if input.rank() == 0 {
            return Err(Mismatch::new("input rank", "at least 1", input));
        }
        expect::numbers("weight", weight, &[input.last()])?;
        expect::numbers("bias", bias, &[input.last()])?;
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let cols = lowering.output.desc.last() as u32;
        use layer_norm_row::Variant;
        let wide = cols.is_multiple_of(4);
        let numbers = if wide { cols / 4 } else { cols };
        let variant = match (row_form(lowering.profile, cols, PASSES * u64::from(numbers)), wide) {
            (RowForm::Serial, false) => Variant::Serial,
            (RowForm::Serial, true) => Variant::SerialWide,
            (RowForm::Tree, false) => Variant::Tree,
            (RowForm::Tree, true) => Variant::TreeWide,
        };
        lowering.check_iterations(PASSES * u64::from(numbers.div_ceil(variant.lanes())))?;
        for block in lowering.row_blocks(lowering.output.desc.rank() - 1)? {
            let rows = block.elements / cols;
            let params = layer_norm_row::Params { rows, cols: numbers, epsilon: self.epsilon.get() };
            let bindings = layer_norm_row::Bindings {
                input: lowering.rowwise(0, &block)?,
                weight: lowering.whole(1)?,
                bias: lowering.whole(2)?,
                output: block.output,
            };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let [x, weight] = [0, 1].map(|index| backward.input(index));
        let (grad, wants) = (backward.grad(), [0, 1, 2].map(|index| backward.wants(index)));
        let g = &mut *backward.g;
        let desc = g.desc(x);
        let (cols, count) = (desc.last(), desc.elements() / desc.last());
        let rows = Standardized::new(g, x, count, self.epsilon)?;
        let mut gradients = vec![None; 3];
        if wants[0] {
            let scaled = g.mul(grad, weight)?;
            gradients[0] = Some(rows.gradient(g, scaled)?);
        }
        // Weight and bias have a number for each column.
        let columns = g.reshape(grad, &[count, cols])?;
        if wants[1] {
            let normalized = rows.result(g)?;
            let normalized = g.reshape(normalized, &[count, cols])?;
            gradients[1] = Some(g.channel_dot(columns, normalized)?);
        }
        if wants[2] {
            gradients[2] = Some(g.channel_sum(columns)?);
        }
        Ok(gradients)
    }
}
