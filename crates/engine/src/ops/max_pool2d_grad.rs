//! The gradient of maximum pooling.

use kiln_kernels::{pool2d_max_grad_gather, pool2d_max_grad_pairs, pool2d_max_grad_patch};

use super::pool2d::window_iterations;
use super::{OpRules, Pool2d, PoolOptions, Pooling, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Lowering};
use crate::patches::Patches;
use crate::select;
use crate::tensor::{DType, TensorDesc};
use crate::window::Axis;

/// The gradient of [`Pool2d`] with [`Pooling::Max`] by its input `[N][C][H][W]`, from that of its result: each window's
/// goes to its greatest element, the first of equals and the last NaN, as in PyTorch. Elements that are the greatest of
/// several windows take the sum; those in none, and those of windows that see nothing, take nothing.
///
/// The second input is the result's gradient. The first says where the maxima are: either the places that
/// [`Pooling::MaxIndex`] gives with the same options, or, where windows do not overlap, the pooled tensor itself, in which
/// they are looked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool2dGrad {
    /// The windows.
    pub options: PoolOptions<2>,
    /// Height and width of the pooled tensor.
    pub extents: [usize; 2],
}

/// Windows further apart are no task for one invocation each.
const LARGEST_PATCH: usize = 64;

impl MaxPool2dGrad {
    /// Whether the gradient is best found from the pooled tensor itself.
    pub(super) fn wants_input(axes: &[Axis; 2]) -> bool {
        are_apart(axes) && axes[0].stride.saturating_mul(axes[1].stride) <= LARGEST_PATCH
    }

    fn pool(&self) -> Pool2d {
        Pool2d { pooling: Pooling::Max, options: self.options }
    }

    fn image(&self, grad: &TensorDesc) -> TensorDesc {
        TensorDesc::f32([grad.shape[0], grad.shape[1], self.extents[0], self.extents[1]])
    }
}

/// Whether no element is in two windows, and a window's elements are neighbours.
fn are_apart(axes: &[Axis; 2]) -> bool {
    axes.iter().all(|axis| axis.kernel <= axis.stride && axis.span() == axis.kernel)
}

impl OpRules for MaxPool2dGrad {
    const NAME: &'static str = "max_pool2d_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [maxima, grad] = expect::inputs(inputs)?;
        expect::rank("gradient", grad, 4)?;
        let image = self.image(grad);
        let axes = self.pool().axes(&image)?;
        let pooled = self.pool().infer(&[&image])?;
        expect::numbers("gradient", grad, &pooled.shape)?;
        if maxima.dtype == DType::U32 {
            expect::shape("indices", maxima, &pooled.shape)?;
        } else {
            expect::numbers("input", maxima, &image.shape)?;
            if !are_apart(&axes) {
                return Err(Mismatch::new("windows", "none that overlap, or their indices", "others"));
            }
        }
        Ok(image)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let axes = self.pool().axes(lowering.output.desc).map_err(|e| e.at(lowering.op, lowering.path))?;
        let by_indices = lowering.input(0).desc.dtype == DType::U32;
        let out: [u32; 2] = [2, 3].map(|dim| lowering.input(1).desc.shape[dim] as u32);
        let in_pairs = axes.iter().all(|axis| (axis.kernel, axis.stride, axis.before) == (2, 2, 0))
            && axes[1].input.is_multiple_of(2);
        for block in lowering.blocks()? {
            match (by_indices, in_pairs) {
                (true, _) => lower_gather(lowering, &block, &axes, out)?,
                (false, true) => lower_pairs(lowering, &block, &axes, out)?,
                (false, false) => lower_patch(lowering, &block, &axes, out)?,
            }
        }
        Ok(())
    }
}

// The parts of `lower`: one for each kernel. `out` is the height and width of the result.

