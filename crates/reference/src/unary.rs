use std::f64::consts;

use crate::array::Array;
use crate::erf::erfc;

/// The functions of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the formula stands beside each name in `apply`")]
pub enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Abs,
    Relu,
    Gelu,
    GeluTanh,
    Sigmoid,
    Tanh,
    Silu,
}

impl Unary {
    /// Every function, in the order of the enum.
    pub const ALL: [Self; 12] = [
        Self::Neg,
        Self::Exp,
        Self::Log,
        Self::Sqrt,
        Self::Rsqrt,
        Self::Abs,
        Self::Relu,
        Self::Gelu,
        Self::GeluTanh,
        Self::Sigmoid,
        Self::Tanh,
        Self::Silu,
    ];

    /// The function at `x`. NaN gives NaN; outside the domain of `log` and the roots the result is NaN or infinite,
    /// as in IEEE 754.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => 1.0 / x.sqrt(),
            Self::Abs => x.abs(),
            // Not `x.max(0.0)`, which drops NaN.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            // x * Phi(x); by erfc, so that the negative tail keeps its digits.
            Self::Gelu => 0.5 * x * erfc(-x * consts::FRAC_1_SQRT_2),
            Self::GeluTanh => {
                let inner = (2.0 / consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Silu => x / (1.0 + (-x).exp()),
        }
    }
}

/// `output[i] = function(x[i])`.
pub fn unary(function: Unary, x: &Array) -> Array {
    x.map(|x| function.apply(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python's `math` module, by the formulas of `torch.nn.functional`.
    #[test]
    fn known_values() {
        let table: [(Unary, f64, f64); 16] = [
            (Unary::Neg, 2.5, -2.5),
            (Unary::Exp, 1.0, consts::E),
            (Unary::Log, 10.0, consts::LN_10),
            (Unary::Sqrt, 2.0, consts::SQRT_2),
            (Unary::Rsqrt, 4.0, 0.5),
            (Unary::Abs, -0.25, 0.25),
            (Unary::Relu, -0.25, 0.0),
            (Unary::Relu, 0.25, 0.25),
            (Unary::Gelu, -3.0, -0.004049694094890287),
            (Unary::Gelu, 0.5, 0.34573123063700656),
            (Unary::GeluTanh, -1.0, -0.15880800939172324),
            (Unary::GeluTanh, 2.0, 1.954597694087775),
            (Unary::Sigmoid, -1.0, 0.2689414213699951),
            (Unary::Tanh, 0.5, 0.46211715726000973),
            (Unary::Silu, 2.0, 1.7615941559557646),
            (Unary::Silu, -3.0, -0.14227761953270035),
        ];
        for (function, x, expected) in table {
            let got = function.apply(x);
            assert!(
                (got - expected).abs() <= 1e-14 * expected.abs(),
                "{function:?}({x}) = {got}, not {expected}"
            );
        }
    }

    #[test]
    fn nan_passes_through_each() {
        for function in Unary::ALL {
            assert!(function.apply(f64::NAN).is_nan(), "{function:?}");
        }
    }
}
