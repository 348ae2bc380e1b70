//! Local response normalisation.

use kiln_kernels::local_response_norm;

use super::{AveragePadding, LocalResponseNormGrad, OpRules, PoolOptions, Scalar, expect};
use crate::autodiff::Backward;
use crate::builder::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::planes::Planes;
use crate::select::{PlaneForm, looped, plane_form};
use crate::tensor::TensorDesc;
use crate::window::Padding;

/// `x / (k + alpha / size * s)^beta`, where `s` is the sum of the squares of `size` neighbouring channels at the same
/// place: `size / 2` before, the channel itself and `(size - 1) / 2` after, none beyond the ends.
/// `torch.nn.functional.local_response_norm` on `[N, C, ...]` of at least three dimensions (Krizhevsky, Sutskever and
/// Hinton, 2012).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalResponseNorm {
    /// Channels in the window.
    pub size: usize,
    /// Factor of the mean square.
    pub alpha: Scalar,
    /// Exponent of the divisor.
    pub beta: Scalar,
    /// Added to the mean square; the divisor's base should be positive.
    pub k: Scalar,
}

impl LocalResponseNorm {
    /// A window of `size` channels with PyTorch's defaults: alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> Self {
        Self { size, alpha: Scalar::new(1e-4), beta: Scalar::new(0.75), k: Scalar::new(1.0) }
    }
}

impl OpRules for LocalResponseNorm {
    const NAME: &'static str = "local_response_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::channels(input)?;
        if input.rank() < 3 {
            return Err(Mismatch::new("input rank", "at least 3, as [N, C, L] has", input));
        }
        if self.size == 0 {
            return Err(Mismatch::new("size", "at least 1", 0));
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            let planes = Planes::of(lowering.output.desc, &block);
            let variant = match plane_form(lowering.profile, planes.inner) {
                PlaneForm::Narrow => local_response_norm::Variant::Narrow,
                PlaneForm::Wide => local_response_norm::Variant::Wide,
            };
            let window = self.size.min(planes.channels as usize) as u64;
            let steps = u64::from(variant.steps().min(planes.inner));
            lowering.check_iterations(looped(steps, looped(window, 0)))?;
            let runs = planes.runs(variant.threads(), variant.lanes(), variant.steps());
            let Planes { planes, channels, inner } = planes;
            // A window that reaches beyond every channel is as good as one that reaches all.
            let reach = |channels_away: usize| channels_away.min(channels as usize) as u32;
            let params = local_response_norm::Params {
                planes,
                channels,
                inner,
                runs_per_plane: runs.per_plane,
                before: reach(self.size / 2),
                after: reach((self.size - 1) / 2),
                k: self.k.get(),
                scale: self.alpha.get() / self.size as f32,
                beta: self.beta.get(),
            };
            let bindings =
                local_response_norm::Bindings { input: lowering.rowwise(0, &block)?, output: block.output };
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), runs.workgroups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, grad) = (backward.input(0), backward.grad());
        let gradient = match self.size <= LocalResponseNormGrad::LONGEST {
            true => backward.g.apply(LocalResponseNormGrad { forward: *self }, &[input, grad])?,
            false => self.backward_by_pools(backward.g, input, grad)?,
        };
        Ok(vec![Some(gradient)])
    }
}

impl LocalResponseNorm {
    /// The formula of [`LocalResponseNormGrad`] in ops: its sums over channels are means of windows that slide along them.
    fn backward_by_pools(&self, g: &mut GraphBuilder, x: Value, grad: Value) -> Result<Value> {
        let shape = g.desc(x).shape.clone();
        let columns = [shape[0], 1, shape[1], g.desc(x).elements_behind(2)];
        let (x, grad) = (g.reshape(x, &columns)?, g.reshape(grad, &columns)?);
        // Beyond every channel there is nothing to see.
        let [before, after] = [self.size / 2, (self.size - 1) / 2].map(|reach| reach.min(shape[1] - 1));
        let window = before + after + 1;
        let mean = |g: &mut GraphBuilder, terms: Value, sides: [usize; 2]| {
            let padding = Padding::Sides([sides, [0, 0]]);
            let options = PoolOptions { stride: [1, 1], padding, ..PoolOptions::new([window, 1]) };
            g.avg_pool2d(terms, options, AveragePadding::Include)
        };
        let scale = self.alpha.get() / self.size as f32 * window as f32;

        let squares = g.mul(x, x)?;
        let squares = mean(g, squares, [before, after])?;
        let base = scaled(g, squares, scale)?;
        let k = g.scalar(self.k.get());
        let base = g.add(base, k)?;
        let exponent = g.log(base)?;
        let exponent = scaled(g, exponent, -self.beta.get())?;
        let power = g.exp(exponent)?;
        let own = g.mul(grad, power)?;
        let pulls = g.mul(own, x)?;
        let pulls = g.div(pulls, base)?;
        // A channel is seen by those that it does not see, at odd ends.
        let pull = mean(g, pulls, [after, before])?;
        let pull = g.mul(pull, x)?;
        let pull = scaled(g, pull, 2.0 * scale * self.beta.get())?;
        let gradient = g.sub(own, pull)?;
        g.reshape(gradient, &shape)
    }
}

fn scaled(g: &mut GraphBuilder, x: Value, factor: f32) -> Result<Value> {
    let factor = g.scalar(factor);
    g.mul(x, factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_need_places() {
        for (size, shape, expected) in [
            (5, &[2, 6, 5][..], None),
            (5, &[2, 6, 5, 5, 5], None),
            (50, &[2, 6, 5], None),
            (5, &[2, 6], Some("input rank: expected at least 3, as [N, C, L] has, got f32[2, 6]")),
            (5, &[6], Some("input rank: expected at least 2, as [N, C, ...] has, got f32[6]")),
            (0, &[2, 6, 5], Some("size: expected at least 1, got 0")),
        ] {
            let x = TensorDesc::f32(shape);
            let inferred = LocalResponseNorm::new(size).infer(&[&x]);
            assert_eq!(inferred.as_ref().err().map(Mismatch::to_string).as_deref(), expected);
        }
    }
}
