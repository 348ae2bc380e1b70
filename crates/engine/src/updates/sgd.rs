//! Stochastic gradient descent.

use kiln_kernels::{sgd, sgd_momentum};

use super::UpdateRules;
use super::optimizer_rule::{check, not_negative};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::Scalar;
use crate::spans::spans;
use crate::tensor::TensorDesc;

/// `torch.optim.SGD`, in place. With `d = scale gradient + weight_decay parameter`: `parameter -= rate d`; or, where there
/// is a momentum, `momentum_buffer = keep momentum_buffer + gain d` and `parameter -= rate momentum_buffer`, with Nesterov's
/// look ahead `parameter -= rate (d + momentum momentum_buffer)`.
///
/// Variables: the parameter, and its `momentum_buffer` where the momentum is not 0. Inputs: the gradient, the rates
/// `[rate, keep, gain, unused]` and a [`Guard`](crate::ops::Guard)'s output; nothing changes where its scale is 0.
/// [`Optimizer::rates`](crate::Optimizer::rates) gives the rates of each step: `keep` and `gain` are the momentum and
/// 1 - dampening, but 0 and 1 at the first step, where the buffer takes the gradient as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sgd {
    /// The momentum that Nesterov's look ahead takes; 0 for no buffer. At least 0.
    pub momentum: Scalar,
    /// Whether the step looks ahead (Sutskever et al., 2013).
    pub nesterov: bool,
    /// How much of the parameter is added to its gradient. At least 0.
    pub weight_decay: Scalar,
}

impl Sgd {
    fn states(&self) -> &'static [&'static str] {
        if self.momentum.get() == 0.0 { &[] } else { &["momentum_buffer"] }
    }
}

impl UpdateRules for Sgd {
    const NAME: &'static str = "sgd";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        not_negative("momentum", self.momentum)?;
        not_negative("weight decay", self.weight_decay)?;
        check(self.states(), variables, inputs)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (momentum, weight_decay) = (self.momentum.get(), self.weight_decay.get());
        let (rates, guard) = (lowering.whole(1)?, lowering.whole(2)?);
        for block in lowering.blocks()? {
            let (parameter, gradient) = (lowering.variable(0, &block)?, lowering.rowwise(0, &block)?);
            for span in spans(block.elements) {
                let (begin, end) = (span.range.start, span.range.end);
                if momentum == 0.0 {
                    let variant = if span.wide { sgd::Variant::Quad } else { sgd::Variant::Single };
                    let params = sgd::Params { begin, end, weight_decay };
                    let bindings = sgd::Bindings { parameter, gradient, rates, guard };
                    let groups = span.groups(variant.threads(), variant.steps());
                    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
                } else {
                    use sgd_momentum::{Bindings, Overrides, Params, Variant};
                    let variant = match (span.wide, lowering.profile.kind.is_software()) {
                        (true, false) => Variant::Quad,
                        (true, true) => Variant::Once,
                        (false, _) => Variant::Single,
                    };
                    let params = Params { begin, end, momentum, weight_decay };
                    let momentum_buffer = lowering.variable(1, &block)?;
                    let bindings = Bindings { parameter, momentum_buffer, gradient, rates, guard };
                    let overrides = Overrides { nesterov: u32::from(self.nesterov) };
                    let groups = span.groups(variant.threads(), variant.steps());
                    lowering.dispatch(
                        variant.kernel(),
                        overrides.pairs(),
                        &params,
                        bindings.into_array(),
                        groups,
                    )?;
                }
            }
        }
        Ok(())
    }
}
