use crate::array::Array;

/// `output[..][d] = x[..][d] / sqrt(mean(x[..]^2) + eps) * weight[d]` over the last dimension, as
/// `torch.nn.functional.rms_norm`. Nothing cancels, so the result is its own sum of terms.
pub fn rms_norm(x: &Array, weight: &Array, eps: f64) -> Array {
    let width = *x.shape.last().expect("rms_norm needs a dimension");
    assert_eq!(weight.shape, [width], "a weight for each column");
    let mut data = Vec::with_capacity(x.data.len());
    for row in x.data.chunks(width) {
        let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
        let root = (square + eps).sqrt();
        data.extend(row.iter().zip(&weight.data).map(|(v, weight)| v / root * weight));
    }
    Array::new(&x.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Squares 9 and 25 with mean 17; with eps 8 the divisor is 5. Then zeros, whose divisor is sqrt(8).
        let x = Array::new(&[2, 2], vec![3.0, -5.0, 0.0, 0.0]);
        let output = rms_norm(&x, &Array::new(&[2], vec![2.0, 10.0]), 8.0);
        for (got, expected) in output.data.iter().zip([1.2, -10.0, 0.0, 0.0]) {
            assert!((got - expected).abs() < 1e-15, "{got} is not {expected}");
        }
    }
}
