//! RMSprop.

use kiln_kernels::{rms_prop, rms_prop_momentum};

use super::UpdateRules;
use super::optimizer_rule::{check, not_negative, share};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::Scalar;
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `torch.optim.RMSprop` (Tieleman and Hinton, 2012), not centred, in place. With
/// `d = scale gradient + weight_decay parameter` and `square_avg += gain (d^2 - square_avg)`:
/// `parameter -= rate d / (sqrt(square_avg) + eps)`; or, where there is a momentum,
/// `momentum_buffer = momentum momentum_buffer + d / (sqrt(square_avg) + eps)` and `parameter -= rate momentum_buffer`.
///
/// Variables: the parameter, `square_avg`, and `momentum_buffer` where the momentum is not 0. Inputs: the gradient, the
/// rates `[rate, unused, unused, unused]` and a [`Guard`](crate::ops::Guard)'s output; nothing changes where its scale
/// is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RmsProp {
    /// 1 - alpha, rounded once.
    pub gain: Scalar,
    /// Added to the root. At least 0.
    pub eps: Scalar,
    /// How much of the parameter is added to its gradient. At least 0.
    pub weight_decay: Scalar,
    /// How much of the buffer stays; 0 for no buffer. At least 0.
    pub momentum: Scalar,
}

impl RmsProp {
    fn states(&self) -> &'static [&'static str] {
        if self.momentum.get() == 0.0 { &["square_avg"] } else { &["square_avg", "momentum_buffer"] }
    }
}

impl UpdateRules for RmsProp {
    const NAME: &'static str = "rms_prop";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        share("gain", self.gain)?;
        not_negative("eps", self.eps)?;
        not_negative("weight decay", self.weight_decay)?;
        not_negative("momentum", self.momentum)?;
        check(self.states(), variables, inputs)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (gain, epsilon) = (self.gain.get(), self.eps.get());
        let (momentum, weight_decay) = (self.momentum.get(), self.weight_decay.get());
        let (rates, guard) = (lowering.whole(1)?, lowering.whole(2)?);
        for block in lowering.blocks()? {
            let (parameter, square_avg) = (lowering.variable(0, &block)?, lowering.variable(1, &block)?);
            let gradient = lowering.rowwise(0, &block)?;
            for span in spans(block.elements) {
                let (begin, end) = (span.range.start, span.range.end);
                if momentum == 0.0 {
                    let variant = if span.wide { rms_prop::Variant::Quad } else { rms_prop::Variant::Single };
                    let params = rms_prop::Params { begin, end, gain, epsilon, weight_decay };
                    let bindings = rms_prop::Bindings { parameter, square_avg, gradient, rates, guard };
                    let groups = span.groups(variant.threads(), variant.steps());
                    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
                } else {
                    use rms_prop_momentum::{Bindings, Params, Variant};
                    let variant = if span.wide { Variant::Quad } else { Variant::Single };
                    let params = Params { begin, end, gain, epsilon, momentum, weight_decay };
                    let momentum_buffer = lowering.variable(2, &block)?;
                    let bindings =
                        Bindings { parameter, square_avg, momentum_buffer, gradient, rates, guard };
                    let groups = span.groups(variant.threads(), variant.steps());
                    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
                }
            }
        }
        Ok(())
    }
}
