//! Convolution over two spatial axes, with bias, activation and residual in the same kernel.

mod backward;
mod lower;

use super::{Epilogue, OpRules, PANEL, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::looped;
use crate::tensor::{DType, TensorDesc};
use crate::window::{Axis, Padding};
use crate::work::{self, Work};

/// Options of a convolution over `N` spatial axes; the default is stride 1 without padding, dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvOptions<const N: usize> {
    /// Distance between neighbouring windows, for each axis.
    pub stride: [usize; N],
    /// What surrounds the input.
    pub padding: Padding<N>,
    /// Distance between neighbouring taps, for each axis.
    pub dilation: [usize; N],
    /// Channels are cut into so many groups, each convolved by itself.
    pub groups: usize,
}

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: Padding::Valid, dilation: [1; N], groups: 1 }
    }
}

impl From<ConvOptions<1>> for ConvOptions<2> {
    /// The same along the second axis of an image with one row.
    fn from(options: ConvOptions<1>) -> Self {
        Self {
            stride: [1, options.stride[0]],
            padding: options.padding.as_row(),
            dilation: [1, options.dilation[0]],
            groups: options.groups,
        }
    }
}

/// How the weight of a convolution lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvWeight {
    /// `[out][in / groups][kh][kw]`, as PyTorch has it.
    Plain,
    /// `[groups][panels][depth][8]`: for each group the matrix `[out / groups][depth]`, with
    /// `depth = in / groups * kh * kw`, as [`PackPanels`](super::PackPanels) makes of it.
    Panels {
        /// Channels of the output.
        out_channels: usize,
        /// Extents of the window.
        kernel: [usize; 2],
    },
    /// `[out][in / groups][1][taps]`, the taps of a channel in rows and then zeros up to a multiple of eight: where the
    /// lanes of a subgroup have a channel each.
    Taps {
        /// Extents of the window.
        kernel: [usize; 2],
    },
}

impl ConvWeight {
    /// The shape of the weight of such a convolution as [`ConvWeight::Taps`].
    pub(crate) fn taps_shape(geometry: &ConvGeometry) -> [usize; 4] {
        let taps = geometry.kernel().iter().product::<usize>();
        [geometry.out_channels, geometry.group_in(), 1, taps.next_multiple_of(8)]
    }
}

/// `output[n][oc][oh][ow] = sum input[n][ic][oh sh + kh dh - top][ow sw + kw dw - left] weight[oc][ic][kh][kw]` over
/// the taps and the input channels of `oc`'s group, with an [`Epilogue`] by channels: `torch.nn.functional.conv2d`.
/// The kernel is not flipped; what lies outside of the input counts as 0.
///
/// The input is `[N][C][H][W]`, the output `[N][out][OH][OW]` with extents from [`Axis::output`]. Inputs are image and
/// weight, then those of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Stride, padding, dilation and groups.
    pub options: ConvOptions<2>,
    /// Layout of the weight.
    pub weight: ConvWeight,
    /// What is done with the sums.
    pub epilogue: Epilogue,
}

impl Conv2d {
    /// A convolution with a weight as PyTorch has it.
    pub fn new(options: ConvOptions<2>) -> Self {
        Self { options, weight: ConvWeight::Plain, epilogue: Epilogue::default() }
    }

    /// Sizes of the convolution, from image and weight.
    ///
    /// # Errors
    /// A [`Mismatch`] where channels, groups and window do not fit each other.
    pub fn geometry(&self, input: &TensorDesc, weight: &TensorDesc) -> Result<ConvGeometry, Mismatch> {
        expect::rank("input", input, 4)?;
        expect::rank("weight", weight, 4)?;
        let groups = self.options.groups;
        if groups == 0 {
            return Err(Mismatch::new("groups", "at least 1", groups));
        }
        let (batch, in_channels) = (input.shape[0], input.shape[1]);
        if !in_channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the input's {in_channels} channels");
            return Err(Mismatch::new("groups", expected, groups));
        }
        let group_in = in_channels / groups;
        let (out_channels, kernel) = match self.weight {
            ConvWeight::Plain => {
                if weight.shape[1] != group_in {
                    let grouped = if groups == 1 { String::new() } else { format!(" / {groups} groups") };
                    let expected =
                        format!("[out, {group_in}, kh, kw], as {in_channels} channels{grouped} ask");
                    return Err(Mismatch::new("weight", expected, weight));
                }
                (weight.shape[0], [weight.shape[2], weight.shape[3]])
            }
            ConvWeight::Panels { out_channels, kernel } => (out_channels, kernel),
            ConvWeight::Taps { kernel } => (weight.shape[0], kernel),
        };
        if !out_channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the weight's {out_channels} output channels");
            return Err(Mismatch::new("groups", expected, groups));
        }
        let ConvOptions { stride, padding, dilation, .. } = self.options;
        let axes = Axis::pair(kernel, stride, padding, dilation, [input.shape[2], input.shape[3]])?;
        let geometry = ConvGeometry { batch, in_channels, out_channels, groups, axes };
        if matches!(self.weight, ConvWeight::Panels { .. }) {
            let panels = geometry.group_out().div_ceil(PANEL);
            expect::shape("packed weight", weight, &[groups, panels, geometry.depth(), PANEL])?;
        }
        if matches!(self.weight, ConvWeight::Taps { .. }) {
            expect::shape("weight by taps", weight, &ConvWeight::taps_shape(&geometry))?;
        }
        Ok(geometry)
    }
}

