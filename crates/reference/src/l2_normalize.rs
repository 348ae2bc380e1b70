use crate::array::Array;

/// `output[..][d] = x[..][d] / max(sqrt(sum_i x[..][i]^2), eps)` over the last dimension, as
/// `torch.nn.functional.normalize`.
pub fn l2_normalize(x: &Array, eps: f64) -> Array {
    let width = *x.shape.last().expect("l2_normalize needs a dimension");
    let mut data = Vec::with_capacity(x.data.len());
    for row in x.data.chunks(width) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        let divisor = if norm < eps { eps } else { norm };
        data.extend(row.iter().map(|v| v / divisor));
    }
    Array::new(&x.shape, data)
}

/// What the rounding errors of [`l2_normalize`] are relative to: the squares that are added have one sign, so it is
/// the result itself.
pub fn l2_normalize_terms(x: &Array, eps: f64) -> Array {
    l2_normalize(x, eps).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[3, 2], vec![3.0, 4.0, 0.0, 0.0, -0.25, 0.0]);
        assert_eq!(l2_normalize(&x, 1e-12).data, [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
        assert_eq!(l2_normalize(&x, 1.0).data, [0.6, 0.8, 0.0, 0.0, -0.25, 0.0]);
    }

    #[test]
    fn nan_fills_its_row() {
        let x = Array::new(&[2, 2], vec![f64::NAN, 1.0, 0.0, 2.0]);
        let output = l2_normalize(&x, 1e-12);
        assert!(output.data[0].is_nan() && output.data[1].is_nan());
        assert_eq!(output.data[2..], [0.0, 1.0]);
    }
}
