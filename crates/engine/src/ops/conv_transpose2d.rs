//! Transposed convolution over two spatial axes, with bias, activation and residual in the same kernel.

mod backward;
mod lower;

use super::{Epilogue, OpRules, PANEL, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// Options of a transposed convolution over `N` spatial axes; the default is stride 1 without padding, dilation or
/// groups. They are those of the convolution whose way back it is: a stride spreads, padding takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTransposeOptions<const N: usize> {
    /// Distance in the output between what neighbouring inputs give, for each axis.
    pub stride: [usize; N],
    /// Elements of the output that are left out at either end of each axis.
    pub padding: [usize; N],
    /// Elements added at the far end of each axis: which of the extents that a stride rounds to the same one is meant.
    /// Less than the stride or the dilation.
    pub output_padding: [usize; N],
    /// Distance in the output between neighbouring taps, for each axis.
    pub dilation: [usize; N],
    /// Channels are cut into so many groups, each convolved by itself.
    pub groups: usize,
}

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [0; N], output_padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl From<ConvTransposeOptions<1>> for ConvTransposeOptions<2> {
    /// The same along the second axis of an image with one row.
    fn from(options: ConvTransposeOptions<1>) -> Self {
        Self {
            stride: [1, options.stride[0]],
            padding: [0, options.padding[0]],
            output_padding: [0, options.output_padding[0]],
            dilation: [1, options.dilation[0]],
            groups: options.groups,
        }
    }
}

/// How the weight of a transposed convolution lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvTransposeWeight {
    /// `[in][out / groups][kh][kw]`, as PyTorch has it.
    Plain,
    /// `[groups][panels][depth][8]`: for each group the matrix `[depth][out / groups]`, with `depth` counting
    /// `[kh][kw][in / groups]`, as [`PackPanels`](super::PackPanels) makes of it.
    Panels {
        /// Channels of the output.
        out_channels: usize,
        /// Extents of the window.
        kernel: [usize; 2],
    },
}

/// `output[n][oc][oh][ow] = sum input[n][ic][ih][iw] weight[ic][oc][kh][kw]` over the input channels of `oc`'s group and
/// all that fulfil `ih sh + kh dh = oh + top` and `iw sw + kw dw = ow + left`, with an [`Epilogue`] by channels:
/// `torch.nn.functional.conv_transpose2d`. It is the adjoint of [`Conv2d`](super::Conv2d) with these options and this
/// weight, so its gradient in the image.
///
/// The input is `[N][C][H][W]`, the output `[N][out][OH][OW]` with extents from [`TransposedAxis::output`]. Inputs are
/// image and weight, then those of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2d {
    /// Stride, padding, dilation and groups.
    pub options: ConvTransposeOptions<2>,
    /// Layout of the weight.
    pub weight: ConvTransposeWeight,
    /// What is done with the sums.
    pub epilogue: Epilogue,
}

impl ConvTranspose2d {
    /// A transposed convolution with a weight as PyTorch has it.
    pub fn new(options: ConvTransposeOptions<2>) -> Self {
        Self { options, weight: ConvTransposeWeight::Plain, epilogue: Epilogue::default() }
    }

    /// Sizes of the transposed convolution, from image and weight.
    ///
    /// # Errors
    /// A [`Mismatch`] where channels, groups and options do not fit each other, or nothing is left of the output.
    pub fn geometry(
        &self,
        input: &TensorDesc,
        weight: &TensorDesc,
    ) -> Result<ConvTransposeGeometry, Mismatch> {
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
        let (out_channels, kernel) = match self.weight {
            ConvTransposeWeight::Plain => {
                if weight.shape[0] != in_channels {
                    let expected =
                        format!("[{in_channels}, out / groups, kh, kw], as the input's channels ask");
                    return Err(Mismatch::new("weight", expected, weight));
                }
                let out_channels = weight.shape[1].checked_mul(groups);
                let out_channels =
                    out_channels.ok_or_else(|| Mismatch::new("output channels", "less than 2^31", "more"))?;
                (out_channels, [weight.shape[2], weight.shape[3]])
            }
            ConvTransposeWeight::Panels { out_channels, kernel } => (out_channels, kernel),
        };
        let axis = |name, i: usize| {
            let ConvTransposeOptions { stride, padding, output_padding, dilation, .. } = self.options;
            let axis = TransposedAxis {
                input: input.shape[i + 2],
                kernel: kernel[i],
                stride: stride[i],
                dilation: dilation[i],
                padding: padding[i],
                output_padding: output_padding[i],
            };
            axis.check(name).map(|()| axis)
        };
        let axes = [axis("height", 0)?, axis("width", 1)?];
        let geometry = ConvTransposeGeometry { batch, in_channels, out_channels, groups, axes };
        if matches!(self.weight, ConvTransposeWeight::Panels { .. }) {
            let panels = geometry.group_out().div_ceil(PANEL);
            let depth = geometry.group_in() * kernel[0] * kernel[1];
            expect::shape("packed weight", weight, &[groups, panels, depth, PANEL])?;
        }
        Ok(geometry)
    }
}

