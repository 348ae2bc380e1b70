//! Sums by channel, in parts.

mod parts;

use kiln_kernels::{channel_moments, channel_moments_eights, channel_sum, channel_sum_eights};

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Lowering};
use crate::tensor::TensorDesc;

pub(crate) use parts::Parts;

/// Sums over all but the channels, the second dimension, in parts that [`ChannelJoin`](super::ChannelJoin) puts
/// together: such a sum is long and channels are few, so that one invocation each would leave a GPU idle and exceed
/// what a software adapter lets it loop. [`GraphBuilder::channel_sum`](crate::GraphBuilder::channel_sum) and its kin do
/// both.
///
/// Inputs: what [`ChannelTerms`] names. The output is `[1, parts, rows, C]`, with the terms' rows; the first extent
/// keeps it in one piece where the inputs are cut. A part is a group of images or a segment of one image's planes, and
/// the shape alone decides how many there are: every device adds up the same parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelSum {
    /// What is summed.
    pub terms: ChannelTerms,
}

/// What a [`ChannelSum`] sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelTerms {
    /// The elements of x of `[N, C]` or `[N, C, ...]`. One row.
    Values,
    /// The products of the elements of two tensors of one such shape. One row.
    Products,
    /// For a gradient and x of one such shape, with mean and variance as `[2, C]`: the gradient's elements, and their
    /// products with `z = (x - mean) / sqrt(variance + epsilon)`. These are the gradients of a normalisation's bias and
    /// weight. Two rows.
    Normalized {
        /// Added to the variance.
        epsilon: Scalar,
        /// Whether the gradient is that of a relu behind the norm, whose weight and bias of `[C]` are two inputs more: 0
        /// takes the place of elements where `z * weight + bias` is 0 or less.
        relu: bool,
    },
    /// What makes mean and variance of x: each part's own mean relative to a number near its first element, the sum of the
    /// squared differences from the mean, and that number. Three rows.
    Moments,
}

impl ChannelTerms {
    /// How many numbers each part has for a channel.
    fn rows(self) -> usize {
        match self {
            ChannelTerms::Values | ChannelTerms::Products => 1,
            ChannelTerms::Normalized { .. } => 2,
            ChannelTerms::Moments => 3,
        }
    }
}

impl OpRules for ChannelSum {
    const NAME: &'static str = "channel_sum";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let Some(input) = inputs.first() else {
            return Err(Mismatch::new("number of inputs", "at least 1", 0));
        };
        let channels = expect::channels(input)?;
        match self.terms {
            ChannelTerms::Values | ChannelTerms::Moments => {
                expect::inputs::<1>(inputs)?;
            }
            ChannelTerms::Products => {
                let [_, other] = expect::inputs(inputs)?;
                expect::numbers("second factor", other, &input.shape)?;
            }
            ChannelTerms::Normalized { relu, .. } => {
                let [_, x, moments] = if relu {
                    let [own @ .., weight, bias] = expect::inputs::<5>(inputs)?;
                    expect::numbers("weight", weight, &[channels])?;
                    expect::numbers("bias", bias, &[channels])?;
                    own
                } else {
                    expect::inputs(inputs)?
                };
                expect::numbers("input", x, &input.shape)?;
                expect::numbers("mean and variance", moments, &[2, channels])?;
            }
        }
        let parts = Parts::of(input);
        Ok(TensorDesc::f32([1, parts.count(), self.terms.rows(), channels]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let parts = Parts::of(lowering.input(0).desc);
        for stretch in stretches(lowering, parts)? {
            match self.terms {
                ChannelTerms::Values => sums(lowering, parts, &stretch, 0, 0.0)?,
                ChannelTerms::Products => sums(lowering, parts, &stretch, 1, 0.0)?,
                ChannelTerms::Normalized { epsilon, relu } => {
                    sums(lowering, parts, &stretch, 2 + u32::from(relu), epsilon.get())?;
                }
                ChannelTerms::Moments => moments(lowering, parts, &stretch)?,
            }
        }
        Ok(())
    }
}

