//! How far each op may be from `f64`: the one table of constants.
//!
//! A result in `f32` carries an error of some epsilons of the sum of the absolute values of its terms; `reference`
//! computes that sum beside the result. The constant allows for the order of additions (the worst case grows with
//! their number, what happens grows with its root at most) and for the accuracy that WGSL asks of each function
//! (<https://www.w3.org/TR/WGSL/#floating-point-accuracy>), and no more: a kernel that loses half its digits fails.

use kiln_reference::{Array, Unary};

/// `bound = epsilons * f32::EPSILON * sum|terms| + absolute`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Units of `f32::EPSILON` of the sum of the absolute values of the terms.
    pub epsilons: f64,
    /// What is allowed besides, at any magnitude.
    pub absolute: f64,
}

/// Nothing: moves, and operations that are rounded once and whose operands are small integers.
pub const EXACT: Tolerance = Tolerance { epsilons: 0.0, absolute: 0.0 };
/// One operation that WGSL rounds correctly: add, sub, mul.
pub const ROUNDED: Tolerance = epsilons(0.5);
/// A division: 2.5 ULP.
pub const DIV: Tolerance = epsilons(2.5);
/// A dot product of up to some thousand terms, in any order.
pub const MATMUL: Tolerance = epsilons(4.0);
/// The same with one more addition and the roundings of an epilogue.
pub const LINEAR: Tolerance = epsilons(5.0);
/// A step of Winograd's convolution: two lines of at most three roundings each, coefficients included, of half an epsilon.
pub const WINOGRAD_STEP: Tolerance = epsilons(3.0);
/// The whole of it, relative to the sum of the magnitudes of all terms that its transforms and products add up
/// ([`winograd_terms`](kiln_reference::winograd_terms)): 8 times those of a direct convolution for tiles of two outputs and 59
/// times for four, on numbers without a pattern. Each of the places of a tile brings an error of its own, of some epsilons
/// at worst; as they are independent their sum grows with the root of their squares, which is a tenth of the sum of their
/// magnitudes. From 64 to 512 channels 0.09 and 0.04 were met: 1 and 5 epsilons of the direct convolution's terms, 0.8e-6
/// and 4e-6 of a layer's largest value.
pub const WINOGRAD: Tolerance = epsilons(0.5);
/// A sum or mean of up to some thousand elements.
pub const SUM: Tolerance = epsilons(4.0);
/// Mean, variance, inverse square root (2 ULP) and the affine map.
pub const LAYER_NORM: Tolerance = epsilons(4.0);
/// The difference from the mean (0.5), the inverse square root (2 ULP, and half of the rounding of its argument), three
/// more operations of the affine map: 3.75.
pub const BATCH_NORM: Tolerance = epsilons(4.0);
/// The same, where mean and variance are computed: the mean is corrected and exact to a rounding, and half the error of
/// the sum of squares comes on top, which in rows of some thousand elements is an epsilon or two.
pub const GROUP_NORM: Tolerance = epsilons(6.0);
/// Means and variances in two passes or by joining those of few numbers, relative to an element of the channel or the mean
/// of four, which may be some deviations away.
pub const CHANNEL_MOMENTS: Tolerance = epsilons(8.0);
/// Three products each with an inverse square root (2 ULP, and half of the rounding of its argument), two differences, and
/// the product with the scale.
pub const BATCH_NORM_GRAD: Tolerance = epsilons(9.0);
/// Each part is among the terms, by its own factor.
pub const LOCAL_RESPONSE_NORM: Tolerance = epsilons(1.0);
/// Two shares, each a quotient (2.5 ULP), then products and sums of four terms: 7.
pub const UPSAMPLE: Tolerance = epsilons(7.0);
/// Exponentials, whose errors are among the terms, their sum, and a division.
pub const SOFTMAX: Tolerance = epsilons(2.0);
/// The same sum, its logarithm (3 ULP, but 2^-21, four epsilons, below 2) and two differences.
pub const LOG_SOFTMAX: Tolerance = epsilons(4.0);
/// A softmax between two products.
pub const ATTENTION: Tolerance = epsilons(2.0);
/// The same weights, from a logarithm, with both of a row's sums among the terms.
pub const ATTENTION_GRAD: Tolerance = epsilons(2.0);
/// Half the error of a sum of squares, a root and a division.
pub const L2_NORMALIZE: Tolerance = epsilons(4.0);

/// The same, times a weight.
pub const RMS_NORM: Tolerance = epsilons(4.5);

