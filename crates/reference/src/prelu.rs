use crate::array::{Array, coordinate};

/// `output[n][c][..] = x[n][c][..]` where that is above 0, else `weight[c] * x[n][c][..]`, as
/// `torch.nn.functional.prelu`; a single weight serves every channel. NaN stays.
pub fn prelu(x: &Array, weight: &Array) -> Array {
    let slope = |flat: usize| match weight.data.as_slice() {
        [slope] => *slope,
        slopes => slopes[coordinate(&x.shape, flat)[1]],
    };
    let value = |(flat, &value): (usize, &f64)| if value > 0.0 { value } else { slope(flat) * value };
    Array::new(&x.shape, x.data.iter().enumerate().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 2, 1], vec![1.0, -2.0, -3.0, f64::NAN]);
        let each = prelu(&x, &Array::new(&[2], vec![0.5, -4.0]));
        assert_eq!(each.data[..3], [1.0, 8.0, -1.5]);
        assert!(each.data[3].is_nan());
        let all = prelu(&x, &Array::new(&[1], vec![0.5]));
        assert_eq!(all.data[..3], [1.0, -1.0, -1.5]);
    }
}