/// One axis of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransposedAxis {
    /// Extent of the input.
    pub input: usize,
    /// Taps of the window.
    pub kernel: usize,
    /// Distance in the output between what neighbouring inputs give.
    pub stride: usize,
    /// Distance in the output between neighbouring taps.
    pub dilation: usize,
    /// Elements left out at either end.
    pub padding: usize,
    /// Elements added at the far end.
    pub output_padding: usize,
}

impl TransposedAxis {
    /// Extent of the output: `(input - 1) stride + dilation (kernel - 1) + 1 + output_padding - 2 padding`. Only for an
    /// axis that has been checked, as those of [`ConvTranspose2d::geometry`] are.
    pub fn output(&self) -> usize {
        (self.input - 1) * self.stride + self.dilation * (self.kernel - 1) + 1 + self.output_padding
            - 2 * self.padding
    }

    /// How many sorts of outputs there are: those that lie a stride apart meet the same taps.
    pub(crate) fn phases(&self) -> usize {
        self.stride.min(self.output())
    }

    /// The most outputs of one sort.
    pub(crate) fn phase(&self) -> usize {
        self.output().div_ceil(self.stride)
    }

    /// How many taps after one that an output meets the next such one lies.
    pub(crate) fn step(&self) -> usize {
        self.stride / gcd(self.stride, self.dilation)
    }