const fn epsilons(epsilons: f64) -> Tolerance {
    Tolerance { epsilons, absolute: 0.0 }
}

impl Tolerance {
    /// The bound of each element, from the sum of the absolute values of its terms.
    pub fn bounds(self, terms: &Array) -> Vec<f64> {
        // Below the least normal number a device may flush to zero.
        let floor = f64::from(f32::MIN_POSITIVE);
        let floor = if self == EXACT { 0.0 } else { floor };
        terms
            .data
            .iter()
            .map(|&terms| self.epsilons * EPSILON * terms.abs() + self.absolute + floor)
            .collect()
    }
}

const EPSILON: f64 = f32::EPSILON as f64;

/// What errors of a query do to an attention of one token: a score moves by no more than the sum of its terms' errors, and the
/// mixture by twice that of the score that moves most, times the mixture of the values' magnitudes, in each head.
///
/// `errors` are those of the query, `[heads * width]`; `keys` the rows that it meets; `mixed` the mixture of the absolute
/// values, `[heads * width]`.
pub fn moved_scores(
    errors: &[f64],
    keys: &[&[f64]],
    mixed: &[f64],
    desc: kiln_reference::Attention,
) -> Vec<f64> {
    let width = errors.len() / desc.heads;
    let head = |h: usize| {
        let own = h * width..(h + 1) * width;
        let moves = |key: &&[f64]| -> f64 {
            errors[own.clone()].iter().zip(&key[own.clone()]).map(|(error, key)| error * key.abs()).sum()
        };
        let most = keys.iter().map(moves).fold(0.0, f64::max) * desc.scale.abs();
        mixed[own.clone()].iter().map(move |mixed| 2.0 * most * mixed).collect::<Vec<_>>()
    };
    (0..desc.heads).flat_map(head).collect()
}

/// The bound of a function of one element at `x`.
pub fn unary(function: Unary, x: f64) -> f64 {
    let y = function.apply(x).abs();
    let ulps = |n: f64| n * EPSILON * y + f64::from(f32::MIN_POSITIVE);
    // WGSL's exp has 3 + 2|x| ULP; a quotient of it keeps that relative error, and adds a division's.
    let exp = 3.0 + 2.0 * x.abs();
    // WGSL's tanh has 1e-5 absolute at worst; drivers that use a quotient of exponentials are near 1e-6.
    let tanh = 1e-5;
    match function {
        Unary::Neg | Unary::Abs | Unary::Relu => 0.0,
        Unary::Exp => ulps(exp),
        // 3 ULP, but 2^-21 absolute near one, where the logarithm vanishes.
        Unary::Log => ulps(3.0) + if (0.5..=2.0).contains(&x) { 2f64.powi(-21) } else { 0.0 },
        Unary::Rsqrt => ulps(2.0),
        // 1 / inverseSqrt: 2 ULP and a division.
        Unary::Sqrt => ulps(4.5),
        // The rational erf of lib/activation.wgsl is within 4e-7; 1 + erf cancels in the negative tail.
        Unary::Gelu => ulps(3.0) + 0.5 * x.abs() * 5e-7,
        Unary::GeluTanh => ulps(4.0) + 0.5 * x.abs() * tanh,
        Unary::Sigmoid | Unary::Silu => ulps(exp + 4.0),
        Unary::Tanh => ulps(1.0) + tanh,
        Unary::LeakyRelu { .. } | Unary::Softshrink { .. } => ulps(0.5),
        Unary::Hardtanh { .. } => 0.0,
        // The series near 0 has a few roundings; elsewhere the exponential's own error stays in the difference.
        Unary::Elu { .. } if x > -0.5 => ulps(3.0),
        Unary::Elu { alpha } if x.exp() > 0.0 => ulps(1.5) + alpha.abs() * x.exp() * exp * EPSILON,
        Unary::Elu { .. } => ulps(1.5),
        // The straight part: beta x, the sum, the quotient; then the bend.
        Unary::Softplus { beta, .. } => ulps(3.5) + bend(beta * x) / beta.abs(),
        Unary::LogSigmoid => ulps(0.5) + bend(x),
        // A quotient and two products, or a difference.
        Unary::SmoothL1 { .. } => ulps(3.5),
    }
}

