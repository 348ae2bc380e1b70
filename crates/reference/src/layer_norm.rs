use crate::array::Array;

/// `output[..][d] = (x[..][d] - mean) / sqrt(variance + eps) * weight[d] + bias[d]` over the last dimension, with
/// the biased variance, as `torch.nn.functional.layer_norm`.
pub fn layer_norm(x: &Array, weight: &Array, bias: &Array, eps: f64) -> Array {
    rows(x, eps, |value, row, d| (value - row.mean) / row.deviation * weight.data[d] + bias.data[d])
}

/// What the rounding errors of [`layer_norm`] are relative to: both terms of the difference, scaled as the result,
/// and the bias.
pub fn layer_norm_terms(x: &Array, weight: &Array, bias: &Array, eps: f64) -> Array {
    rows(x, eps, |value, row, d| {
        (value.abs() + row.mean_abs) / row.deviation * weight.data[d].abs() + bias.data[d].abs()
    })
}

struct Row {
    mean: f64,
    mean_abs: f64,
    deviation: f64,
}

fn rows(x: &Array, eps: f64, element: impl Fn(f64, &Row, usize) -> f64) -> Array {
    let width = *x.shape.last().expect("layer_norm needs a dimension");
    let mut data = Vec::with_capacity(x.data.len());
    for values in x.data.chunks(width) {
        let n = width as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let mean_abs = values.iter().map(|v| v.abs()).sum::<f64>() / n;
        let row = Row { mean, mean_abs, deviation: (variance + eps).sqrt() };
        data.extend(values.iter().enumerate().map(|(d, &value)| element(value, &row, d)));
    }
    Array::new(&x.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // mean 2, variance 2/3; with eps 1/3 the divisor is 1.
        let x = Array::new(&[1, 3], vec![1.0, 2.0, 3.0]);
        let weight = Array::new(&[3], vec![2.0, 3.0, 4.0]);
        let bias = Array::new(&[3], vec![0.5, 0.25, -1.0]);
        let output = layer_norm(&x, &weight, &bias, 1.0 / 3.0);
        for (got, expected) in output.data.iter().zip([-1.5, 0.25, 3.0]) {
            assert!((got - expected).abs() < 1e-15, "{got} is not {expected}");
        }
        let terms = layer_norm_terms(&x, &weight, &bias, 1.0 / 3.0);
        for (got, expected) in terms.data.iter().zip([6.5, 12.25, 21.0]) {
            assert!((got - expected).abs() < 1e-14, "{got} is not {expected}");
        }
    }
}