fn lower_pairs(
    lowering: &mut Lowering<'_>,
    block: &Block,
    [height, width]: &[Axis; 2],
    [out_h, _]: [u32; 2],
) -> Result<()> {
    let (in_h, in_w) = (height.input as u32, width.input as u32);
    let variant = select::pool2d_grad_pairs(lowering.profile, width.input);
    let row_groups = in_w / (2 * variant.windows());
    let pairs = block.elements / (in_h * in_w) * in_h.div_ceil(2);
    let params = pool2d_max_grad_pairs::Params { count: pairs * row_groups, row_groups, in_h, out_h };
    let overrides = pool2d_max_grad_pairs::Overrides { even: u32::from(in_h.is_multiple_of(2)) };
    let bindings = pool2d_max_grad_pairs::Bindings {
        input: lowering.rowwise(0, block)?,
        grad: lowering.rowwise(1, block)?,
        output: block.output,
    };
    let groups = u64::from(params.count.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
}

fn lower_patch(
    lowering: &mut Lowering<'_>,
    block: &Block,
    [height, width]: &[Axis; 2],
    [out_h, out_w]: [u32; 2],
) -> Result<()> {
    // One walk to find the maximum, and one to write.
    let walks =
        window_iterations(height.kernel, width.kernel) + window_iterations(height.stride, width.stride);
    lowering.check_iterations(walks)?;
    let cells = |axis: &Axis| (axis.before + axis.input).div_ceil(axis.stride) as u32;
    let (cells_h, cells_w) = (cells(height), cells(width));
    let (in_h, in_w) = (height.input as u32, width.input as u32);
    let params = pool2d_max_grad_patch::Params {
        count: block.elements / (in_h * in_w) * cells_h * cells_w,
        cells_h,
        cells_w,
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
    };
    let bindings = pool2d_max_grad_patch::Bindings {
        input: lowering.rowwise(0, block)?,
        grad: lowering.rowwise(1, block)?,
        output: block.output,
    };
    let variant = pool2d_max_grad_patch::Variant::Base;
    let groups = u64::from(params.count.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
}

fn lower_gather(
    lowering: &mut Lowering<'_>,
    block: &Block,
    axes: &[Axis; 2],
    [out_h, out_w]: [u32; 2],
) -> Result<()> {
    let [height, width] = axes;
    let (in_h, in_w) = (height.input as u32, width.input as u32);
    let variant = gather_variant(lowering, in_w);
    let patches = Patches::new(block, [in_h, in_w], [variant.rows(), variant.cells() * variant.width()]);
    lowering.check_iterations(patches.window_iterations(axes, [out_h, out_w]))?;
    let params = pool2d_max_grad_gather::Params {
        count: patches.count,
        row_groups: patches.row_groups,
        col_groups: patches.col_groups,
        in_h,
        in_w,
        out_h,
        out_w,
        span_h: height.span() as u32,
        span_w: width.span() as u32,
        stride_h: height.stride as u32,
        stride_w: width.stride as u32,
        before_h: height.before as u32,
        before_w: width.before as u32,
    };
    let overrides = pool2d_max_grad_gather::Overrides { adaptive: 0 };
    let bindings = pool2d_max_grad_gather::Bindings {
        indices: lowering.rowwise(0, block)?,
        grad: lowering.rowwise(1, block)?,
        output: block.output,
    };
    let groups = u64::from(params.count.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
}

/// The patches that an image of such a width is made in.
pub(super) fn gather_variant(lowering: &Lowering<'_>, in_w: u32) -> pool2d_max_grad_gather::Variant {
    match (lowering.profile.kind.is_software(), in_w.is_multiple_of(4)) {
        (true, true) => pool2d_max_grad_gather::Variant::Wide,
        (true, false) => pool2d_max_grad_gather::Variant::Patch,
        (false, _) => pool2d_max_grad_gather::Variant::One,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Padding;

    fn infer(
        options: PoolOptions<2>,
        extents: [usize; 2],
        maxima: TensorDesc,
        grad: &[usize],
    ) -> Result<Vec<usize>, String> {
        let op = MaxPool2dGrad { options, extents };
        op.infer(&[&maxima, &TensorDesc::f32(grad)])
            .map(|desc| desc.shape)
            .map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes() {
        let plain = PoolOptions::new([2, 2]);
        let resnet = PoolOptions { stride: [2, 2], padding: Padding::all(1), ..PoolOptions::new([3, 3]) };
        let indices = |shape: &[usize]| TensorDesc::new(shape, DType::U32);
        let x = TensorDesc::f32([2, 3, 7, 8]);
        assert_eq!(infer(plain, [7, 8], x.clone(), &[2, 3, 3, 4]), Ok(vec![2, 3, 7, 8]));
        assert_eq!(infer(plain, [7, 8], indices(&[2, 3, 3, 4]), &[2, 3, 3, 4]), Ok(vec![2, 3, 7, 8]));
        assert_eq!(infer(resnet, [7, 8], indices(&[2, 3, 4, 4]), &[2, 3, 4, 4]), Ok(vec![2, 3, 7, 8]));
        assert_eq!(
            infer(resnet, [7, 8], x.clone(), &[2, 3, 4, 4]),
            Err("windows: expected none that overlap, or their indices, got others".into())
        );
        for extents in [[0, 8], [7, usize::MAX]] {
            assert!(infer(plain, extents, indices(&[2, 3, 3, 4]), &[2, 3, 3, 4]).is_err());
        }
        assert_eq!(
            infer(plain, [7, 8], x, &[2, 3, 4, 4]),
            Err("gradient: expected [2, 3, 3, 4], got f32[2, 3, 4, 4]".into())
        );
        assert_eq!(
            infer(plain, [7, 8], TensorDesc::f32([2, 3, 7, 9]), &[2, 3, 3, 4]),
            Err("input: expected [2, 3, 7, 8], got f32[2, 3, 7, 9]".into())
        );
        assert_eq!(
            infer(resnet, [7, 8], indices(&[2, 3, 4, 5]), &[2, 3, 4, 4]),
            Err("indices: expected [2, 3, 4, 4], got u32[2, 3, 4, 5]".into())
        );
    }
}
