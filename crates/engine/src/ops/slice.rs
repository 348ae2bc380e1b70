//! A range of one dimension.

use super::{OpRules, Pad, PadMode, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::TensorDesc;

/// `input[.., start..end, ..]` along one dimension: `torch.narrow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The dimension that is cut.
    pub dim: usize,
    /// First index kept.
    pub start: usize,
    /// One past the last index kept.
    pub end: usize,
}

impl OpRules for Slice {
    const NAME: &'static str = "slice";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dim(self.dim, input)?;
        if self.start >= self.end || self.end > input.shape[self.dim] {
            let expected = format!("a range inside 0..{} that is not empty", input.shape[self.dim]);
            return Err(Mismatch::new("range", expected, format!("{}..{}", self.start, self.end)));
        }
        let mut output = input.clone();
        output.shape[self.dim] = self.end - self.start;
        Ok(output)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let strides = lowering.input(0).desc.strides();
        for block in lowering.blocks()? {
            let shape = lowering.block_shape(&block);
            // A cut of the rows themselves starts further down; any other keeps the rows.
            let first_row = if self.dim == 0 { block.rows.start } else { 0 };
            StridedCopy {
                input: if self.dim == 0 { lowering.whole(0)? } else { lowering.rowwise(0, &block)? },
                input_offset: (self.start + first_row) * strides[self.dim],
                input_strides: &strides,
                output: block.output,
                output_offset: 0,
                output_strides: &lowering.output.desc.strides(),
                shape: &shape,
            }
            .dispatch(lowering)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let shape = &backward.g.desc(backward.input(0)).shape;
        let mut sides = vec![[0, 0]; shape.len()];
        sides[self.dim] = [self.start, shape[self.dim] - self.end];
        let pad = Pad { sides, mode: PadMode::Constant(0.0) };
        Ok(vec![Some(backward.g.apply(pad, &[backward.grad()])?)])
    }
}
