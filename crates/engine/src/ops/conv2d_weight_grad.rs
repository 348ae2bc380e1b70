//! The gradient of a convolution by its weight.

mod lower;

use super::{Conv2d, ConvGeometry, ConvOptions, OpRules, expect};
use crate::builder::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// `gradient[oc][ic][kh][kw] = sum grad[n][oc][oh][ow] input[n][ic][oh sh + kh dh - top][ow sw + kw dw - left]` over
/// images and pixels: what [`Conv2d`] of these options adds to the gradient of its weight. `torch.nn.grad.conv2d_weight`.
/// With input and gradient in each other's place it is that of [`ConvTranspose2d`](super::ConvTranspose2d).
///
/// Inputs are the image `[N][C][H][W]` and the gradient by the convolution's output, `[N][out][OH][OW]`. The output is
/// `[out][C / groups][kh][kw]`; with several parts it is `[parts * out][C / groups][kh][kw]`, the sums over consecutive
/// stretches of images and pixels, in a fixed order. The pass [`split_weight_grad`](crate::passes::split_weight_grad)
/// makes parts where few outputs would leave a device idle, and adds them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dWeightGrad {
    /// Extents of the convolution's window.
    pub kernel: [usize; 2],
    /// The convolution's options.
    pub options: ConvOptions<2>,
    /// In how many parts the sum is made.
    pub parts: usize,
}

impl Conv2dWeightGrad {
    /// The gradient, in one part.
    pub fn new(kernel: [usize; 2], options: ConvOptions<2>) -> Self {
        Self { kernel, options, parts: 1 }
    }

    /// Sizes of the convolution, from the image and the gradient by the output.
    ///
    /// # Errors
    /// A [`Mismatch`] where they do not fit each other and the options.
    pub fn geometry(&self, input: &TensorDesc, grad: &TensorDesc) -> Result<ConvGeometry, Mismatch> {
        expect::rank("input", input, 4)?;
        expect::rank("gradient", grad, 4)?;
        let group_in = input.shape[1] / self.options.groups.max(1);
        let [kernel_h, kernel_w] = self.kernel;
        let weight = TensorDesc::f32([grad.shape[1], group_in, kernel_h, kernel_w]);
        let geometry = Conv2d::new(self.options).geometry(input, &weight)?;
        expect::shape("gradient", grad, &geometry.output_shape())?;
        Ok(geometry)
    }
}

/// Adds the gradient of a convolution's weight, from the image and the gradient by the output. A window that covers its
/// image makes it a product of matrices.
pub(super) fn weight_gradient(
    g: &mut GraphBuilder,
    input: Value,
    grad: Value,
    kernel: [usize; 2],
    options: ConvOptions<2>,
) -> Result<Value> {
    let op = Conv2dWeightGrad::new(kernel, options);
    let geometry = op
        .geometry(g.desc(input), g.desc(grad))
        .map_err(|mismatch| mismatch.at(Conv2dWeightGrad::NAME, g.path()))?;
    if !geometry.is_linear() {
        return g.apply(op, &[input, grad]);
    }
    let (rows, cols, depth) = (geometry.batch, geometry.out_channels, geometry.depth());
    let input = g.reshape(input, &[rows, depth])?;
    let grad = g.reshape(grad, &[rows, cols])?;
    let gradient = g.matmul_tn(grad, input)?;
    g.reshape(gradient, &[cols, geometry.in_channels, kernel[0], kernel[1]])
}

impl OpRules for Conv2dWeightGrad {
    const NAME: &'static str = "conv2d_weight_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, grad] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::dtype("gradient", grad, DType::F32)?;
        let geometry = self.geometry(input, grad)?;
        let [kernel_h, kernel_w] = self.kernel;
        let rows = self.parts.checked_mul(geometry.out_channels).filter(|&rows| rows < 1 << 31);
        let rows = rows.ok_or_else(|| Mismatch::new("parts", "fewer", self.parts))?;
        Ok(TensorDesc::f32([rows, geometry.group_in(), kernel_h, kernel_w]))
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        // Each element of the output's gradient meets what its window sees of the input.
        Work::products(work::elements(inputs[1]).saturating_mul(work::product(&output.shape[1..])))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        lower::lower(self, lowering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Padding;

    fn infer(op: Conv2dWeightGrad, shapes: [&[usize]; 2]) -> Result<Vec<usize>, String> {
        let [input, grad] = shapes.map(TensorDesc::f32);
        op.infer(&[&input, &grad]).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes() {
        let plain = ConvOptions::default();
        let three = Conv2dWeightGrad::new([3, 3], plain);
        let grouped = ConvOptions { groups: 3, padding: Padding::all(1), ..plain };
        type Row<'a> = (Conv2dWeightGrad, [&'a [usize]; 2], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (three, [&[2, 3, 7, 5], &[2, 4, 5, 3]], Ok(&[4, 3, 3, 3])),
            (Conv2dWeightGrad { parts: 5, ..three }, [&[2, 3, 7, 5], &[2, 4, 5, 3]], Ok(&[20, 3, 3, 3])),
            (Conv2dWeightGrad::new([3, 3], grouped), [&[1, 6, 4, 4], &[1, 9, 4, 4]], Ok(&[9, 2, 3, 3])),
            (
                Conv2dWeightGrad::new([2, 5], ConvOptions { stride: [2, 3], ..plain }),
                [&[1, 1, 8, 9], &[1, 2, 4, 2]],
                Ok(&[2, 1, 2, 5]),
            ),
            (
                three,
                [&[2, 3, 7, 5], &[2, 4, 5, 5]],
                Err("gradient: expected [2, 4, 5, 3], got f32[2, 4, 5, 5]"),
            ),
            (
                three,
                [&[2, 3, 7, 5], &[1, 4, 5, 3]],
                Err("gradient: expected [2, 4, 5, 3], got f32[1, 4, 5, 3]"),
            ),
            (
                Conv2dWeightGrad::new([3, 3], grouped),
                [&[1, 6, 4, 4], &[1, 10, 4, 4]],
                Err("groups: expected a divisor of the weight's 10 output channels, got 3"),
            ),
            (
                Conv2dWeightGrad::new([3, 3], ConvOptions { groups: 0, ..plain }),
                [&[1, 6, 4, 4], &[1, 10, 4, 4]],
                Err("groups: expected at least 1, got 0"),
            ),
            (three, [&[3, 7, 5], &[2, 4, 5, 3]], Err("input rank: expected 4, got f32[3, 7, 5]")),
            (
                Conv2dWeightGrad { parts: 1 << 30, ..three },
                [&[2, 3, 7, 5], &[2, 4, 5, 3]],
                Err("parts: expected fewer, got 1073741824"),
            ),
        ];
        for (op, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*op, *shapes), expected, "{op:?} of {shapes:?}");
        }
    }
}