/// Images of the input that lie in one piece, with all of the output.
struct Stretch {
    images: Block,
    /// Parts before the first.
    start: usize,
    /// Their number times that of the channels.
    count: usize,
}

fn stretches(lowering: &Lowering<'_>, parts: Parts) -> Result<Vec<Stretch>> {
    let output = lowering.whole_output()?;
    let mut stretches = vec![];
    for piece in lowering.input(0).pieces {
        let rows = piece.rows.clone();
        if !rows.start.is_multiple_of(parts.part_images) {
            // Says that it must lie in one piece.
            lowering.whole(0)?;
        }
        let start = rows.start / parts.part_images * parts.segments;
        let count = rows.len().div_ceil(parts.part_images) * parts.segments * parts.channels;
        let elements = (rows.len() * lowering.input(0).desc.row_elements()) as u32;
        stretches.push(Stretch { start, count, images: Block { rows, elements, output } });
    }
    Ok(stretches)
}

/// How the parts are given to invocations: whether a workgroup shares each, and how its lanes are folded.
fn is_shared(lowering: &Lowering<'_>, parts: Parts) -> bool {
    !lowering.profile.kind.is_software() && parts.is_wide()
}

/// How many lanes stand beside each other in one plane: a power of two, as `lanes` is.
fn span(parts: Parts, lanes: u32) -> u32 {
    (parts.length as u32).min(lanes).next_power_of_two()
}

/// Whether a software adapter goes over the planes by eights, as their sums by loads of two fours.
fn by_eights(lowering: &Lowering<'_>, parts: Parts, stretch: &Stretch) -> bool {
    let whole = parts.width == 4 && stretch.images.elements.is_multiple_of(8);
    lowering.profile.kind.is_software() && parts.is_wide() && whole
}

fn sums(lowering: &mut Lowering<'_>, parts: Parts, stretch: &Stretch, kind: u32, epsilon: f32) -> Result<()> {
    use channel_sum::Variant;
    let first = lowering.rowwise(0, &stretch.images)?;
    // Where a kind has no such input any readable buffer fills the place.
    let second = if kind == 0 { first } else { lowering.rowwise(1, &stretch.images)? };
    let moments = if kind >= 2 { lowering.whole(2)? } else { first };
    let weight = if kind == 3 { lowering.whole(3)? } else { first };
    let bias = if kind == 3 { lowering.whole(4)? } else { first };
    let output = stretch.images.output;
    if by_eights(lowering, parts, stretch) {
        use channel_sum_eights::{Bindings, Overrides, Params, Variant};
        let variant = if lowering.profile.int64 { Variant::Wide } else { Variant::Plain };
        let params = Params {
            count: stretch.count as u32,
            start: stretch.start as u32,
            images: stretch.images.rows.len() as u32,
            channels: parts.channels as u32,
            inner: parts.inner as u32,
            part_images: parts.part_images as u32,
            segments: parts.segments as u32,
            length: parts.length as u32,
            epsilon,
        };
        let bindings = Bindings { first, second, moments, weight, bias, output }.into_array();
        let groups = stretch.count.div_ceil(variant.threads() as usize) as u64;
        return lowering.dispatch(variant.kernel(), Overrides { kind }.pairs(), &params, bindings, groups);
    }
    let variant = match (is_shared(lowering, parts), parts.width) {
        (false, 1) => Variant::Serial,
        (false, _) => Variant::SerialVector,
        (true, 1) => Variant::Tree,
        (true, _) => Variant::TreeVector,
    };
    let params = channel_sum::Params {
        count: stretch.count as u32,
        start: stretch.start as u32,
        images: stretch.images.rows.len() as u32,
        channels: parts.channels as u32,
        inner: parts.inner as u32,
        part_images: parts.part_images as u32,
        segments: parts.segments as u32,
        length: parts.length as u32,
        span: span(parts, variant.lanes()),
        epsilon,
    };
    let bindings = channel_sum::Bindings { first, second, moments, weight, bias, output };
    let overrides = channel_sum::Overrides { kind };
    let groups = stretch.count.div_ceil((variant.threads() / variant.lanes()) as usize) as u64;
    lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
}