/// Sizes of a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Groups that both kinds of channels are cut into.
    pub groups: usize,
    /// Height and width.
    pub axes: [Axis; 2],
}

impl ConvGeometry {
    /// Channels of the input in a group.
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Channels of the output in a group.
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Extents of the window.
    pub fn kernel(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.kernel)
    }

    /// Extents of the output.
    pub fn output(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.output())
    }

    /// Terms of the sum for one element of the output: `in / groups * kh * kw`.
    pub fn depth(&self) -> usize {
        self.group_in() * self.axes[0].kernel * self.axes[1].kernel
    }

    /// Loops of an invocation that makes one element of the output: over channels, in each over rows of taps, in each
    /// over taps. What a software adapter allows counts all of them.
    pub(crate) fn iterations(&self) -> u64 {
        let [height, width] = self.kernel().map(|extent| extent as u64);
        looped(self.group_in() as u64, looped(height, looped(width, 0)))
    }

    /// Shape of the output.
    pub fn output_shape(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, self.out_channels, height, width]
    }

    /// Whether each input channel is convolved by itself.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.group_in() == 1
    }

    /// Whether the only window covers exactly the input: a fully connected layer.
    pub fn is_linear(&self) -> bool {
        let covers = |axis: &Axis| axis.kernel == axis.padded() && axis.input == axis.padded();
        self.groups == 1 && self.axes.iter().all(covers)
    }
}

