//! What the optimizers' rules have in common.

use crate::error::Mismatch;
use crate::ops::{Guard, Scalar, expect};
use crate::tensor::TensorDesc;

/// Elements of the rates that the host gives with every step.
pub(crate) const RATES: usize = 4;

/// The tensors of an optimizer's rule: the parameter and its states, alike in shape; then the gradient of that shape, the
/// rates `[4]` and the guard `[3]`.
pub(super) fn check(
    states: &[&str],
    variables: &[&TensorDesc],
    inputs: &[&TensorDesc],
) -> Result<(), Mismatch> {
    let [parameter, own @ ..] = variables else {
        return Err(Mismatch::new("number of variables", 1 + states.len(), 0));
    };
    if own.len() != states.len() {
        return Err(Mismatch::new("number of variables", 1 + states.len(), variables.len()));
    }
    let [gradient, rates, guard] = expect::inputs(inputs)?;
    for (name, desc) in states.iter().zip(own) {
        expect::numbers(name, desc, &parameter.shape)?;
    }
    expect::numbers("parameter", parameter, &parameter.shape)?;
    expect::numbers("gradient", gradient, &parameter.shape)?;
    expect::numbers("rates", rates, &[RATES])?;
    expect::numbers("guard", guard, &[Guard::LENGTH])
}

/// A number of at least 0 that is finite.
pub(super) fn not_negative(what: &str, number: Scalar) -> Result<(), Mismatch> {
    let number = number.get();
    // Asked this way round, so that NaN is refused.
    if number >= 0.0 && number.is_finite() {
        Ok(())
    } else {
        Err(Mismatch::new(what, "a finite number of at least 0", number))
    }
}

/// A share, from 0 to 1.
pub(super) fn share(what: &str, number: Scalar) -> Result<(), Mismatch> {
    let number = number.get();
    if (0.0..=1.0).contains(&number) {
        Ok(())
    } else {
        Err(Mismatch::new(what, "at least 0 and at most 1", number))
    }
}
