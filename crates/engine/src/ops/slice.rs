//! A range of one dimension.

use super::{OpRules, Pad, PadMode, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::TensorDesc;
use crate::work::Work;

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

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::SELECTS
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        if lowering.is_view() {
            // The plan gave the output the place of the input's first rows.
            return Ok(());
        }
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

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

    use super::*;
    use crate::plan::{Constants, Plan};
    use crate::{DType, GraphBuilder};

    /// How many kernels a slice of rows takes, of a value that takes one, or of an input.
    fn dispatches(computed: bool, start: usize, end: usize, limits: Limits) -> Result<usize> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[100, 8], DType::F32);
        let x = if computed { g.exp(x)? } else { x };
        let rows = g.slice(x, 0, start, end)?;
        let again = g.exp(rows)?;
        g.output("rows", rows);
        g.output("again", again);
        let profile = DeviceProfile::made_up(DeviceKind::Cpu, limits);
        Ok(Plan::build(&g.finish(), &profile, Constants::Resident)?.dispatches().count())
    }

    #[test]
    fn the_first_rows_of_what_is_computed_are_not_copied() -> Result<()> {
        let whole = Limits::BASELINE;
        assert_eq!(dispatches(true, 0, 60, whole)?, 2);
        assert_eq!(
            dispatches(true, 1, 60, whole)?,
            3,
            "rows further down may start where nothing can be bound"
        );
        assert_eq!(dispatches(false, 0, 60, whole)?, 2, "an input may be given anew");
        Ok(())
    }
}
