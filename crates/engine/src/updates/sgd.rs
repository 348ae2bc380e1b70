//! Stochastic gradient descent.

use kiln_kernels::{sgd, sgd_momentum, sgd_momentum_eight};

use super::UpdateRules;
use super::optimizer_rule::{check, not_negative};
use crate::error::{Mismatch, Result};
use crate::lower::{Bound, Lowering};
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
        let momentum = self.momentum.get();
        let (rates, guard) = (lowering.whole(1)?, lowering.whole(2)?);
        for block in lowering.blocks()? {
            let (parameter, gradient) = (lowering.variable(0, &block)?, lowering.rowwise(0, &block)?);
            if momentum != 0.0 {
                let momentum_buffer = lowering.variable(1, &block)?;
                let bindings = sgd_momentum::Bindings { parameter, momentum_buffer, gradient, rates, guard }
                    .into_array();
                self.with_momentum(lowering, block.elements, bindings)?;
                continue;
            }
            for span in spans(block.elements) {
                let variant = if span.wide { sgd::Variant::Quad } else { sgd::Variant::Single };
                let (begin, end) = (span.range.start, span.range.end);
                let params = sgd::Params { begin, end, weight_decay: self.weight_decay.get() };
                let bindings = sgd::Bindings { parameter, gradient, rates, guard };
                let groups = span.groups(variant.threads(), variant.steps());
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }
}

impl Sgd {
    fn with_momentum(&self, lowering: &mut Lowering<'_>, elements: u32, bindings: [Bound; 5]) -> Result<()> {
        let (momentum, weight_decay) = (self.momentum.get(), self.weight_decay.get());
        let (software, nesterov) = (lowering.profile.kind.is_software(), u32::from(self.nesterov));
        if software && elements.is_multiple_of(8) {
            use sgd_momentum_eight::{Overrides, Params, Variant};
            let variant = if lowering.profile.int64 { Variant::Wide } else { Variant::Plain };
            let params = Params { count: elements / 8, momentum, weight_decay };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            let overrides = Overrides { nesterov }.pairs();
            return lowering.dispatch(variant.kernel(), overrides, &params, bindings, groups);
        }
        use sgd_momentum::{Overrides, Params, Variant};
        for span in spans(elements) {
            let variant = match (span.wide, software) {
                (true, false) => Variant::Quad,
                (true, true) => Variant::Once,
                (false, _) => Variant::Single,
            };
            let params = Params { begin: span.range.start, end: span.range.end, momentum, weight_decay };
            let groups = span.groups(variant.threads(), variant.steps());
            let overrides = Overrides { nesterov }.pairs();
            lowering.dispatch(variant.kernel(), overrides, &params, bindings, groups)?;
        }
        Ok(())
    }
}
