//! Softmax and its logarithm, with an additive mask.

use kiln_kernels::softmax_row;

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, row_form};
use crate::tensor::{DType, TensorDesc};
use crate::views::{View, broadcast, broadcast_strides, halves};

/// `softmax(input + mask)` over one dimension, or the logarithm of that: `torch.softmax` and `torch.log_softmax`. The
/// mask is an optional second input that broadcasts to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// The dimension whose sum becomes 1.
    pub dim: usize,
    /// Whether the logarithm is the result: `torch.log_softmax`, which keeps its digits where the softmax rounds to 0.
    pub log: bool,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 3;

impl OpRules for Softmax {
    const NAME: &'static str = "softmax";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let (input, mask) = match inputs {
            [input] => (input, None),
            [input, mask] => (input, Some(mask)),
            _ => return Err(Mismatch::new("number of inputs", "1 or 2", inputs.len())),
        };
        expect::dtype("input", input, DType::F32)?;
        expect::dim(self.dim, input)?;
        if let Some(mask) = mask {
            expect::dtype("mask", mask, DType::F32)?;
            if broadcast(&input.shape, &mask.shape).as_deref() != Some(&input.shape) {
                return Err(Mismatch::new("mask", format!("a shape that broadcasts to {input}"), mask));
            }
        }
        Ok(TensorDesc::clone(input))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let cols = desc.shape[self.dim] as u32;
        let inner = desc.elements_behind(self.dim + 1) as u32;
        let masked = lowering.inputs.len() == 2;
        let variant = match row_form(lowering.profile, cols, PASSES * u64::from(cols)) {
            RowForm::Serial => softmax_row::Variant::Serial,
            RowForm::Tree => softmax_row::Variant::Tree,
        };
        lowering.check_iterations(PASSES * u64::from(cols.div_ceil(variant.lanes())))?;
        for block in lowering.row_blocks(self.dim)? {
            let mut shape = lowering.block_shape(&block);
            let mut strides = match masked {
                true => broadcast_strides(&lowering.input(1).desc.shape, &shape),
                false => vec![0; shape.len()],
            };
            shape.remove(self.dim);
            let mask_col_stride = strides.remove(self.dim) as u32;
            let kept = View::merged(&shape, [&strides]);
            let (kept_low, kept_high) = halves(&kept.shape);
            let (mask_low, mask_high) = halves(&kept.strides[0]);
            let rows = block.elements / cols;
            let params = softmax_row::Params {
                rows,
                cols,
                inner,
                flags: u32::from(masked),
                mask_col_stride,
                kept_rank: kept.rank(),
                kept_low,
                kept_high,
                mask_low,
                mask_high,
                ..Default::default()
            };
            let input = lowering.rowwise(0, &block)?;
            let bindings = softmax_row::Bindings {
                input,
                // Where there is no mask the flag says so, and any readable buffer fills the place.
                mask: if masked { lowering.broadcast(1, &block)? } else { input },
                output: block.output,
            };
            let overrides = softmax_row::Overrides { log: u32::from(self.log) };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// With `y` the softmax: `y * (grad - sum(grad * y))`, or `grad - y * sum(grad)` for the logarithm. The mask is added
    /// to the input and has the same gradient.
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (output, grad) = (backward.output(), backward.grad());
        let g = &mut *backward.g;
        let gradient = if self.log {
            let softmax = g.exp(output)?;
            let sum = g.sum(grad, &[self.dim], true)?;
            let pull = g.mul(softmax, sum)?;
            g.sub(grad, pull)?
        } else {
            let product = g.mul(grad, output)?;
            let sum = g.sum(product, &[self.dim], true)?;
            let centred = g.sub(grad, sum)?;
            g.mul(output, centred)?
        };
        let mut gradients = backward.none();
        for (index, slot) in gradients.iter_mut().enumerate() {
            if backward.wants(index) {
                *slot = Some(backward.sum_to(gradient, backward.input(index))?);
            }
        }
        Ok(gradients)
    }
}