fn moments(lowering: &mut Lowering<'_>, parts: Parts, stretch: &Stretch) -> Result<()> {
    use channel_moments::Variant;
    let images = &stretch.images;
    let (input, output) = (lowering.rowwise(0, images)?, images.output);
    if by_eights(lowering, parts, stretch) {
        use channel_moments_eights::{Bindings, Params, Variant};
        let variant = if lowering.profile.int64 { Variant::Wide } else { Variant::Plain };
        let params = Params {
            count: stretch.count as u32,
            start: stretch.start as u32,
            images: images.rows.len() as u32,
            channels: parts.channels as u32,
            inner: parts.inner as u32,
            part_images: parts.part_images as u32,
            segments: parts.segments as u32,
            length: parts.length as u32,
        };
        let bindings = Bindings { input, output }.into_array();
        let groups = stretch.count.div_ceil(variant.threads() as usize) as u64;
        return lowering.dispatch(variant.kernel(), [], &params, bindings, groups);
    }
    let variant = match (is_shared(lowering, parts), parts.width) {
        (false, 1) => Variant::Serial,
        (false, _) => Variant::SerialVector,
        (true, 1) => Variant::Tree,
        (true, _) => Variant::TreeVector,
    };
    let params = channel_moments::Params {
        count: stretch.count as u32,
        start: stretch.start as u32,
        images: stretch.images.rows.len() as u32,
        channels: parts.channels as u32,
        inner: parts.inner as u32,
        part_images: parts.part_images as u32,
        segments: parts.segments as u32,
        length: parts.length as u32,
        span: span(parts, variant.lanes()),
    };
    let bindings = channel_moments::Bindings { input, output };
    let groups = stretch.count.div_ceil((variant.threads() / variant.lanes()) as usize) as u64;
    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(terms: ChannelTerms, shapes: &[&[usize]]) -> Result<TensorDesc, Mismatch> {
        let descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
        ChannelSum { terms }.infer(&descs.iter().collect::<Vec<_>>())
    }

    #[test]
    fn parts_rows_and_channels() -> Result<(), Mismatch> {
        let epsilon = Scalar::new(1e-5);
        let x: &[usize] = &[100, 20, 24, 24];
        for (terms, shapes, rows) in [
            (ChannelTerms::Values, &[x][..], 1),
            (ChannelTerms::Products, &[x, x], 1),
            (ChannelTerms::Moments, &[x], 3),
            (ChannelTerms::Normalized { epsilon, relu: false }, &[x, x, &[2, 20]], 2),
            (ChannelTerms::Normalized { epsilon, relu: true }, &[x, x, &[2, 20], &[20], &[20]], 2),
        ] {
            assert_eq!(infer(terms, shapes)?, TensorDesc::f32([1, 50, rows, 20]), "{terms:?}");
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_named() {
        let normalized = |relu| ChannelTerms::Normalized { epsilon: Scalar::new(1e-5), relu };
        for (terms, shapes, expected) in [
            (ChannelTerms::Values, &[][..], "number of inputs: expected at least 1, got 0"),
            (
                ChannelTerms::Values,
                &[&[3][..]],
                "input rank: expected at least 2, as [N, C, ...] has, got f32[3]",
            ),
            (ChannelTerms::Moments, &[&[2, 3], &[2, 3]], "number of inputs: expected 1, got 2"),
            (ChannelTerms::Products, &[&[2, 3], &[2, 1]], "second factor: expected [2, 3], got f32[2, 1]"),
            (normalized(false), &[&[2, 3], &[2, 3], &[3]], "mean and variance: expected [2, 3], got f32[3]"),
            (normalized(true), &[&[2, 3], &[2, 3], &[2, 3], &[3], &[2]], "bias: expected [3], got f32[2]"),
        ] {
            assert_eq!(infer(terms, shapes).expect_err(expected).to_string(), expected);
        }
    }
}