    /// The most taps that one output meets: those whose dilated places agree modulo the stride.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.div_ceil(self.step())
    }

    fn check(&self, name: &str) -> Result<(), Mismatch> {
        let &Self { input, kernel, stride, dilation, padding, output_padding } = self;
        for (what, size) in [("kernel", kernel), ("stride", stride), ("dilation", dilation), ("input", input)]
        {
            if size == 0 {
                return Err(Mismatch::new(format!("{what} {name}"), "at least 1", size));
            }
            if size >= 1 << 31 {
                return Err(Mismatch::new(format!("{what} {name}"), "less than 2^31", size));
            }
        }
        if output_padding >= stride.max(dilation) {
            let expected = format!("less than the stride {stride} or the dilation {dilation}");
            return Err(Mismatch::new(format!("output padding {name}"), expected, output_padding));
        }
        let spread = (input - 1).checked_mul(stride);
        let reach = dilation.checked_mul(kernel - 1);
        let whole = spread.zip(reach).and_then(|(spread, reach)| spread.checked_add(reach));
        let whole = whole.and_then(|whole| whole.checked_add(output_padding)?.checked_add(1));
        let Some(whole) = whole.filter(|&whole| whole < 1 << 31) else {
            return Err(Mismatch::new(format!("output {name}"), "less than 2^31", "more"));
        };
        if padding >= whole.div_ceil(2) {
            let expected = format!("less than half of the {whole} that the output has without it");
            return Err(Mismatch::new(format!("padding {name}"), expected, padding));
        }
        Ok(())
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Sizes of a transposed convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTransposeGeometry {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Groups that both kinds of channels are cut into.
    pub groups: usize,
    /// Height and width.
    pub axes: [TransposedAxis; 2],
}

impl ConvTransposeGeometry {
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

    /// Loops of an invocation: in search of its first taps, then over rows of taps, in each over taps, in each over
    /// channels.
    pub(crate) fn iterations(&self) -> u64 {
        let [[search_h, taps_h], [search_w, taps_w]] =
            self.axes.map(|axis| [axis.step().min(axis.kernel) as u64, axis.taps() as u64]);
        search_h + search_w + taps_h * (1 + taps_w * (1 + self.group_in() as u64))
    }

    /// Shape of the output.
    pub fn output_shape(&self) -> [usize; 4] {
        let [height, width] = self.axes.map(|axis| axis.output());
        [self.batch, self.out_channels, height, width]
    }
}

impl OpRules for ConvTranspose2d {
    const NAME: &'static str = "conv_transpose2d";

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
        // Each element of the input goes into all channels of its group, at every tap.
        let reached = self.geometry(inputs[0], inputs[1]).map_or(0, |geometry| {
            let taps: u64 = geometry.axes.iter().map(|axis| axis.kernel as u64).product();
            taps.saturating_mul((geometry.out_channels / geometry.groups) as u64)
        });
        let products = work::elements(inputs[0]).saturating_mul(reached);
        Work::products(products).and(self.epilogue.operations(work::elements(output)))
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

    fn infer(op: ConvTranspose2d, shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
        let descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
        let descs: Vec<&TensorDesc> = descs.iter().collect();
        op.infer(&descs).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes_of_transposed_convolutions() {
        let plain = ConvTransposeOptions::default();
        let with = ConvTranspose2d::new;
        let doubling = ConvTransposeOptions { stride: [2; 2], padding: [1; 2], ..plain };
        let biased = ConvTranspose2d { epilogue: Epilogue::with_bias(true), ..with(doubling) };
        let packed = ConvTranspose2d {
            weight: ConvTransposeWeight::Panels { out_channels: 27, kernel: [3, 3] },
            ..with(ConvTransposeOptions { groups: 3, ..plain })
        };
        type Row<'a> = (ConvTranspose2d, &'a [&'a [usize]], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (with(plain), &[&[2, 3, 7, 5], &[3, 4, 3, 2]], Ok(&[2, 4, 9, 6])),
            (biased, &[&[2, 3, 7, 5], &[3, 4, 4, 4], &[4]], Ok(&[2, 4, 14, 10])),
            (
                with(ConvTransposeOptions { output_padding: [1, 0], ..doubling }),
                &[&[1, 2, 7, 5], &[2, 4, 3, 3]],
                Ok(&[1, 4, 14, 9]),
            ),
            (
                with(ConvTransposeOptions { stride: [3, 1], dilation: [1, 4], ..plain }),
                &[&[1, 1, 2, 2], &[1, 1, 2, 3]],
                Ok(&[1, 1, 5, 10]),
            ),
            (
                with(ConvTransposeOptions { groups: 3, ..plain }),
                &[&[1, 6, 4, 4], &[6, 5, 1, 1]],
                Ok(&[1, 15, 4, 4]),
            ),
            (packed, &[&[1, 6, 4, 4], &[3, 2, 18, 8]], Ok(&[1, 27, 6, 6])),
            (with(plain), &[&[3, 7, 5], &[3, 4, 3, 2]], Err("input rank: expected 4, got f32[3, 7, 5]")),
            (
                with(plain),
                &[&[1, 3, 7, 5], &[4, 3, 3, 2]],
                Err(
                    "weight: expected [3, out / groups, kh, kw], as the input's channels ask, got f32[4, 3, 3, 2]",
                ),
            ),
            (
                with(ConvTransposeOptions { groups: 2, ..plain }),
                &[&[1, 3, 7, 5], &[3, 2, 3, 2]],
                Err("groups: expected a divisor of the input's 3 channels, got 2"),
            ),
            (
                with(ConvTransposeOptions { groups: 0, ..plain }),
                &[&[1, 3, 7, 5], &[3, 2, 3, 2]],
                Err("groups: expected at least 1, got 0"),
            ),
            (
                with(ConvTransposeOptions { stride: [1, 0], ..plain }),
                &[&[1, 3, 7, 5], &[3, 2, 3, 2]],
                Err("stride width: expected at least 1, got 0"),
            ),
            (
                with(ConvTransposeOptions { output_padding: [2, 0], ..doubling }),
                &[&[1, 3, 7, 5], &[3, 2, 3, 2]],
                Err("output padding height: expected less than the stride 2 or the dilation 1, got 2"),
            ),
            (
                with(ConvTransposeOptions { padding: [0, 2], ..plain }),
                &[&[1, 3, 7, 2], &[3, 2, 3, 3]],
                Err("padding width: expected less than half of the 4 that the output has without it, got 2"),
            ),
            (
                with(ConvTransposeOptions { stride: [1 << 20, 1], ..plain }),
                &[&[1, 3, 1 << 20, 2], &[3, 2, 3, 3]],
                Err("output height: expected less than 2^31, got more"),
            ),
            (
                with(ConvTransposeOptions { stride: [1 << 40, 1], ..plain }),
                &[&[1, 3, 1, 2], &[3, 2, 3, 3]],
                Err("stride height: expected less than 2^31, got 1099511627776"),
            ),
            (biased, &[&[1, 3, 7, 5], &[3, 4, 3, 3], &[3]], Err("bias: expected [4], got f32[3]")),
            (biased, &[&[1, 3, 7, 5], &[3, 4, 3, 3]], Err("number of inputs: expected 3, got 2")),
        ];
        for (op, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*op, shapes), expected, "{op:?} of {shapes:?}");
        }
    }

    /// Outputs, phases and taps counted one by one.
    #[test]
    fn every_place_that_an_input_reaches_is_counted() {
        let sizes = (1..=4).flat_map(|k| (1..=4).flat_map(move |s| (1..=4).map(move |d| (k, s, d))));
        for (kernel, stride, dilation) in sizes {
            for (input, padding, output_padding) in [(1, 0, 0), (5, 0, 0), (5, 1, 0), (7, 1, 1)] {
                let axis = TransposedAxis { input, kernel, stride, dilation, padding, output_padding };
                if axis.check("height").is_err() {
                    continue;
                }
                let last = (input - 1) * stride + (kernel - 1) * dilation;
                assert_eq!(axis.output() + 2 * padding, last + 1 + output_padding, "{axis:?}");
                assert_eq!(
                    axis.phases(),
                    (0..stride).filter(|&phase| phase < axis.output()).count(),
                    "{axis:?}"
                );
                let phases = (0..stride).map(|phase| (phase..axis.output()).step_by(stride).count());
                assert_eq!(Some(axis.phase()), phases.max(), "{axis:?}");
                let meets = |phase| (0..kernel).filter(|tap| tap * dilation % stride == phase).count();
                assert_eq!(Some(axis.taps()), (0..stride).map(meets).max(), "{axis:?}");
            }
        }
    }
}
