//! Maximum and average over windows that slide over an image.

use kiln_kernels::{pool2d_average, pool2d_max, pool2d_max_pairs, pool2d_row};

use super::{AvgPool2dGrad, MaxPool2dGrad, OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::{Block, Lowering};
use crate::select;
use crate::tensor::{DType, TensorDesc};
use crate::window::{Axis, Padding};
use crate::work::{self, Work};

/// Options of a pooling over `N` spatial axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolOptions<const N: usize> {
    /// Extents of the window.
    pub kernel: [usize; N],
    /// Distance between neighbouring windows, for each axis.
    pub stride: [usize; N],
    /// What surrounds the input. On each side at most half of the window, or [`Padding::Same`].
    pub padding: Padding<N>,
    /// Distance between neighbouring elements of a window, for each axis. An average has none: 1.
    pub dilation: [usize; N],
    /// Whether what is left over at an axis's end gets a window too: [`Axis::output_ceil`]. Nothing is left over with
    /// [`Padding::Same`].
    pub ceil_mode: bool,
}

impl<const N: usize> PoolOptions<N> {
    /// Windows of the given extents side by side, without padding: PyTorch's default.
    pub fn new(kernel: [usize; N]) -> Self {
        Self { kernel, stride: kernel, padding: Padding::Valid, dilation: [1; N], ceil_mode: false }
    }
}

impl From<PoolOptions<1>> for PoolOptions<2> {
    /// The same along the second axis of an image with one row.
    fn from(options: PoolOptions<1>) -> Self {
        Self {
            kernel: [1, options.kernel[0]],
            stride: [1, options.stride[0]],
            padding: options.padding.as_row(),
            dilation: [1, options.dilation[0]],
            ceil_mode: options.ceil_mode,
        }
    }
}

/// What an average is divided by: PyTorch's `count_include_pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AveragePadding {
    /// The window's places in the input and its padding: PyTorch's default. A window of [`PoolOptions::ceil_mode`] that
    /// reaches past the padding has fewer places there than elsewhere.
    Include,
    /// The window's places in the input alone, as Keras divides.
    Exclude,
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The greatest element: `torch.nn.functional.max_pool2d`. Padding never wins, NaN always does; a window that sees
    /// nothing but padding gives minus infinity.
    Max,
    /// Where in its plane the greatest element lies, `h * W + w` as u32: PyTorch's `return_indices`. The first of
    /// equals, but the last NaN; `u32::MAX` for a window that sees nothing but padding.
    MaxIndex,
    /// The mean: `torch.nn.functional.avg_pool2d`. 0 for a window that sees nothing but padding.
    Average(AveragePadding),
}

/// Pooling of `[N][C][H][W]`, each channel by itself: `[N][C][OH][OW]` with extents from [`Axis::output`] or
/// [`Axis::output_ceil`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// What becomes of a window.
    pub pooling: Pooling,
    /// The windows.
    pub options: PoolOptions<2>,
}

impl Pool2d {
    /// The windows on an image.
    ///
    /// # Errors
    /// A [`Mismatch`] where the input is no image, or the windows do not fit it.
    pub fn axes(&self, input: &TensorDesc) -> Result<[Axis; 2], Mismatch> {
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 4)?;
        let PoolOptions { kernel, stride, padding, dilation, .. } = self.options;
        let resolve = if self.options.ceil_mode { Axis::pair_ceil } else { Axis::pair };
        let axes = resolve(kernel, stride, padding, dilation, [input.shape[2], input.shape[3]])?;
        for (name, axis) in ["height", "width"].into_iter().zip(&axes) {
            let (most, got) = (axis.span() / 2, axis.before.max(axis.after));
            if matches!(padding, Padding::Sides(_)) && got > most {
                let expected = format!("at most {most}, half of the window's {}", axis.span());
                return Err(Mismatch::new(format!("padding {name}"), expected, got));
            }
            if matches!(self.pooling, Pooling::Average(_)) && axis.dilation != 1 {
                return Err(Mismatch::new(format!("dilation {name} of an average"), 1, axis.dilation));
            }
        }
        Ok(axes)
    }

    fn output(&self, axis: &Axis) -> usize {
        if self.options.ceil_mode { axis.output_ceil() } else { axis.output() }
    }

    /// What a window gives that sees nothing.
    fn empty(&self) -> f32 {
        if matches!(self.pooling, Pooling::Average(_)) { 0.0 } else { f32::NEG_INFINITY }
    }
}

