//! The gradient of means of consecutive rows.

use kiln_kernels::segment_mean_grad;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// `output[t] = grad[s] / (offsets[s + 1] - offsets[s])` for the segment `s` that has row `t`, and 0 for rows in none:
/// the gradient of [`SegmentMean`](super::SegmentMean).
///
/// Inputs: the gradient of the means, `[segments, width]`, and the offsets, u32 `[segments + 1]`, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentMeanGrad {
    /// Rows of what the means are of, and of the output.
    pub rows: usize,
}

impl OpRules for SegmentMeanGrad {
    const NAME: &'static str = "segment_mean_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [grad, offsets] = expect::inputs(inputs)?;
        expect::rank("gradient", grad, 2)?;
        expect::dtype("gradient", grad, DType::F32)?;
        expect::dtype("offsets", offsets, DType::U32)?;
        expect::shape("offsets", offsets, &[grad.rows() + 1])?;
        Ok(TensorDesc::f32([self.rows, grad.last()]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let grad = lowering.input(0).desc;
        let variant = segment_mean_grad::Variant::Base;
        let runs_per_row = grad.last().div_ceil(variant.columns() as usize);
        let params = segment_mean_grad::Params {
            rows: self.rows as u32,
            width: grad.last() as u32,
            segments: grad.rows() as u32,
            runs_per_row: runs_per_row as u32,
        };
        let bindings = segment_mean_grad::Bindings {
            grad: lowering.whole(0)?,
            offsets: lowering.whole(1)?,
            output: lowering.whole_output()?,
        };
        let groups = (self.rows * runs_per_row).div_ceil(variant.threads() as usize) as u64;
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_segments_width() {
        let op = SegmentMeanGrad { rows: 9 };
        let (grad, offsets) = (TensorDesc::f32([3, 5]), TensorDesc::new([4], DType::U32));
        assert_eq!(op.infer(&[&grad, &offsets]), Ok(TensorDesc::f32([9, 5])));
        let error = op.infer(&[&grad, &TensorDesc::new([3], DType::U32)]).expect_err("one too few");
        assert_eq!(error.to_string(), "offsets: expected [4], got u32[3]");
    }
}
