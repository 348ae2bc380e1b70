use std::f64::consts;

use crate::array::Array;
use crate::erf::erfc;

/// The functions of one element, with the options that they have in `torch.nn.functional`.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    LeakyRelu { slope: f64 },
    Elu { alpha: f64 },
    Softplus { beta: f64, threshold: f64 },
    Hardtanh { min: f64, max: f64 },
    LogSigmoid,
    Softshrink { lambda: f64 },
    SmoothL1 { beta: f64 },
}

impl Unary {
    /// Every function, in the order of the enum, with PyTorch's default options.
    pub const ALL: [Self; 19] = [
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
        Self::LeakyRelu { slope: 0.01 },
        Self::Elu { alpha: 1.0 },
        Self::Softplus { beta: 1.0, threshold: 20.0 },
        Self::Hardtanh { min: -1.0, max: 1.0 },
        Self::LogSigmoid,
        Self::Softshrink { lambda: 0.5 },
        Self::SmoothL1 { beta: 1.0 },
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
            Self::LeakyRelu { slope } => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Elu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Softplus { beta, threshold } => {
                if beta * x > threshold {
                    x
                } else {
                    log_one_plus_exp(beta * x) / beta
                }
            }
            // Not `x.clamp(min, max)`, which would do, but asks for an order of `min` and `max`.
            Self::Hardtanh { min, max } => {
                if x < min {
                    min
                } else if x > max {
                    max
                } else {
                    x
                }
            }
            Self::LogSigmoid => -log_one_plus_exp(-x),
            Self::Softshrink { lambda } => {
                if x > lambda {
                    x - lambda
                } else if x < -lambda {
                    x + lambda
                } else {
                    0.0 * x // NaN, which no comparison takes, stays
                }
            }
            Self::SmoothL1 { beta } => {
                if x.abs() < beta {
                    0.5 * x * x / beta
                } else {
                    x.abs() - 0.5 * beta
                }
            }
        }
    }
}

/// `log(1 + e^x)`, by `x + log(1 + e^-x)` where `e^x` may overflow.
fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
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
        let table: [(Unary, f64, f64); 37] = [
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
            (Unary::LeakyRelu { slope: 0.25 }, -2.0, -0.5),
            (Unary::LeakyRelu { slope: 0.25 }, 2.0, 2.0),
            (Unary::Elu { alpha: 2.0 }, -1.0, -1.2642411176571153),
            (Unary::Elu { alpha: 2.0 }, -1e-9, -1.999999999e-09),
            (Unary::Elu { alpha: 2.0 }, 3.0, 3.0),
            (Unary::Softplus { beta: 1.0, threshold: 20.0 }, 0.0, consts::LN_2),
            (Unary::Softplus { beta: 2.0, threshold: 20.0 }, -1.5, 0.02429367578687103),
            (Unary::Softplus { beta: 2.0, threshold: 3.0 }, 1.5, 1.524293675786871),
            (Unary::Softplus { beta: 2.0, threshold: 3.0 }, 1.75, 1.75),
            (Unary::Hardtanh { min: -2.0, max: 0.5 }, -2.5, -2.0),
            (Unary::Hardtanh { min: -2.0, max: 0.5 }, 0.75, 0.5),
            (Unary::Hardtanh { min: -2.0, max: 0.5 }, -0.25, -0.25),
            (Unary::LogSigmoid, -2.0, -2.1269280110429727),
            (Unary::LogSigmoid, 40.0, -4.248354255291589e-18),
            (Unary::Softshrink { lambda: 0.5 }, -2.0, -1.5),
            (Unary::Softshrink { lambda: 0.5 }, 0.75, 0.25),
            (Unary::Softshrink { lambda: 0.5 }, -0.5, 0.0),
            (Unary::SmoothL1 { beta: 2.0 }, -1.0, 0.25),
            (Unary::SmoothL1 { beta: 2.0 }, 2.0, 1.0),
            (Unary::SmoothL1 { beta: 2.0 }, -5.0, 4.0),
            (Unary::SmoothL1 { beta: 0.0 }, -5.0, 5.0),
        ];
        for (function, x, expected) in table {
            let got = function.apply(x);
            assert!(
                (got - expected).abs() <= 1e-14 * expected.abs(),
                "{function:?}({x}) = {got}, not {expected}"
            );
        }
    }

    /// The values are those of `torch` in double precision.
    #[test]
    fn far_ends() {
        let (one, inf) = (Unary::Softplus { beta: 1.0, threshold: 2000.0 }, f64::INFINITY);
        for (function, x, expected) in [
            (one, 1000.0, 1000.0),
            (one, -1000.0, 0.0),
            (one, inf, inf),
            (one, -inf, 0.0),
            (Unary::LogSigmoid, 1000.0, 0.0),
            (Unary::LogSigmoid, -1000.0, -1000.0),
            (Unary::LogSigmoid, -inf, -inf),
            (Unary::Elu { alpha: 1.5 }, -inf, -1.5),
            (Unary::Sigmoid, -1000.0, 0.0),
            (Unary::Sigmoid, 1000.0, 1.0),
        ] {
            assert_eq!(function.apply(x), expected, "{function:?}({x})");
        }
    }

    #[test]
    fn nan_passes_through_each() {
        for function in Unary::ALL {
            assert!(function.apply(f64::NAN).is_nan(), "{function:?}");
        }
    }
}
