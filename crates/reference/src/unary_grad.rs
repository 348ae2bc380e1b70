use std::f64::consts;

use crate::array::Array;
use crate::erf::erfc;
use crate::unary::Unary;

impl Unary {
    /// The derivative at `x`. Where there is none, what PyTorch's backward functions take: 0 at the corners of `relu`,
    /// `abs`, `hardtanh` and `softshrink`, the left side's derivative for `leaky_relu` and `elu`.
    pub fn derivative(self, x: f64) -> f64 {
        let sigmoid = |x: f64| Self::Sigmoid.apply(x);
        let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
        match self {
            Self::Neg => -1.0,
            Self::Exp => x.exp(),
            Self::Log => 1.0 / x,
            Self::Sqrt => 0.5 / x.sqrt(),
            Self::Rsqrt => -0.5 / (x * x.sqrt()),
            Self::Abs => sign(x),
            Self::Relu => unless(x <= 0.0, 1.0),
            // Phi(x) + x * phi(x).
            Self::Gelu => {
                let density = (-0.5 * x * x).exp() * consts::FRAC_2_SQRT_PI * consts::FRAC_1_SQRT_2 / 2.0;
                0.5 * erfc(-x * consts::FRAC_1_SQRT_2) + x * density
            }
            Self::GeluTanh => {
                let root = (2.0 / consts::PI).sqrt();
                let inner = root * (x + 0.044715 * x * x * x);
                let slope = root * (1.0 + 3.0 * 0.044715 * x * x);
                // (1 + tanh) / 2 and 1 - tanh^2 without their cancellation.
                sigmoid(2.0 * inner) + 0.5 * x * slope / (inner.cosh() * inner.cosh())
            }
            Self::Sigmoid => sigmoid(x) * sigmoid(-x),
            Self::Tanh => 1.0 / (x.cosh() * x.cosh()),
            Self::Silu => sigmoid(x) + x * sigmoid(x) * sigmoid(-x),
            Self::LeakyRelu { slope } => {
                if x > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Self::Elu { alpha } => {
                if x <= 0.0 {
                    alpha * x.exp()
                } else {
                    1.0
                }
            }
            Self::Softplus { beta, threshold } => {
                if beta * x > threshold {
                    1.0
                } else {
                    sigmoid(beta * x)
                }
            }
            Self::Hardtanh { min, max } => unless(x <= min || x >= max, 1.0),
            Self::LogSigmoid => sigmoid(-x),
            Self::Softshrink { lambda } => unless(x.abs() <= lambda, 1.0),
            Self::SmoothL1 { beta } => {
                if x.abs() < beta {
                    x / beta
                } else {
                    sign(x)
                }
            }
        }
    }
}

/// 0 where the condition holds. It fails for NaN, which so lets a gradient pass, as in PyTorch.
fn unless(flat: bool, slope: f64) -> f64 {
    if flat { 0.0 } else { slope }
}

/// `output[i] = function'(x[i]) * grad[i]`: the gradient of a function of one element.
pub fn unary_grad(function: Unary, x: &Array, grad: &Array) -> Array {
    assert_eq!(x.shape, grad.shape, "the gradient's shape");
    let data = x.data.iter().zip(&grad.data).map(|(&x, grad)| function.derivative(x) * grad).collect();
    Array::new(&x.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_central_differences() {
        for function in Unary::ALL {
            for x in [-7.0, -3.1, -1.5, -0.6, -0.2, 0.3, 0.7, 1.5, 2.9, 8.0] {
                if x < 0.0 && matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt) {
                    continue;
                }
                let difference = (function.apply(x + 1e-6) - function.apply(x - 1e-6)) / 2e-6;
                let got = function.derivative(x);
                let bound = 1e-8 * (1.0 + function.apply(x).abs());
                assert!((got - difference).abs() < bound, "{function:?}'({x}) = {got}, not {difference}");
            }
        }
    }

    #[test]
    fn at_kinks_as_pytorch() {
        let softplus = Unary::Softplus { beta: 2.0, threshold: 3.0 };
        for (function, x, expected) in [
            (Unary::Relu, 0.0, 0.0),
            (Unary::Abs, 0.0, 0.0),
            (Unary::Abs, -0.0, 0.0),
            (Unary::LeakyRelu { slope: 0.25 }, 0.0, 0.25),
            (Unary::Elu { alpha: 1.5 }, 0.0, 1.5),
            (Unary::Hardtanh { min: -1.0, max: 2.0 }, -1.0, 0.0),
            (Unary::Hardtanh { min: -1.0, max: 2.0 }, 2.0, 0.0),
            (Unary::Softshrink { lambda: 0.5 }, 0.5, 0.0),
            (Unary::Softshrink { lambda: 0.5 }, -0.5, 0.0),
            (Unary::SmoothL1 { beta: 0.5 }, -0.5, -1.0),
            (Unary::SmoothL1 { beta: 0.0 }, 0.0, 0.0),
            (Unary::SmoothL1 { beta: 0.0 }, 1e-9, 1.0),
            (softplus, 1.5, 1.0 / (1.0 + (-3f64).exp())),
            (softplus, 1.5000001, 1.0),
        ] {
            assert_eq!(function.derivative(x), expected, "{function:?}'({x})");
        }
    }
}
