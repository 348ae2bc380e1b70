//! Batch normalisation.

use kiln_kernels::{batch_norm, batch_norm_flat};

use super::{Activation, BatchNormGrad, OpRules, Scalar, Unary, UnaryGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::{Block, Lowering};
use crate::planes::{Eights, PlaneLoads, Planes};
use crate::tensor::TensorDesc;

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` by channel, the second dimension:
/// `torch.nn.functional.batch_norm` (Ioffe and Szegedy, 2015).
///
/// Inputs: x of `[N, C]` or `[N, C, ...]`, then mean, variance, weight and bias of `[C]` each; where the statistics are
/// the batch's own, `[2, C]` of means before variances in place of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: Scalar,
    /// Where mean and variance come from, on which the gradient depends.
    pub statistics: Statistics,
    /// Whether a relu follows in the same pass.
    pub relu: bool,
}

/// What the statistics of a [`BatchNorm`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistics {
    /// Numbers like any others, such as running estimates: PyTorch's `training=False`. Each of the five inputs has a
    /// gradient.
    Given,
    /// Mean and biased variance of x itself, `training=True`, as one `[2, C]`. The gradient of x allows for that it moves them, and
    /// theirs ends here.
    Batch,
}

impl BatchNorm {
    /// By statistics that are given.
    pub fn given(epsilon: f32) -> Self {
        Self { epsilon: Scalar::new(epsilon), statistics: Statistics::Given, relu: false }
    }
}

impl OpRules for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight, bias] = match self.statistics {
            Statistics::Given => {
                let [input, mean, variance, weight, bias] = expect::inputs(inputs)?;
                let channels = expect::channels(input)?;
                expect::numbers("mean", mean, &[channels])?;
                expect::numbers("variance", variance, &[channels])?;
                [input, weight, bias]
            }
            Statistics::Batch => {
                let [input, moments, weight, bias] = expect::inputs(inputs)?;
                expect::numbers("mean and variance", moments, &[2, expect::channels(input)?])?;
                [input, weight, bias]
            }
        };
        let channels = expect::channels(input)?;
        expect::numbers("weight", weight, &[channels])?;
        expect::numbers("bias", bias, &[channels])?;
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let overrides = batch_norm::Overrides { relu: u32::from(self.relu) };
        for block in lowering.blocks()? {
            let planes = Planes::of(lowering.output.desc, &block);
            if let Some(eights) = planes.eights(lowering.profile) {
                self.lower_eights(lowering, &block, planes.channels, eights)?;
                continue;
            }
            let (planes, loads) = planes.loads(lowering.profile);
            let variant = match loads {
                PlaneLoads::Narrow => batch_norm::Variant::Narrow,
                PlaneLoads::Wide => batch_norm::Variant::Wide,
                PlaneLoads::NarrowVector => batch_norm::Variant::NarrowVector,
                PlaneLoads::WideVector => batch_norm::Variant::WideVector,
                PlaneLoads::Across => batch_norm::Variant::Across,
            };
            let runs = planes.runs(variant.threads(), variant.lanes(), variant.steps());
            let Planes { planes, channels, inner } = planes;
            let params = batch_norm::Params {
                planes,
                channels,
                inner,
                runs_per_plane: runs.per_plane,
                variances: if self.statistics == Statistics::Batch { channels } else { 0 },
                epsilon: self.epsilon.get(),
            };
            let [mean, variance, weight, bias] = self.channel_inputs();
            let bindings = batch_norm::Bindings {
                input: lowering.rowwise(0, &block)?,
                mean: lowering.whole(mean)?,
                variance: lowering.whole(variance)?,
                weight: lowering.whole(weight)?,
                bias: lowering.whole(bias)?,
                output: block.output,
            };
            let bindings = bindings.into_array();
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings, runs.workgroups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let own = self.statistics == Statistics::Batch;
        let wants: Vec<bool> = (0..backward.inputs().len()).map(|index| backward.wants(index)).collect();
        let mut grad = backward.grad();
        if self.relu {
            let op = UnaryGrad { function: Unary::Activation(Activation::Relu) };
            grad = backward.g.apply(op, &[backward.output(), grad])?;
        }
        let mut gradients = backward.none();
        if own {
            let [x, moments, weight] = [0, 1, 2].map(|index| backward.input(index));
            let g = &mut *backward.g;
            let (bias_grad, weight_grad) = g.normalized_sums(grad, x, moments, self.epsilon.get())?;
            gradients[2] = wants[2].then_some(weight_grad);
            gradients[3] = wants[3].then_some(bias_grad);
            let inputs = [grad, x, moments, weight, bias_grad, weight_grad];
            let op = BatchNormGrad { epsilon: self.epsilon, relu: false };
            gradients[0] = if wants[0] { Some(g.apply(op, &inputs)?) } else { None };
            return Ok(gradients);
        }
        let [x, mean, variance, weight] = [0, 1, 2, 3].map(|index| backward.input(index));
        let (g, epsilon) = (&mut *backward.g, self.epsilon.get());
        if wants[1..].contains(&true) {
            let row = [1, g.desc(mean).elements()];
            let rows = [g.reshape(mean, &row)?, g.reshape(variance, &row)?];
            let moments = g.concat(&rows, 0)?;
            let (bias_grad, weight_grad) = g.normalized_sums(grad, x, moments, epsilon)?;
            gradients[3] = wants[3].then_some(weight_grad);
            gradients[4] = wants[4].then_some(bias_grad);
            // Through scale = weight / sqrt(variance + epsilon), of which x - mean is a multiple.
            let epsilon = g.scalar(epsilon);
            let power = g.add(variance, epsilon)?;
            let rsqrt = g.rsqrt(power)?;
            let scale = g.mul(weight, rsqrt)?;
            if wants[1] {
                let pull = g.mul(scale, bias_grad)?;
                gradients[1] = Some(g.neg(pull)?);
            }
            if wants[2] {
                let half = g.scalar(-0.5);
                let pull = g.mul(weight, weight_grad)?;
                let pull = g.div(pull, power)?;
                gradients[2] = Some(g.mul(pull, half)?);
            }
        }
        if wants[0] {
            // The gradient times the scale: the same kernel with other numbers.
            let zeros = g.scalar(0.0);
            let zeros = g.expand(zeros, &g.desc(mean).shape.clone())?;
            let op = BatchNorm::given(epsilon);
            gradients[0] = Some(g.apply(op, &[grad, zeros, variance, weight, zeros])?);
        }
        Ok(gradients)
    }
}

impl BatchNorm {
    /// Where mean, variance, weight and bias are among the inputs.
    fn channel_inputs(&self) -> [usize; 4] {
        match self.statistics {
            Statistics::Given => [1, 2, 3, 4],
            Statistics::Batch => [1, 1, 2, 3],
        }
    }

    fn lower_eights(
        &self,
        lowering: &mut Lowering<'_>,
        block: &Block,
        channels: u32,
        eights: Eights,
    ) -> Result<()> {
        use batch_norm_flat::Variant;
        let variant = if eights.words { Variant::Wide } else { Variant::Plain };
        let params = batch_norm_flat::Params {
            eights: eights.count,
            run: eights.run,
            channels,
            inner: eights.inner,
            variances: if self.statistics == Statistics::Batch { channels } else { 0 },
            epsilon: self.epsilon.get(),
        };
        let [mean, variance, weight, bias] = self.channel_inputs();
        let bindings = batch_norm_flat::Bindings {
            input: lowering.rowwise(0, block)?,
            mean: lowering.whole(mean)?,
            variance: lowering.whole(variance)?,
            weight: lowering.whole(weight)?,
            bias: lowering.whole(bias)?,
            output: block.output,
        };
        let overrides = batch_norm_flat::Overrides { relu: u32::from(self.relu) };
        let groups = eights.workgroups(variant.threads());
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_the_second_dimension() {
        let op = BatchNorm::given(1e-5);
        let channels = TensorDesc::f32([3]);
        for shape in [&[2, 3][..], &[2, 3, 5], &[2, 3, 5, 7], &[2, 3, 5, 7, 11]] {
            let x = TensorDesc::f32(shape);
            let inferred = op.infer(&[&x, &channels, &channels, &channels, &channels]);
            assert_eq!(inferred.as_ref(), Ok(&x));
        }
        let x = TensorDesc::f32([2, 4, 5]);
        let error = op.infer(&[&x, &channels, &channels, &channels, &channels]).expect_err("4 are not 3");
        assert_eq!(error.to_string(), "mean: expected [4], got f32[3]");
        let x = TensorDesc::f32([3]);
        let error = op.infer(&[&x, &channels, &channels, &channels, &channels]).expect_err("no batch");
        assert_eq!(error.to_string(), "input rank: expected at least 2, as [N, C, ...] has, got f32[3]");
    }
}
