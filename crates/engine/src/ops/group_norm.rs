//! Group normalisation.

use kiln_kernels::group_norm_row;

use super::{BatchNorm, BatchNormGrad, OpRules, Scalar, Statistics, expect};
use crate::autodiff::Backward;
use crate::builder::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::TensorDesc;

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` with the mean and the biased variance of each image over
/// groups of neighbouring channels: `torch.nn.functional.group_norm` (Wu and He, 2018). With as many groups as channels
/// it is instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016).
///
/// Inputs: x of `[N, C]` or `[N, C, ...]`, then weight and bias of `[C]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupNorm {
    /// Into how many groups the channels are cut; a divisor of their number.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: Scalar,
}

impl OpRules for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight, bias] = expect::inputs(inputs)?;
        let channels = expect::channels(input)?;
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of the {channels} channels of {input}");
            return Err(Mismatch::new("groups", expected, self.groups));
        }
        for (what, desc) in [("weight", weight), ("bias", bias)] {
            expect::numbers(what, desc, &[channels])?;
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let channels = (desc.shape[1] / self.groups) as u32;
        let inner = desc.elements_behind(2) as u32;
        let cols = channels * inner;
        let serial = group_norm_row::Variant::Serial;
        let variant = match row_form(lowering.profile, cols, iterations(serial, channels, inner)) {
            RowForm::Serial => serial,
            RowForm::Tree => group_norm_row::Variant::Tree,
        };
        lowering.check_iterations(iterations(variant, channels, inner))?;
        for block in lowering.blocks()? {
            let rows = block.elements / cols;
            let params = group_norm_row::Params {
                rows,
                cols,
                groups: self.groups as u32,
                channels,
                inner,
                span: span(inner, variant.lanes()),
                epsilon: self.epsilon.get(),
            };
            let bindings = group_norm_row::Bindings {
                input: lowering.rowwise(0, &block)?,
                weight: lowering.whole(1)?,
                bias: lowering.whole(2)?,
                output: block.output,
            };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let [x, weight] = [0, 1].map(|index| backward.input(index));
        let (grad, wants) = (backward.grad(), [0, 1, 2].map(|index| backward.wants(index)));
        let g = &mut *backward.g;
        let shape = g.desc(x).shape.clone();
        let rows = Standardized::new(g, x, shape[0] * self.groups, self.epsilon)?;
        let mut gradients = vec![None; 3];
        if wants[0] {
            let mut by_channel = vec![1; shape.len() - 1];
            by_channel[0] = shape[1];
            let weight = g.reshape(weight, &by_channel)?;
            let scaled = g.mul(grad, weight)?;
            gradients[0] = Some(rows.gradient(g, scaled)?);
        }
        if wants[1] {
            let normalized = rows.result(g)?;
            gradients[1] = Some(g.channel_dot(grad, normalized)?);
        }
        if wants[2] {
            gradients[2] = Some(g.channel_sum(grad)?);
        }
        Ok(gradients)
    }
}

/// A tensor as rows, each brought to mean 0 and variance 1: what a group norm or a layer norm is but for the affine
/// map. The rows are the channels of a batch of one, so that it is a batch norm by its own statistics.
pub(super) struct Standardized {
    shape: Vec<usize>,
    flat: Value,
    moments: Value,
    ones: Value,
    epsilon: Scalar,
}

impl Standardized {
    /// `rows` rows of neighbours.
    pub(super) fn new(g: &mut GraphBuilder, x: Value, rows: usize, epsilon: Scalar) -> Result<Self> {
        let desc = g.desc(x).clone();
        let flat = g.reshape(x, &[1, rows, desc.elements() / rows])?;
        let moments = g.joint_moments(flat)?;
        let one = g.scalar(1.0);
        let ones = g.expand(one, &[rows])?;
        Ok(Self { shape: desc.shape, flat, moments, ones, epsilon })
    }

    /// The standardized tensor.
    pub(super) fn result(&self, g: &mut GraphBuilder) -> Result<Value> {
        let zero = g.scalar(0.0);
        let zeros = g.expand(zero, &g.desc(self.ones).shape.clone())?;
        let op = BatchNorm { statistics: Statistics::Batch, ..BatchNorm::given(self.epsilon.get()) };
        let normalized = g.apply(op, &[self.flat, self.moments, self.ones, zeros])?;
        g.reshape(normalized, &self.shape)
    }

    /// The gradient of the tensor, from that of the standardized one.
    pub(super) fn gradient(&self, g: &mut GraphBuilder, grad: Value) -> Result<Value> {
        let &Self { flat, moments, ones, epsilon, .. } = self;
        let grad = g.reshape(grad, &g.desc(flat).shape.clone())?;
        let (sum, product) = g.normalized_sums(grad, flat, moments, epsilon.get())?;
        let op = BatchNormGrad { epsilon, relu: false };
        let gradient = g.apply(op, &[grad, flat, moments, ones, sum, product])?;
        g.reshape(gradient, &self.shape)
    }
}

/// How many lanes stand beside each other in one channel of the kernel's last step: a power of two, as `lanes` is.
fn span(inner: u32, lanes: u32) -> u32 {
    inner.min(lanes).next_power_of_two()
}

/// Loop iterations of one invocation: twice along the row, in blocks, then channel by channel.
fn iterations(variant: group_norm_row::Variant, channels: u32, inner: u32) -> u64 {
    let lanes = variant.lanes();
    let span = span(inner, lanes);
    let cols = u64::from(channels) * u64::from(inner);
    let last = looped(u64::from(channels.div_ceil(lanes / span)), looped(u64::from(inner.div_ceil(span)), 0));
    let own = cols.div_ceil(u64::from(lanes));
    // The ends of the loops over a block's elements are a third kind of step.
    let along = looped(own.div_ceil(u64::from(variant.block())), 1) + own;
    2 * along + last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(groups: usize, shape: &[usize], channels: usize) -> Result<TensorDesc, Mismatch> {
        let op = GroupNorm { groups, epsilon: Scalar::new(1e-5) };
        let row = TensorDesc::f32([channels]);
        op.infer(&[&TensorDesc::f32(shape), &row, &row])
    }

    #[test]
    fn groups_divide_the_channels() {
        for groups in [1, 2, 3, 6] {
            assert!(infer(groups, &[2, 6, 5], 6).is_ok());
        }
        for (groups, shape, channels, expected) in [
            (4, &[2, 6, 5][..], 6, "groups: expected a divisor of the 6 channels of f32[2, 6, 5], got 4"),
            (0, &[2, 6], 6, "groups: expected a divisor of the 6 channels of f32[2, 6], got 0"),
            (2, &[2, 6], 2, "weight: expected [6], got f32[2]"),
            (1, &[6], 6, "input rank: expected at least 2, as [N, C, ...] has, got f32[6]"),
        ] {
            assert_eq!(infer(groups, shape, channels).expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn lanes_are_folded_over_channels_and_their_elements() {
        for (inner, lanes, expected) in
            [(1, 1, 1), (49, 1, 1), (1, 128, 1), (5, 128, 8), (64, 128, 64), (3000, 128, 128)]
        {
            assert_eq!(span(inner, lanes), expected, "{inner} elements, {lanes} lanes");
        }
        let serial = iterations(group_norm_row::Variant::Serial, 4, 100);
        assert_eq!(serial, 2 * (400 + 2 * 4 + 1) + (4 * 102 + 1));
        let tree = iterations(group_norm_row::Variant::Tree, 70_000, 1);
        assert_eq!(tree, 2 * (547 + 2 * 5 + 1) + (547 * 3 + 1));
    }
}
