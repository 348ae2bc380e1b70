//! A new value for a variable.

use super::UpdateRules;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;

/// The variable takes the input's value. One variable, one input of the same description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assign;

impl UpdateRules for Assign {
    const NAME: &'static str = "assign";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let ([variable], [value]) = (variables, inputs) else {
            let got = format!("{} and {}", variables.len(), inputs.len());
            return Err(Mismatch::new("number of variables and inputs", "1 and 1", got));
        };
        if variable == value { Ok(()) } else { Err(Mismatch::new("value", variable, value)) }
    }

    /// No kernel: the plan copies from buffer to buffer.
    fn lower(&self, _: &mut Lowering<'_>) -> Result<()> {
        Ok(())
    }
}