impl OpRules for Conv2d {
    const NAME: &'static str = "conv2d";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight, ..] = inputs else {
            return Err(Mismatch::new("number of inputs", "at least 2", inputs.len()));
        };
        expect::dtype("input", input, DType::F32)?;
        expect::dtype("weight", weight, DType::F32)?;
        let geometry = self.geometry(input, weight)?;
        let output = TensorDesc::f32(geometry.output_shape());
        self.epilogue.check(2, inputs, geometry.out_channels, &output)?;
        Ok(output)
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        let elements = work::elements(output);
        let products = self.geometry(inputs[0], inputs[1]).map_or(0, |geometry| match self.weight {
            ConvWeight::Plain | ConvWeight::Panels { .. } => elements.saturating_mul(geometry.depth() as u64),
            // The kernels whose lanes have a channel each leave out what meets the padding.
            ConvWeight::Taps { .. } => {
                let [height, width] = geometry.axes.map(|axis| axis.taps_inside());
                work::product(&[geometry.batch, geometry.out_channels, geometry.group_in(), height, width])
            }
        });
        Work::products(products).and(self.epilogue.operations(elements))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        lower::lower(self, lowering)
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        backward::backward(self, backward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(op: Conv2d, shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
        let descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
        let descs: Vec<&TensorDesc> = descs.iter().collect();
        op.infer(&descs).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes_of_convolutions() {
        let plain = ConvOptions::default();
        let with = |options: ConvOptions<2>| Conv2d::new(options);
        let padded = ConvOptions { padding: Padding::all(1), ..plain };
        let biased = Conv2d { epilogue: Epilogue::with_bias(true), ..with(padded) };
        let packed = Conv2d {
            weight: ConvWeight::Panels { out_channels: 9, kernel: [3, 3] },
            ..with(ConvOptions { groups: 3, ..plain })
        };
        type Row<'a> = (Conv2d, &'a [&'a [usize]], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (with(plain), &[&[2, 3, 7, 5], &[4, 3, 3, 2]], Ok(&[2, 4, 5, 4])),
            (biased, &[&[2, 3, 7, 5], &[4, 3, 3, 3], &[4]], Ok(&[2, 4, 7, 5])),
            (
                with(ConvOptions { stride: [2, 3], dilation: [2, 1], ..padded }),
                &[&[1, 1, 9, 9], &[1, 1, 3, 3]],
                Ok(&[1, 1, 4, 3]),
            ),
            (
                with(ConvOptions { padding: Padding::Same, stride: [2, 2], ..plain }),
                &[&[1, 1, 7, 8], &[1, 1, 3, 3]],
                Ok(&[1, 1, 4, 4]),
            ),
            (
                with(ConvOptions { padding: Padding::Sides([[0, 1], [2, 3]]), ..plain }),
                &[&[1, 1, 4, 4], &[1, 1, 2, 2]],
                Ok(&[1, 1, 4, 8]),
            ),
            (with(ConvOptions { groups: 3, ..plain }), &[&[1, 6, 4, 4], &[9, 2, 1, 1]], Ok(&[1, 9, 4, 4])),
            (packed, &[&[1, 6, 4, 4], &[3, 1, 18, 8]], Ok(&[1, 9, 2, 2])),
            (with(plain), &[&[3, 7, 5], &[4, 3, 3, 2]], Err("input rank: expected 4, got f32[3, 7, 5]")),
            (
                with(plain),
                &[&[1, 3, 7, 5], &[4, 2, 3, 2]],
                Err("weight: expected [out, 3, kh, kw], as 3 channels ask, got f32[4, 2, 3, 2]"),
            ),
            (
                with(ConvOptions { groups: 2, ..plain }),
                &[&[1, 3, 7, 5], &[4, 2, 3, 2]],
                Err("groups: expected a divisor of the input's 3 channels, got 2"),
            ),
            (
                with(ConvOptions { groups: 3, ..plain }),
                &[&[1, 6, 7, 5], &[4, 2, 3, 2]],
                Err("groups: expected a divisor of the weight's 4 output channels, got 3"),
            ),
            (
                with(ConvOptions { groups: 0, ..plain }),
                &[&[1, 6, 7, 5], &[4, 6, 3, 2]],
                Err("groups: expected at least 1, got 0"),
            ),
            (
                with(plain),
                &[&[1, 1, 2, 5], &[1, 1, 3, 3]],
                Err("kernel height: expected at most the input's 2, got 3"),
            ),
            (biased, &[&[1, 3, 7, 5], &[4, 3, 3, 3], &[3]], Err("bias: expected [4], got f32[3]")),
            (biased, &[&[1, 3, 7, 5], &[4, 3, 3, 3]], Err("number of inputs: expected 3, got 2")),
        ];
        for (op, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*op, shapes), expected, "{op:?} of {shapes:?}");
        }
    }

    /// As the gradient of a convolution without padding is: half of its products meet the padding.
    #[test]
    fn products_with_padding_count_where_they_are_made() {
        let options = ConvOptions { padding: Padding::all(2), ..Default::default() };
        let image = TensorDesc::f32([2, 5, 4, 3]);
        let work = |weight, shape: [usize; 4]| {
            let op = Conv2d { weight, ..Conv2d::new(options) };
            let weight = TensorDesc::f32(shape);
            let output = op.infer(&[&image, &weight]).expect("the convolution should fit");
            assert_eq!(output.shape, [2, 8, 6, 5]);
            op.work(&[&image, &weight], &output).multiply_adds
        };
        assert_eq!(work(ConvWeight::Plain, [8, 5, 3, 3]), 2 * 8 * 5 * 6 * 5 * 9);
        // Each of 4 x 3 numbers meets all nine taps.
        assert_eq!(work(ConvWeight::Taps { kernel: [3, 3] }, [8, 5, 1, 16]), 2 * 8 * 5 * 4 * 3 * 9);
    }

    #[test]
    fn a_window_as_large_as_its_input_is_a_linear_layer() {
        let image = TensorDesc::f32([2, 5, 7, 6]);
        let is_linear = |options, kernel: [usize; 2]| {
            let weight = TensorDesc::f32([4, 5, kernel[0], kernel[1]]);
            Conv2d::new(options).geometry(&image, &weight).is_ok_and(|geometry| geometry.is_linear())
        };
        let plain = ConvOptions::default();
        assert!(is_linear(plain, [7, 6]));
        assert!(is_linear(ConvOptions { stride: [3, 3], ..plain }, [7, 6]));
        assert!(!is_linear(plain, [7, 5]));
        assert!(!is_linear(ConvOptions { padding: Padding::all(1), ..plain }, [7, 6]));
        assert!(!is_linear(ConvOptions { dilation: [2, 1], ..plain }, [4, 6]));
        let (image, weight) = (TensorDesc::f32([2, 5, 1, 1]), TensorDesc::f32([10, 1, 1, 1]));
        let grouped = Conv2d::new(ConvOptions { groups: 5, ..plain }).geometry(&image, &weight);
        assert!(grouped.is_ok_and(|geometry| !geometry.is_linear()));
    }
}
