use crate::array::{Array, coordinate};
use crate::batch_norm::batch_norm;
use crate::channel_sum::{channel_mean, channel_variance};

/// [`batch_norm`] by the mean and the biased variance of `x` itself: `torch.nn.functional.batch_norm` with
/// `training=True`.
pub fn batch_norm_training(x: &Array, weight: &Array, bias: &Array, eps: f64) -> Array {
    batch_norm(x, &channel_mean(x), &channel_variance(x), weight, bias, eps)
}

/// The gradient of [`batch_norm_training`] by `x`, from that of its result, with the gradients of bias and weight (sums
/// of `grad` and of `grad` times the normalised `x` over each channel's elements) and the statistics of `x` given:
/// `weight / s * (grad - bias_grad / m - (x - mean) / s * weight_grad / m)`, `s = sqrt(variance + eps)`, `m` elements a
/// channel.
#[allow(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn batch_norm_grad(
    grad: &Array,
    x: &Array,
    mean: &Array,
    variance: &Array,
    weight: &Array,
    bias_grad: &Array,
    weight_grad: &Array,
    eps: f64,
) -> Array {
    elementwise(grad, x, |g, x, c, m| {
        let deviation = (variance.data[c] + eps).sqrt();
        let pull = bias_grad.data[c] / m + (x - mean.data[c]) / deviation * weight_grad.data[c] / m;
        weight.data[c] / deviation * (g - pull)
    })
}

/// What the rounding errors of [`batch_norm_grad`] are relative to: each term of the difference by its magnitude, that
/// of `x - mean` by both sides.
#[allow(clippy::too_many_arguments, reason = "those of the function")]
pub fn batch_norm_grad_terms(
    grad: &Array,
    x: &Array,
    mean: &Array,
    variance: &Array,
    weight: &Array,
    bias_grad: &Array,
    weight_grad: &Array,
    eps: f64,
) -> Array {
    elementwise(grad, x, |g, x, c, m| {
        let deviation = (variance.data[c] + eps).sqrt();
        let spread = (x.abs() + mean.data[c].abs()) / deviation * weight_grad.data[c].abs() / m;
        weight.data[c].abs() / deviation * (g.abs() + bias_grad.data[c].abs() / m + spread)
    })
}

/// The gradient of a [`batch_norm`]'s result from that of a relu behind it: 0 where the result is 0 or less.
pub fn relu_of_norm_grad(
    grad: &Array,
    x: &Array,
    mean: &Array,
    variance: &Array,
    weight: &Array,
    bias: &Array,
    eps: f64,
) -> Array {
    elementwise(grad, x, |g, x, c, _| {
        let y = (x - mean.data[c]) / (variance.data[c] + eps).sqrt() * weight.data[c] + bias.data[c];
        if y <= 0.0 { 0.0 } else { g }
    })
}

/// `element(grad, x, channel, elements of a channel)`.
fn elementwise(grad: &Array, x: &Array, element: impl Fn(f64, f64, usize, f64) -> f64) -> Array {
    assert_eq!(grad.shape, x.shape);
    let m = (x.data.len() / x.shape[1]) as f64;
    let value = |(flat, (&g, &x))| element(g, x, coordinate(&grad.shape, flat)[1], m);
    Array::new(&x.shape, grad.data.iter().zip(&x.data).enumerate().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel_sum::{channel_dot, channel_sum};

    #[test]
    fn a_batch_of_two_is_plus_and_minus_one() {
        let x = Array::new(&[2, 1], vec![3.0, 7.0]);
        let (weight, bias) = (Array::new(&[1], vec![2.0]), Array::new(&[1], vec![0.5]));
        assert_eq!(batch_norm_training(&x, &weight, &bias, 0.0).data, [-1.5, 2.5]);
    }

    #[test]
    fn a_relu_lets_through_what_is_above_0_and_nan() {
        let x = Array::new(&[1, 1, 4], vec![-3.0, 1.0, 5.0, f64::NAN]);
        let grad = Array::new(&[1, 1, 4], vec![1.0, 2.0, 3.0, 4.0]);
        let of = |number: f64| Array::new(&[1], vec![number]);
        let made = relu_of_norm_grad(&grad, &x, &of(1.0), &of(4.0), &of(1.0), &of(0.0), 0.0);
        assert_eq!(made.data, [0.0, 0.0, 3.0, 4.0]);
        let made = relu_of_norm_grad(&grad, &x, &of(1.0), &of(4.0), &of(-1.0), &of(0.5), 0.0);
        assert_eq!(made.data, [1.0, 2.0, 0.0, 4.0]);
    }

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        let x = Array::from_fn(&[3, 2, 2], |at| (7 * at[0] + 5 * at[1] * at[2] + at[2]) as f64 % 4.0);
        let grad = Array::from_fn(&[3, 2, 2], |at| (at[0] + 3 * at[1] + 2 * at[2]) as f64 % 5.0 - 2.0);
        let (weight, bias) = (Array::new(&[2], vec![1.5, -2.0]), Array::new(&[2], vec![0.0; 2]));
        let eps = 0.25;
        let (mean, variance) = (channel_mean(&x), channel_variance(&x));
        let ones = weight.map(|_| 1.0);
        let normalized = batch_norm(&x, &mean, &variance, &ones, &bias, eps);
        let (bias_grad, weight_grad) = (channel_sum(&grad), channel_dot(&grad, &normalized));
        let made = batch_norm_grad(&grad, &x, &mean, &variance, &weight, &bias_grad, &weight_grad, eps);
        let loss = |x: &Array| -> f64 {
            let y = batch_norm_training(x, &weight, &bias, eps);
            y.data.iter().zip(&grad.data).map(|(y, g)| y * g).sum()
        };
        for i in 0..x.data.len() {
            let moved = |by: f64| {
                let mut x = x.clone();
                x.data[i] += by;
                loss(&x)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((made.data[i] - difference).abs() < 1e-8, "{i}: {} {difference}", made.data[i]);
        }
    }
}
