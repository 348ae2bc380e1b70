//! The gradient of pooling to a given size.

use kiln_kernels::{pool2d_average_grad, pool2d_max_grad_gather};

use super::adaptive_pool2d::longest_window;
use super::avg_pool2d_grad::average_variant;
use super::max_pool2d_grad::gather_variant;
use super::{AdaptivePool2d, AdaptivePooling, OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Lowering};
use crate::patches::Patches;
use crate::tensor::{DType, TensorDesc};

/// The gradient of [`AdaptivePool2d`] by its input `[N][C][H][W]`, from that of its result.
///
/// That of a mean has the result's gradient as its only input, and gives it in equal shares to a window's elements. That of
/// a maximum has the places that [`AdaptivePooling::MaxIndex`] gives before it, and gives each window's to the element
/// there; elements that are the greatest of several windows take the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdaptivePool2dGrad {
    /// What became of a window: [`AdaptivePooling::Max`] or [`AdaptivePooling::Average`].
    pub pooling: AdaptivePooling,
    /// Height and width of the pooled tensor.
    pub extents: [usize; 2],
}

impl OpRules for AdaptivePool2dGrad {
    const NAME: &'static str = "adaptive_pool2d_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let grad = match self.pooling {
            AdaptivePooling::Average => {
                let [grad] = expect::inputs(inputs)?;
                grad
            }
            AdaptivePooling::Max => {
                let [indices, grad] = expect::inputs(inputs)?;
                expect::dtype("indices", indices, DType::U32)?;
                expect::shape("indices", indices, &grad.shape)?;
                grad
            }
            AdaptivePooling::MaxIndex => {
                return Err(Mismatch::new("pooling", "the maximum or the mean", "indices"));
            }
        };
        expect::dtype("gradient", grad, DType::F32)?;
        expect::rank("gradient", grad, 4)?;
        let (output, input) = ([grad.shape[2], grad.shape[3]], self.extents);
        let image = TensorDesc::f32([grad.shape[0], grad.shape[1], input[0], input[1]]);
        // The windows over an element are those of pooling the other way round, with the same bound on extents.
        AdaptivePool2d { pooling: self.pooling, output }.infer(&[&image])?;
        AdaptivePool2d { pooling: self.pooling, output: input }.infer(&[grad])?;
        Ok(image)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            match self.pooling {
                AdaptivePooling::Average => self.lower_average(lowering, &block)?,
                _ => self.lower_max(lowering, &block)?,
            }
        }
        Ok(())
    }
}

/// The parts of `lower`: one for each kernel.
impl AdaptivePool2dGrad {
    fn lower_average(&self, lowering: &mut Lowering<'_>, block: &Block) -> Result<()> {
        let [in_h, in_w] = self.extents.map(|size| size as u32);
        let [out_h, out_w] = [2, 3].map(|dim| lowering.input(0).desc.shape[dim] as u32);
        let variant = average_variant(lowering, in_w);
        let patches = Patches::new(block, [in_h, in_w], [variant.rows(), variant.cells() * variant.width()]);
        lowering.check_iterations(self.iterations(&patches, [out_h, out_w]))?;
        let Patches { count, row_groups, col_groups, .. } = patches;
        let params = pool2d_average_grad::Params {
            count,
            row_groups,
            col_groups,
            in_h,
            in_w,
            out_h,
            out_w,
            ..Default::default()
        };
        let overrides = pool2d_average_grad::Overrides { count_padding: 0, adaptive: 1 }.pairs();
        let bindings =
            pool2d_average_grad::Bindings { grad: lowering.rowwise(0, block)?, output: block.output };
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)
    }

    fn lower_max(&self, lowering: &mut Lowering<'_>, block: &Block) -> Result<()> {
        let [in_h, in_w] = self.extents.map(|size| size as u32);
        let [out_h, out_w] = [2, 3].map(|dim| lowering.input(1).desc.shape[dim] as u32);
        let variant = gather_variant(lowering, in_w);
        let patches = Patches::new(block, [in_h, in_w], [variant.rows(), variant.cells() * variant.width()]);
        lowering.check_iterations(self.iterations(&patches, [out_h, out_w]))?;
        let Patches { count, row_groups, col_groups, .. } = patches;
        let params = pool2d_max_grad_gather::Params {
            count,
            row_groups,
            col_groups,
            in_h,
            in_w,
            out_h,
            out_w,
            ..Default::default()
        };
        let overrides = pool2d_max_grad_gather::Overrides { adaptive: 1 }.pairs();
        let bindings = pool2d_max_grad_gather::Bindings {
            indices: lowering.rowwise(0, block)?,
            grad: lowering.rowwise(1, block)?,
            output: block.output,
        };
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)
    }

    /// Loop iterations of an invocation, where the result is of such an extent.
    fn iterations(&self, patches: &Patches, out: [u32; 2]) -> u64 {
        let longest = [0, 1].map(|axis| longest_window(out[axis] as usize, self.extents[axis]));
        patches.shared_iterations(longest, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |pooling, extents, inputs: &[&TensorDesc]| {
            let op = AdaptivePool2dGrad { pooling, extents };
            op.infer(inputs).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        let (max, average) = (AdaptivePooling::Max, AdaptivePooling::Average);
        let grad = TensorDesc::f32([2, 3, 4, 5]);
        let indices = TensorDesc::new([2, 3, 4, 5], DType::U32);
        assert_eq!(infer(average, [9, 2], &[&grad]), Ok(vec![2, 3, 9, 2]));
        assert_eq!(infer(max, [9, 2], &[&indices, &grad]), Ok(vec![2, 3, 9, 2]));
        assert_eq!(infer(max, [9, 2], &[&grad]), Err("number of inputs: expected 2, got 1".into()));
        assert_eq!(
            infer(max, [9, 2], &[&grad, &grad]),
            Err("indices type: expected u32, got f32[2, 3, 4, 5]".into())
        );
        assert_eq!(
            infer(AdaptivePooling::MaxIndex, [9, 2], &[&grad]),
            Err("pooling: expected the maximum or the mean, got indices".into())
        );
        assert!(
            infer(average, [0, 2], &[&grad]).is_err() && infer(average, [2, usize::MAX], &[&grad]).is_err()
        );
        // 2^32 / 5 and a few; one axis the other way round.
        let long = infer(average, [858_993_460, 1], &[&grad]);
        assert!(long.is_err_and(|error| error.contains("a product below 2^32")));
    }
}
