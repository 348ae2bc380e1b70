//! Normalisation, and the sums by channel that it and its gradients are made of.

use super::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::ops::{
    BatchNorm, ChannelJoin, ChannelResult, ChannelSum, ChannelTerms, GroupNorm, L2Normalize, LayerNorm,
    LocalResponseNorm, OpRules, RmsNorm, Scalar, Statistics, expect,
};

/// What [`GraphBuilder::batch_norm_training`] makes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormTraining {
    /// The normalised batch.
    pub output: Value,
    /// Means and variances together, `[2, C]`.
    pub moments: Value,
    /// The batch's own means, `[C]`. Their gradient ends here, as that of the variances.
    pub mean: Value,
    /// The batch's own variances, `[C]`, biased: the sum of squares divided by the number of elements. PyTorch puts the
    /// unbiased one, `n / (n - 1)` times this, into its running estimate.
    pub variance: Value,
}

/// The ops. Each returns [`EngineError::Op`](crate::EngineError::Op) where shapes, types or options do not fit; the
/// types named in the text give the contract in full.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// Batch normalisation of `[N, C, ...]` by running statistics of `[C]` ([`BatchNorm`]). Without weight or bias the
    /// factor is 1 and the offset 0, as with PyTorch's `affine=False`.
    pub fn batch_norm(
        &mut self,
        x: Value,
        mean: Value,
        variance: Value,
        weight: impl Into<Option<Value>>,
        bias: impl Into<Option<Value>>,
        epsilon: f32,
    ) -> Result<Value> {
        let (weight, bias) = self.affine(BatchNorm::NAME, x, weight.into(), bias.into())?;
        self.apply(BatchNorm::given(epsilon), &[x, mean, variance, weight, bias])
    }

    /// Batch normalisation of `[N, C, ...]` by the batch's own mean and variance: `torch.nn.functional.batch_norm` with
    /// `training=True`. Weight and bias are `[C]`, or absent. The variance is of the differences from the mean, so that
    /// channels far from zero keep their digits. A batch of one value a channel, which would always become the bias, is
    /// refused, as PyTorch does.
    pub fn batch_norm_training(
        &mut self,
        x: Value,
        weight: impl Into<Option<Value>>,
        bias: impl Into<Option<Value>>,
        epsilon: f32,
    ) -> Result<BatchNormTraining> {
        let desc = self.desc(x);
        expect::channels(desc)
            .and_then(|channels| match desc.elements() == channels {
                true => Err(Mismatch::new("batch", "more than one value a channel in training", desc)),
                false => Ok(()),
            })
            .map_err(|mismatch| mismatch.at(BatchNorm::NAME, &self.path))?;
        let (weight, bias) = self.affine(BatchNorm::NAME, x, weight.into(), bias.into())?;
        let parts = self.apply(ChannelSum { terms: ChannelTerms::Moments }, &[x])?;
        let moments = self.channel_join(x, parts, ChannelResult::Moments)?;
        // Dead unless somebody reads them.
        let mean = self.channel_join(x, parts, ChannelResult::Mean)?;
        let variance = self.channel_join(x, parts, ChannelResult::Variance)?;
        let op = BatchNorm { statistics: Statistics::Batch, ..BatchNorm::given(epsilon) };
        let output = self.apply(op, &[x, moments, weight, bias])?;
        Ok(BatchNormTraining { output, moments, mean, variance })
    }

    /// The sum of `[N, C, ...]` over all but the channels, of `[C]`: `x.sum([0, 2, 3])` of images, in parts that fill a
    /// GPU ([`ChannelSum`]). Made for gradients, it has none itself; [`sum`](Self::sum) has.
    pub fn channel_sum(&mut self, x: Value) -> Result<Value> {
        self.channel_total(ChannelTerms::Values, &[x])
    }

    /// The sum of the products of two tensors of one shape `[N, C, ...]` over all but the channels, of `[C]`
    /// ([`ChannelSum`]). Like [`channel_sum`](Self::channel_sum) it has no gradient.
    pub fn channel_dot(&mut self, a: Value, b: Value) -> Result<Value> {
        self.channel_total(ChannelTerms::Products, &[a, b])
    }

    /// Mean and biased variance of `[N, C, ...]` over all but the channels, of `[C]` each: `torch.var_mean` with
    /// `correction=0` ([`ChannelSum`]). The variance is of the differences from the mean, and never negative. They
    /// have no gradient.
    pub fn channel_moments(&mut self, x: Value) -> Result<(Value, Value)> {
        let parts = self.apply(ChannelSum { terms: ChannelTerms::Moments }, &[x])?;
        Ok((
            self.channel_join(x, parts, ChannelResult::Mean)?,
            self.channel_join(x, parts, ChannelResult::Variance)?,
        ))
    }

    /// Mean and biased variance of `[N, C, ...]` over all but the channels, as `[2, C]`.
    pub(crate) fn joint_moments(&mut self, x: Value) -> Result<Value> {
        let parts = self.apply(ChannelSum { terms: ChannelTerms::Moments }, &[x])?;
        self.channel_join(x, parts, ChannelResult::Moments)
    }

    /// The gradients of bias and weight of a normalisation by channel, given that of its result, and mean and variance as
    /// `[2, C]`.
    pub(crate) fn normalized_sums(
        &mut self,
        grad: Value,
        x: Value,
        moments: Value,
        epsilon: f32,
    ) -> Result<(Value, Value)> {
        let terms = ChannelTerms::Normalized { epsilon: Scalar::new(epsilon), relu: false };
        let parts = self.apply(ChannelSum { terms }, &[grad, x, moments])?;
        let mut sum = |row| self.channel_join(grad, parts, ChannelResult::Sum { row });
        Ok((sum(0)?, sum(1)?))
    }

    fn channel_total(&mut self, terms: ChannelTerms, inputs: &[Value]) -> Result<Value> {
        let parts = self.apply(ChannelSum { terms }, inputs)?;
        self.channel_join(inputs[0], parts, ChannelResult::Sum { row: 0 })
    }

    fn channel_join(&mut self, of: Value, parts: Value, result: ChannelResult) -> Result<Value> {
        self.apply(ChannelJoin { of: self.desc(of).shape.clone(), result }, &[parts])
    }

    /// Normalisation of `[N, C, ...]` over `groups` of neighbouring channels, image by image ([`GroupNorm`]); weight
    /// and bias are `[C]`, or absent.
    pub fn group_norm(
        &mut self,
        x: Value,
        groups: usize,
        weight: impl Into<Option<Value>>,
        bias: impl Into<Option<Value>>,
        epsilon: f32,
    ) -> Result<Value> {
        let (weight, bias) = self.affine(GroupNorm::NAME, x, weight.into(), bias.into())?;
        self.apply(GroupNorm { groups, epsilon: Scalar::new(epsilon) }, &[x, weight, bias])
    }

    /// Normalisation of each plane of `[N, C, ...]` alone: `torch.nn.functional.instance_norm`, a [`GroupNorm`] with as
    /// many groups as channels. Weight and bias are `[C]`, or absent. A plane of one element, which would always become
    /// the bias, is refused, as PyTorch does.
    pub fn instance_norm(
        &mut self,
        x: Value,
        weight: impl Into<Option<Value>>,
        bias: impl Into<Option<Value>>,
        epsilon: f32,
    ) -> Result<Value> {
        let desc = self.desc(x);
        if desc.elements_behind(2) == 1 {
            let mismatch = Mismatch::new("plane", "more than one element to take the variance of", desc);
            return Err(mismatch.at("instance_norm", &self.path));
        }
        let groups = desc.shape.get(1).copied().unwrap_or(1);
        self.group_norm(x, groups, weight, bias, epsilon)
    }

    /// Layer normalisation over the last dimensions, as many as the weight has; weight and bias are of their shape
    /// ([`LayerNorm`]).
    pub fn layer_norm(&mut self, x: Value, weight: Value, bias: Value, epsilon: f32) -> Result<Value> {
        let op = LayerNorm { epsilon: Scalar::new(epsilon) };
        let (input, normalized) = (self.desc(x).shape.clone(), self.desc(weight).shape.clone());
        if normalized.len() < 2 {
            return self.apply(op, &[x, weight, bias]);
        }
        if !input.ends_with(&normalized) {
            let expected = format!("the last dimensions of {}", self.desc(x));
            let mismatch = Mismatch::new("weight", expected, self.desc(weight));
            return Err(mismatch.at(LayerNorm::NAME, &self.path));
        }
        expect::shape("bias", self.desc(bias), &normalized)
            .map_err(|mismatch| mismatch.at(LayerNorm::NAME, &self.path))?;
        let width = self.desc(weight).elements();
        let mut rows = input[..input.len() - normalized.len()].to_vec();
        rows.push(width);
        let x = self.reshape(x, &rows)?;
        let weight = self.reshape(weight, &[width])?;
        let bias = self.reshape(bias, &[width])?;
        let y = self.apply(op, &[x, weight, bias])?;
        self.reshape(y, &input)
    }

    /// Division by the mean square of neighbouring channels ([`LocalResponseNorm`]).
    pub fn local_response_norm(&mut self, x: Value, options: LocalResponseNorm) -> Result<Value> {
        self.apply(options, &[x])
    }

    /// Division by the root mean square over the last dimension, and a weight of `[last]` ([`RmsNorm`]).
    pub fn rms_norm(&mut self, x: Value, weight: Value, epsilon: f32) -> Result<Value> {
        self.apply(RmsNorm { epsilon: Scalar::new(epsilon) }, &[x, weight])
    }

    /// Division by the norm over the last dimension ([`L2Normalize`]).
    pub fn l2_normalize(&mut self, x: Value, epsilon: f32) -> Result<Value> {
        self.apply(L2Normalize { epsilon: Scalar::new(epsilon) }, &[x])
    }

    /// Weight and bias of a normalisation by channel, with ones and zeros for those that are absent. Where `x` has no
    /// channels the op will say so.
    fn affine(
        &mut self,
        op: &'static str,
        x: Value,
        weight: Option<Value>,
        bias: Option<Value>,
    ) -> Result<(Value, Value)> {
        let channels = self.desc(x).shape.get(1).copied().unwrap_or(1);
        let mut or = |given: Option<Value>, number: f32| match given {
            Some(value) => Ok(value),
            // The numbers take memory right here.
            None if channels >= 1 << 28 => {
                Err(Mismatch::new("channels", "less than 2^28", channels).at(op, &self.path))
            }
            None => self.literal(&[channels], &vec![number; channels]),
        };
        Ok((or(weight, 1.0)?, or(bias, 0.0)?))
    }
}
