//! The gradient of average pooling.

use kiln_kernels::pool2d_average_grad;

use super::{AveragePadding, OpRules, Pool2d, PoolOptions, Pooling, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::patches::Patches;
use crate::tensor::TensorDesc;

/// The gradient of [`Pool2d`] with [`Pooling::Average`] by its input `[N][C][H][W]`, from that of its result, the only input:
/// each window's goes in equal shares to its elements, a share being what the window divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool2dGrad {
    /// What a window divides by.
    pub padding: AveragePadding,
    /// The windows.
    pub options: PoolOptions<2>,
    /// Height and width of the pooled tensor.
    pub extents: [usize; 2],
}

impl AvgPool2dGrad {
    fn pool(&self) -> Pool2d {
        Pool2d { pooling: Pooling::Average(self.padding), options: self.options }
    }
}

impl OpRules for AvgPool2dGrad {
    const NAME: &'static str = "avg_pool2d_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [grad] = expect::inputs(inputs)?;
        expect::rank("gradient", grad, 4)?;
        let image = TensorDesc::f32([grad.shape[0], grad.shape[1], self.extents[0], self.extents[1]]);
        expect::numbers("gradient", grad, &self.pool().infer(&[&image])?.shape)?;
        Ok(image)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let axes = self.pool().axes(lowering.output.desc).map_err(|e| e.at(lowering.op, lowering.path))?;
        let [height, width] = &axes;
        let [in_h, in_w] = [height, width].map(|axis| axis.input as u32);
        let [out_h, out_w] = [2, 3].map(|dim| lowering.input(0).desc.shape[dim] as u32);
        let variant = average_variant(lowering, in_w);
        for block in lowering.blocks()? {
            let patches =
                Patches::new(&block, [in_h, in_w], [variant.rows(), variant.cells() * variant.width()]);
            lowering.check_iterations(patches.window_iterations(&axes, [out_h, out_w]))?;
            let params = pool2d_average_grad::Params {
                count: patches.count,
                row_groups: patches.row_groups,
                col_groups: patches.col_groups,
                in_h,
                in_w,
                out_h,
                out_w,
                kernel_h: height.kernel as u32,
                kernel_w: width.kernel as u32,
                stride_h: height.stride as u32,
                stride_w: width.stride as u32,
                before_h: height.before as u32,
                before_w: width.before as u32,
                after_h: height.after as u32,
                after_w: width.after as u32,
            };
            let include = self.padding == AveragePadding::Include;
            let overrides = pool2d_average_grad::Overrides { count_padding: u32::from(include), adaptive: 0 };
            let bindings =
                pool2d_average_grad::Bindings { grad: lowering.rowwise(0, &block)?, output: block.output };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

/// The patches that an image of such a width is made in.
pub(super) fn average_variant(lowering: &Lowering<'_>, in_w: u32) -> pool2d_average_grad::Variant {
    match (lowering.profile.kind.is_software(), in_w.is_multiple_of(4)) {
        (true, true) => pool2d_average_grad::Variant::Wide,
        (true, false) => pool2d_average_grad::Variant::Patch,
        (false, _) => pool2d_average_grad::Variant::One,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let op = AvgPool2dGrad {
            padding: AveragePadding::Include,
            options: PoolOptions { ceil_mode: true, ..PoolOptions::new([2, 2]) },
            extents: [7, 8],
        };
        let infer = |shape: &[usize]| {
            op.infer(&[&TensorDesc::f32(shape)]).map(|desc| desc.shape).map_err(|error| error.to_string())
        };
        assert_eq!(infer(&[2, 3, 4, 4]), Ok(vec![2, 3, 7, 8]));
        assert_eq!(infer(&[2, 3, 3, 4]), Err("gradient: expected [2, 3, 4, 4], got f32[2, 3, 3, 4]".into()));
        assert_eq!(infer(&[3, 4]), Err("gradient rank: expected 4, got f32[3, 4]".into()));
    }
}
