//! The closed set of rules that change variables: one file each, one line each below.
//!
//! A rule says which variables and inputs it takes (`check`) and which kernels change the variables in place (`lower`).
//! Every rule of a graph runs after all of its ops; each variable is changed by one rule at most, so their order tells
//! nothing.

mod accumulate;
mod adam;
mod assign;
mod lerp;
mod optimizer_rule;
mod put_rows;
mod rms_prop;
mod sgd;

use std::fmt;

use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;
use crate::work::Work;

pub use accumulate::Accumulate;
pub use adam::Adam;
pub use assign::Assign;
pub use lerp::Lerp;
pub(crate) use optimizer_rule::RATES;
pub use put_rows::PutRows;
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

/// What every rule brings with it; the macro below makes the closed set of them.
pub(crate) trait UpdateRules: fmt::Debug {
    /// The rule's name in errors, plans and timings.
    const NAME: &'static str;
    /// Whether the rule can change such variables with such inputs.
    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch>;
    /// How much it computes: unless it says otherwise, an operation for each element of the largest tensor.
    fn work(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Work {
        Work::by_element(variables.iter().chain(inputs).copied())
    }
    /// Emits the dispatches that change the variables. `lowering.output` is the first of them.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()>;
}

macro_rules! rules {
    ($($name:ident)*) => {
        /// How variables change, with its options. Variables and inputs are the [`Update`](crate::Update)'s affair.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is documented by the type it holds")]
        pub enum Rule {
            $($name($name),)*
        }

        impl Rule {
            /// The rule's name, such as `sgd`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Rule::$name(_) => <$name as UpdateRules>::NAME,)*
                }
            }

            pub(crate) fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
                match self {
                    $(Rule::$name(rule) => rule.check(variables, inputs),)*
                }
            }

            pub(crate) fn work(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Work {
                match self {
                    $(Rule::$name(rule) => rule.work(variables, inputs),)*
                }
            }

            pub(crate) fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
                match self {
                    $(Rule::$name(rule) => rule.lower(lowering),)*
                }
            }
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Rule::$name(rule) => write!(f, "{rule:?}"),)*
                }
            }
        }

        $(impl From<$name> for Rule {
            fn from(rule: $name) -> Rule {
                Rule::$name(rule)
            }
        })*
    };
}

rules! {
    Accumulate Adam Assign Lerp PutRows RmsProp Sgd
}