/// The bounds of a gated linear unit: the error of the function, times the other half, and a rounding.
pub fn gated(function: Unary, x: &Array) -> Vec<f64> {
    let width = x.shape.last().map_or(1, |last| last / 2);
    let bound = |gate: f64, value: f64| {
        let product = function.apply(gate) * value;
        unary(function, gate) * value.abs()
            + ROUNDED.epsilons * EPSILON * product.abs()
            + f64::from(f32::MIN_POSITIVE)
    };
    x.data.chunks(2 * width).flat_map(|row| (0..width).map(move |d| bound(row[d], row[width + d]))).collect()
}

/// The bound of a function's derivative at `x`, where the kernel reads the function's result, if it does, rounded to
/// `f32`, and the derivative is multiplied with another number.
pub fn unary_grad(function: Unary, x: f64) -> f64 {
    let (y, slope) = (function.apply(x), function.derivative(x).abs());
    let ulps = |n: f64| (n + 0.5) * EPSILON * slope + f64::from(f32::MIN_POSITIVE);
    // WGSL's exp, with half an epsilon of its argument where that is rounded.
    let exp = |z: f64| 3.0 + 2.5 * z.abs();
    // x * sigmoid(z) has the derivative sigmoid(z) + x * bell(z) * z', each part with the errors of an exponential, and
    // with `rounded` epsilons of z.
    let swish = |z: f64, factor: f64, rounded: f64| {
        let (left, right) = (Unary::Sigmoid.apply(z), Unary::Sigmoid.apply(-z));
        let error = exp(z) + rounded * z.abs() + 4.0;
        EPSILON * (left * (4.0 + right * error) + (x * factor * left * right).abs() * (error + 6.0))
    };
    match function {
        Unary::Neg | Unary::Abs | Unary::Relu | Unary::LeakyRelu { .. } => ulps(0.5),
        Unary::Hardtanh { .. } | Unary::Softshrink { .. } => ulps(0.0),
        // y (1 - y) of a rounded y.
        Unary::Sigmoid => ulps(1.0) + 0.5 * EPSILON * y,
        // (1 - y) (1 + y).
        Unary::Tanh => ulps(2.0) + EPSILON * y * y,
        Unary::Exp => ulps(1.0),
        Unary::Log | Unary::SmoothL1 { .. } => ulps(2.5),
        Unary::Sqrt => ulps(3.5),
        Unary::Rsqrt => ulps(4.0),
        // The rational tail is within 0.75e-7, and it and x phi(x) share an exponential of x^2 / 2.
        Unary::Gelu => {
            let density = (-0.5 * x * x).exp() * 0.4;
            ulps(2.0) + 1e-7 + EPSILON * (1.0 + exp(x * x) + 8.0) * density * (1.0 + x.abs())
        }
        Unary::GeluTanh => {
            let z = 1.5957691216057308 * x * (1.0 + 0.044715 * x * x);
            ulps(1.0) + swish(z, 1.5957691216057308 * (1.0 + 0.134145 * x * x), 3.0)
        }
        Unary::Silu => ulps(1.0) + swish(x, 1.0, 0.0),
        Unary::Elu { .. } => ulps(exp(x) + 1.0),
        Unary::Softplus { beta, .. } => ulps(exp(beta * x) + 3.5),
        Unary::LogSigmoid => ulps(exp(x) + 3.5),
    }
}

/// The error of `log(1 + e^-|z|)` in `f32`: the exponential's (with half an epsilon of `z`, where that is rounded), whose
/// relative size in the logarithm is no larger, and the roundings of a quotient (2.5 ULP) and a series.
fn bend(z: f64) -> f64 {
    let z = z.abs();
    let value = (-z).exp().ln_1p();
    if value == 0.0 { 0.0 } else { (3.0 + 2.5 * z + 4.0) * value * EPSILON }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_terms() {
        let terms = Array::new(&[2], vec![1.0, 1000.0]);
        let bounds = MATMUL.bounds(&terms);
        assert!((bounds[0] - 4.0 * EPSILON).abs() < 1e-30 && (bounds[1] - 4000.0 * EPSILON).abs() < 1e-20);
        assert_eq!(EXACT.bounds(&terms), [0.0, 0.0]);
    }

    /// Half the digits lost is a failure for every function.
    #[test]
    fn no_bound_is_loose() {
        for function in Unary::ALL {
            for x in [-6.0, -1.0, -0.1, 0.1, 1.0, 6.0] {
                let bound = unary(function, x);
                let limit = 1.5e-5 * (1.0 + x.abs() + function.apply(x).abs());
                assert!(bound.is_nan() || bound <= limit, "{function:?}({x}): {bound}");
            }
        }
    }
}
