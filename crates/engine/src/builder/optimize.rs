//! Steps of an optimizer.

use super::GraphBuilder;
use crate::error::Result;
use crate::graph::Value;
use crate::optimizer::Optimizer;

impl GraphBuilder {
    /// Lets a parameter follow its gradient, once everything in the graph has been computed.
    ///
    /// `state` has the variables that [`Optimizer::state`] names, in that order, of the parameter's shape. `rates`, of
    /// `[4]`, are [`Optimizer::rates`] of the step, and `guard` is what [`guard`](Self::guard) gives: with a scale of 0
    /// neither the parameter nor its state changes.
    ///
    /// # Errors
    /// [`EngineError::Op`](crate::EngineError::Op) where an option makes no sense, shapes or types do not fit, or the
    /// parameter or a state is no variable.
    pub fn optimize(
        &mut self,
        optimizer: &Optimizer,
        parameter: Value,
        gradient: Value,
        state: &[Value],
        rates: Value,
        guard: Value,
    ) -> Result<()> {
        let rule = optimizer.rule();
        optimizer.check().map_err(|mismatch| mismatch.at(rule.name(), self.path()))?;
        let variables: Vec<Value> = std::iter::once(parameter).chain(state.iter().copied()).collect();
        self.update(rule, &variables, &[gradient, rates, guard])
    }
}
