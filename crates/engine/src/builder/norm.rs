//! Normalisation.

use super::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::ops::{BatchNorm, GroupNorm, L2Normalize, LayerNorm, LocalResponseNorm, OpRules, Scalar, expect};

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
        self.apply(BatchNorm { epsilon: Scalar::new(epsilon) }, &[x, mean, variance, weight, bias])
    }

    /// Normalisation of `[N, C, ...]` over `groups` of neighbouring channels, image by image ([`GroupNorm`]); weight and
    /// bias are `[C]`, or absent.
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