impl OpRules for Pool2d {
    const NAME: &'static str = "pool2d";

    fn name(&self) -> &'static str {
        match self.pooling {
            Pooling::Max => "max_pool2d",
            Pooling::MaxIndex => "max_pool2d_indices",
            Pooling::Average(_) => "avg_pool2d",
        }
    }

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let axes = self.axes(input)?;
        let [height, width] = axes.map(|axis| self.output(&axis));
        let dtype = if self.pooling == Pooling::MaxIndex { DType::U32 } else { DType::F32 };
        Ok(TensorDesc::new([input.shape[0], input.shape[1], height, width], dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        let taps = work::product(&self.options.kernel);
        Work::elementwise(work::elements(output).saturating_mul(taps))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let axes = self.axes(lowering.input(0).desc).map_err(|e| e.at(lowering.op, lowering.path))?;
        let [height, width] = axes;
        let output = &lowering.output.desc.shape;
        let sizes = [height.input, width.input, output[2], output[3]].map(|size| size as u32);
        let row = select::pool2d_row(lowering.profile, &width, output[3]);
        let pairs = match self.pooling {
            Pooling::Max => select::pool2d_pairs(lowering.profile, &axes),
            _ => None,
        };
        for block in lowering.blocks()? {
            if let Some(variant) = pairs {
                lower_pairs(lowering, &block, variant, output[3])?;
                continue;
            }
            match (row, self.pooling) {
                (Some(variant), _) => self.lower_row(lowering, &block, variant, &axes, sizes)?,
                (None, Pooling::Average(_)) => self.lower_average(lowering, &block, &axes, sizes)?,
                (None, _) => self.lower_max(lowering, &block, &axes, sizes)?,
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, grad) = (backward.input(0), backward.grad());
        let image = backward.g.desc(input);
        let axes = self.axes(image).map_err(|mismatch| backward.refuse(mismatch))?;
        let (options, extents) = (self.options, axes.map(|axis| axis.input));
        let gradient = match self.pooling {
            Pooling::Max => {
                let maxima = match MaxPool2dGrad::wants_input(&axes) {
                    true => input,
                    false => backward.g.apply(Self { pooling: Pooling::MaxIndex, options }, &[input])?,
                };
                backward.g.apply(MaxPool2dGrad { options, extents }, &[maxima, grad])?
            }
            Pooling::MaxIndex => return Err(backward.refuse("pooling to f32")),
            Pooling::Average(padding) => {
                backward.g.apply(AvgPool2dGrad { padding, options, extents }, &[grad])?
            }
        };
        Ok(vec![Some(gradient)])
    }
}

/// The parts of `lower`: one for each kernel. `sizes` are the heights and widths of input and output.
impl Pool2d {
    fn lower_row(
        &self,
        lowering: &mut Lowering<'_>,
        block: &Block,
        variant: pool2d_row::Variant,
        [height, width]: &[Axis; 2],
        [in_h, in_w, out_h, out_w]: [u32; 4],
    ) -> Result<()> {
        lowering.check_iterations(select::looped(height.kernel as u64, 0))?;
        let row_groups = out_w.div_ceil(variant.outputs());
        let params = pool2d_row::Params {
            count: block.elements / out_w * row_groups,
            in_h,
            in_w,
            out_h,
            out_w,
            row_groups,
            kernel_h: height.kernel as u32,
            stride_h: height.stride as u32,
            dilation_h: height.dilation as u32,
            before_h: height.before as u32,
            before_w: width.before as u32,
            after_h: height.after as u32,
            after_w: width.after as u32,
            empty: self.empty(),
        };
        let overrides = pool2d_row::Overrides {
            op: match self.pooling {
                Pooling::Max => 0,
                Pooling::Average(AveragePadding::Exclude) => 1,
                Pooling::Average(AveragePadding::Include) => 2,
                Pooling::MaxIndex => 3,
            },
            kernel_w: width.kernel as u32,
            stride_w: width.stride as u32,
        };
        let bindings = pool2d_row::Bindings { input: lowering.rowwise(0, block)?, output: block.output };
        let groups = u64::from(params.count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }

    fn lower_average(
        &self,
        lowering: &mut Lowering<'_>,
        block: &Block,
        [height, width]: &[Axis; 2],
        [in_h, in_w, out_h, out_w]: [u32; 4],
    ) -> Result<()> {
        lowering.check_iterations(window_iterations(height.kernel, width.kernel))?;
        let params = pool2d_average::Params {
            count: block.elements,
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
        let include = self.pooling == Pooling::Average(AveragePadding::Include);
        let overrides = pool2d_average::Overrides { count_padding: u32::from(include), adaptive: 0 };
        let bindings = pool2d_average::Bindings { input: lowering.rowwise(0, block)?, output: block.output };
        let variant = pool2d_average::Variant::Base;
        let groups = u64::from(params.count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }

    fn lower_max(
        &self,
        lowering: &mut Lowering<'_>,
        block: &Block,
        [height, width]: &[Axis; 2],
        [in_h, in_w, out_h, out_w]: [u32; 4],
    ) -> Result<()> {
        lowering.check_iterations(window_iterations(height.kernel, width.kernel))?;
        let params = pool2d_max::Params {
            count: block.elements,
            in_h,
            in_w,
            out_h,
            out_w,
            kernel_h: height.kernel as u32,
            kernel_w: width.kernel as u32,
            stride_h: height.stride as u32,
            stride_w: width.stride as u32,
            dilation_h: height.dilation as u32,
            dilation_w: width.dilation as u32,
            before_h: height.before as u32,
            before_w: width.before as u32,
            empty: self.empty(),
        };
        let index = u32::from(self.pooling == Pooling::MaxIndex);
        let overrides = pool2d_max::Overrides { index, adaptive: 0 };
        let bindings = pool2d_max::Bindings { input: lowering.rowwise(0, block)?, output: block.output };
        let variant = pool2d_max::Variant::Base;
        let groups = u64::from(params.count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

/// `out_w` is the width of the output.
fn lower_pairs(
    lowering: &mut Lowering<'_>,
    block: &Block,
    variant: pool2d_max_pairs::Variant,
    out_w: usize,
) -> Result<()> {
    let count = block.elements / variant.windows();
    let params = pool2d_max_pairs::Params { count, row_groups: out_w as u32 / variant.windows() };
    let bindings = pool2d_max_pairs::Bindings { input: lowering.rowwise(0, block)?, output: block.output };
    let groups = u64::from(count.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
}

/// The loop iterations of an invocation that walks over a window.
pub(super) fn window_iterations(height: usize, width: usize) -> u64 {
    select::looped(height as u64, select::looped(width as u64, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(pooling: Pooling, options: PoolOptions<2>, shape: &[usize]) -> Result<TensorDesc, String> {
        Pool2d { pooling, options }.infer(&[&TensorDesc::f32(shape)]).map_err(|mismatch| mismatch.to_string())
    }

    fn max(options: PoolOptions<2>, shape: &[usize]) -> Result<Vec<usize>, String> {
        infer(Pooling::Max, options, shape).map(|desc| desc.shape)
    }

    #[test]
    fn shapes() {
        let plain = PoolOptions::new([2, 2]);
        let resnet = PoolOptions { stride: [2, 2], padding: Padding::all(1), ..PoolOptions::new([3, 3]) };
        let inception = PoolOptions { stride: [2, 2], ceil_mode: true, ..PoolOptions::new([3, 3]) };
        let same = PoolOptions { padding: Padding::Same, ..plain };
        type Row<'a> = (PoolOptions<2>, &'a [usize], [usize; 2]);
        let table: &[Row<'_>] = &[
            (plain, &[1, 64, 224, 224], [112, 112]),
            (plain, &[1, 64, 7, 5], [3, 2]),
            (resnet, &[2, 64, 112, 111], [56, 56]),
            (inception, &[1, 3, 112, 7], [56, 3]),
            (PoolOptions { ceil_mode: true, ..plain }, &[1, 3, 7, 5], [4, 3]),
            // As PyTorch has it, a window that is larger than the image by less than a stride is one.
            (inception, &[1, 3, 2, 3], [1, 1]),
            (same, &[1, 3, 7, 427], [4, 214]),
            // ceil(5 / 3) = 2 windows; with a window shorter than the stride nothing is left over either.
            (PoolOptions { stride: [3, 3], ceil_mode: true, ..same }, &[1, 1, 5, 7], [2, 3]),
            (PoolOptions { dilation: [2, 3], ..plain }, &[1, 1, 5, 9], [2, 3]),
            (PoolOptions { padding: Padding::Sides([[1, 0], [0, 1]]), ..plain }, &[1, 1, 5, 5], [3, 3]),
        ];
        for (options, shape, expected) in table {
            let expected = [shape[0], shape[1], expected[0], expected[1]];
            assert_eq!(max(*options, shape).as_deref(), Ok(&expected[..]), "{options:?} of {shape:?}");
        }
        let index = infer(Pooling::MaxIndex, plain, &[1, 1, 4, 4]);
        assert_eq!(index, Ok(TensorDesc::new([1, 1, 2, 2], DType::U32)));
    }

    #[test]
    fn mistakes_are_named() {
        let plain = PoolOptions::new([3, 3]);
        let padded = PoolOptions { padding: Padding::Sides([[1, 1], [0, 2]]), ..plain };
        assert_eq!(
            max(padded, &[1, 1, 7, 7]),
            Err("padding width: expected at most 1, half of the window's 3, got 2".into())
        );
        let dilated = PoolOptions { dilation: [2, 1], ..plain };
        assert_eq!(
            infer(Pooling::Average(AveragePadding::Include), dilated, &[1, 1, 7, 7]).map(|desc| desc.shape),
            Err("dilation height of an average: expected 1, got 2".into())
        );
        let ceil = PoolOptions { stride: [2, 2], ceil_mode: true, ..PoolOptions::new([4, 4]) };
        assert_eq!(
            max(ceil, &[1, 1, 3, 2]),
            Err("kernel width: expected at most the input's 2, and 1 more in ceil_mode, got 4".into())
        );
        assert_eq!(max(plain, &[3, 7, 7]), Err("input rank: expected 4, got f32[3, 7, 7]".into()));
        assert_eq!(
            max(plain, &[1, 1, 2, 7]),
            Err("kernel height: expected at most the input's 2, got 3".into())
        );
        assert_eq!(
            max(PoolOptions { stride: [0, 1], ..plain }, &[1, 1, 7, 7]),
            Err("stride height: expected at least 1, got 0".into())
        );
    }

    /// Dilation makes room for padding.
    /// As `kiln summary` calls them, and PyTorch.
    #[test]
    fn names_say_what_becomes_of_a_window() {
        let average = Pooling::Average(AveragePadding::Include);
        let name = |pooling| Pool2d { pooling, options: PoolOptions::new([2, 2]) }.name();
        let names = [Pooling::Max, Pooling::MaxIndex, average].map(name);
        assert_eq!(names, ["max_pool2d", "max_pool2d_indices", "avg_pool2d"]);
    }

    #[test]
    fn padding_is_measured_against_the_dilated_window() {
        let options = PoolOptions { padding: Padding::all(2), dilation: [2, 2], ..PoolOptions::new([3, 3]) };
        assert_eq!(max(options, &[1, 1, 7, 7]), Ok(vec![1, 1, 3, 3]));
        assert!(max(PoolOptions { padding: Padding::all(3), ..options }, &[1, 1, 7, 7]).is_err());
    }
}
