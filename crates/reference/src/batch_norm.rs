use crate::array::{Array, coordinate};

/// `output[n][c][..] = (x[n][c][..] - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c]`, as
/// `torch.nn.functional.batch_norm` with `training=False`.
pub fn batch_norm(
    x: &Array,
    mean: &Array,
    variance: &Array,
    weight: &Array,
    bias: &Array,
    eps: f64,
) -> Array {
    by_channel(x, |value, c| {
        (value - mean.data[c]) / (variance.data[c] + eps).sqrt() * weight.data[c] + bias.data[c]
    })
}

/// What the rounding errors of [`batch_norm`] are relative to: both terms of the difference, scaled as the result, and
/// the bias.
pub fn batch_norm_terms(
    x: &Array,
    mean: &Array,
    variance: &Array,
    weight: &Array,
    bias: &Array,
    eps: f64,
) -> Array {
    by_channel(x, |value, c| {
        let scale = weight.data[c].abs() / (variance.data[c] + eps).sqrt();
        (value.abs() + mean.data[c].abs()) * scale + bias.data[c].abs()
    })
}

fn by_channel(x: &Array, element: impl Fn(f64, usize) -> f64) -> Array {
    let value = |(flat, &value)| element(value, coordinate(&x.shape, flat)[1]);
    Array::new(&x.shape, x.data.iter().enumerate().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let channels = |a: f64, b: f64| Array::new(&[2], vec![a, b]);
        // The divisors are 2 and 4.
        let (mean, variance) = (channels(1.0, -2.0), channels(3.0, 15.0));
        let (weight, bias) = (channels(2.0, -3.0), channels(0.5, 0.25));
        let output = batch_norm(&x, &mean, &variance, &weight, &bias, 1.0);
        assert_eq!(output.data, [0.5, -2.75, 2.5, -4.25]);
        let terms = batch_norm_terms(&x, &mean, &variance, &weight, &bias, 1.0);
        assert_eq!(terms.data, [2.5, 3.25, 4.5, 4.75]);
    }
}
