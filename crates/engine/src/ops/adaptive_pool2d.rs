//! Pooling to a given size: the windows follow from the extents.

use kiln_kernels::{pool2d_average, pool2d_max};

use super::pool2d::window_iterations;
use super::{AdaptivePool2dGrad, OpRules, Reduce, Reduction, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// What becomes of a window of adaptive pooling. NaN passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdaptivePooling {
    /// The greatest element: `torch.nn.functional.adaptive_max_pool2d`.
    Max,
    /// Where in its plane the greatest element lies, `h * W + w` as u32: PyTorch's `return_indices`. The first of equals,
    /// but the last NaN.
    MaxIndex,
    /// The mean: `torch.nn.functional.adaptive_avg_pool2d`.
    Average,
}

/// Pooling of `[N][C][H][W]` to `[N][C][OH][OW]`, smaller or larger: along each axis the window of place `i` is
/// `floor(i in / out) .. ceil((i + 1) in / out)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdaptivePool2d {
    /// What becomes of a window.
    pub pooling: AdaptivePooling,
    /// Height and width of the output.
    pub output: [usize; 2],
}

impl OpRules for AdaptivePool2d {
    const NAME: &'static str = "adaptive_pool2d";

    fn name(&self) -> &'static str {
        match self.pooling {
            AdaptivePooling::Max => "adaptive_max_pool2d",
            AdaptivePooling::MaxIndex => "adaptive_max_pool2d_indices",
            AdaptivePooling::Average => "adaptive_avg_pool2d",
        }
    }

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 4)?;
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            let (from, to) = (input.shape[2 + axis], self.output[axis]);
            if to == 0 {
                return Err(Mismatch::new(format!("output {name}"), "at least 1", to));
            }
            // Kernels compute the windows in u32.
            let product = from.checked_add(1).and_then(|from| from.checked_mul(to));
            if product.is_none_or(|product| product > u32::MAX as usize) {
                let what = format!("{name} of input and output");
                return Err(Mismatch::new(what, "a product below 2^32", format!("{from} and {to}")));
            }
        }
        let dtype = if self.pooling == AdaptivePooling::MaxIndex { DType::U32 } else { DType::F32 };
        Ok(TensorDesc::new([input.shape[0], input.shape[1], self.output[0], self.output[1]], dtype))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        if let Some(reduction) = self.reduction() {
            return reduction.lower(lowering);
        }
        let input = &lowering.input(0).desc.shape;
        let longest = |axis: usize| longest_window(input[2 + axis], self.output[axis]);
        lowering.check_iterations(window_iterations(longest(0), longest(1)))?;
        let [in_h, in_w, out_h, out_w] =
            [input[2], input[3], self.output[0], self.output[1]].map(|size| size as u32);
        for block in lowering.blocks()? {
            let input = lowering.rowwise(0, &block)?;
            let count = block.elements;
            match self.pooling {
                AdaptivePooling::Max | AdaptivePooling::MaxIndex => {
                    let empty = f32::NEG_INFINITY;
                    let params =
                        pool2d_max::Params { count, in_h, in_w, out_h, out_w, empty, ..Default::default() };
                    let bindings = pool2d_max::Bindings { input, output: block.output };
                    let variant = pool2d_max::Variant::Base;
                    let index = u32::from(self.pooling == AdaptivePooling::MaxIndex);
                    let overrides = pool2d_max::Overrides { index, adaptive: 1 }.pairs();
                    let groups = u64::from(count.div_ceil(variant.threads()));
                    lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)?;
                }
                AdaptivePooling::Average => {
                    let params =
                        pool2d_average::Params { count, in_h, in_w, out_h, out_w, ..Default::default() };
                    let bindings = pool2d_average::Bindings { input, output: block.output };
                    let variant = pool2d_average::Variant::Base;
                    let overrides = pool2d_average::Overrides { count_padding: 0, adaptive: 1 }.pairs();
                    let groups = u64::from(count.div_ceil(variant.threads()));
                    lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)?;
                }
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, grad) = (backward.input(0), backward.grad());
        let shape = &backward.g.desc(input).shape;
        let op = AdaptivePool2dGrad { pooling: self.pooling, extents: [shape[2], shape[3]] };
        let gradient = match self.pooling {
            AdaptivePooling::Average => backward.g.apply(op, &[grad])?,
            AdaptivePooling::Max => {
                let places = Self { pooling: AdaptivePooling::MaxIndex, ..*self };
                let places = backward.g.apply(places, &[input])?;
                backward.g.apply(op, &[places, grad])?
            }
            AdaptivePooling::MaxIndex => return Err(backward.refuse("pooling to f32")),
        };
        Ok(vec![Some(gradient)])
    }
}

impl AdaptivePool2d {
    /// A single window is the whole plane, which a reduction shares among invocations.
    fn reduction(&self) -> Option<Reduce> {
        let reduction = match self.pooling {
            AdaptivePooling::Max => Reduction::Max,
            AdaptivePooling::Average => Reduction::Mean,
            AdaptivePooling::MaxIndex => return None,
        };
        (self.output == [1, 1]).then(|| Reduce { reduction, dims: vec![2, 3], keep_dim: true })
    }
}

/// A bound on the extent of a window: it may reach into an element at either end.
pub(crate) fn longest_window(input: usize, output: usize) -> usize {
    input.div_ceil(output).saturating_add(1).min(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(output: [usize; 2], shape: &[usize]) -> Result<Vec<usize>, String> {
        let op = AdaptivePool2d { pooling: AdaptivePooling::Average, output };
        op.infer(&[&TensorDesc::f32(shape)]).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes() {
        assert_eq!(infer([7, 7], &[2, 512, 7, 9]), Ok(vec![2, 512, 7, 7]));
        assert_eq!(infer([5, 1], &[1, 1, 3, 100]), Ok(vec![1, 1, 5, 1]));
        assert_eq!(infer([0, 1], &[1, 1, 3, 3]), Err("output height: expected at least 1, got 0".into()));
        assert_eq!(
            infer([1, 70_000], &[1, 1, 3, 70_000]),
            Err("width of input and output: expected a product below 2^32, got 70000 and 70000".into())
        );
        assert_eq!(infer([1, 1], &[3, 3]), Err("input rank: expected 4, got f32[3, 3]".into()));
    }

    #[test]
    fn no_window_is_longer_than_the_bound() {
        for (input, output) in (1..40usize).flat_map(|input| (1..40).map(move |output| (input, output))) {
            let longest = (0..output).map(|i| ((i + 1) * input).div_ceil(output) - i * input / output).max();
            assert!(longest <= Some(longest_window(input, output)), "{input} to {output}");
        }
    }
}
