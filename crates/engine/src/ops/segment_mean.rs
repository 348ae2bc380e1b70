//! Means of consecutive rows.

use kiln_kernels::segment_mean;

use super::{OpRules, SegmentMeanGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// `output[s] = mean of input[offsets[s]..offsets[s + 1]]`: `torch.segment_reduce` with `reduce="mean"`, except that
/// an empty segment gives 0. Input is `[rows][width]`, offsets u32 `[segments + 1]`, ascending. Mean pooling over
/// packed sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentMean;

impl OpRules for SegmentMean {
    const NAME: &'static str = "segment_mean";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, offsets] = expect::inputs(inputs)?;
        expect::rank("input", input, 2)?;
        expect::dtype("input", input, DType::F32)?;
        expect::rank("offsets", offsets, 1)?;
        expect::dtype("offsets", offsets, DType::U32)?;
        if offsets.rows() < 2 {
            return Err(Mismatch::new("offsets", "at least 2 entries", offsets));
        }
        Ok(TensorDesc::f32([offsets.rows() - 1, input.last()]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = lowering.input(0).desc;
        let count = lowering.output.desc.elements() as u32;
        lowering.check_iterations(input.rows() as u64)?;
        let params = segment_mean::Params { count, width: input.last() as u32, rows: input.rows() as u32 };
        let bindings = segment_mean::Bindings {
            input: lowering.whole(0)?,
            offsets: lowering.whole(1)?,
            output: lowering.whole_output()?,
        };
        let variant = segment_mean::Variant::Base;
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, offsets, grad) = (backward.input(0), backward.input(1), backward.grad());
        let g = &mut *backward.g;
        let rows = g.desc(input).rows();
        Ok(vec![Some(g.apply(SegmentMeanGrad { rows }, &[grad, offsets])?), None])
    }
}
