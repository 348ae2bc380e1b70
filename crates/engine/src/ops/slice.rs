//! A range of one dimension, and the strided copy that permute and concat share with it.

use kiln_kernels::copy_strided;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Bound, Lowering};
use crate::tensor::TensorDesc;
use crate::views::{View, halves};

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
}

/// Copies `shape` elements from one strided view to another; all in elements, slowest dimension first.
pub(super) struct StridedCopy<'a> {
    pub(super) input: Bound,
    pub(super) input_offset: usize,
    pub(super) input_strides: &'a [usize],
    pub(super) output: Bound,
    pub(super) output_offset: usize,
    pub(super) output_strides: &'a [usize],
    pub(super) shape: &'a [usize],
}

impl StridedCopy<'_> {
    pub(super) fn dispatch(self, lowering: &mut Lowering<'_>) -> Result<()> {
        let view = View::merged(self.shape, [self.input_strides, self.output_strides]);
        let (shape_low, shape_high) = halves(&view.shape);
        let (input_low, input_high) = halves(&view.strides[0]);
        let (output_low, output_high) = halves(&view.strides[1]);
        let count = self.shape.iter().product::<usize>() as u32;
        let params = copy_strided::Params {
            count,
            rank: view.rank(),
            input_offset: self.input_offset as u32,
            output_offset: self.output_offset as u32,
            shape_low,
            shape_high,
            input_low,
            input_high,
            output_low,
            output_high,
        };
        let bindings = copy_strided::Bindings { input: self.input, output: self.output };
        let variant = copy_strided::Variant::Base;
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}
