use crate::array::{Array, coordinate};

/// `output[c]` is the sum of `x` over all axes but the second.
pub fn channel_sum(x: &Array) -> Array {
    over_channels(x, |_, value| value)
}

/// `output[c]` is the sum of `a * b` over all axes but the second; both have one shape.
pub fn channel_dot(a: &Array, b: &Array) -> Array {
    assert_eq!(a.shape, b.shape);
    let products = a.data.iter().zip(&b.data).map(|(a, b)| a * b).collect();
    channel_sum(&Array::new(&a.shape, products))
}

/// The mean of each channel, the second axis.
pub fn channel_mean(x: &Array) -> Array {
    let count = elements(x);
    channel_sum(x).map(|sum| sum / count)
}

/// The biased variance of each channel: the mean of the squares of the differences from its mean.
pub fn channel_variance(x: &Array) -> Array {
    let mean = channel_mean(x);
    let count = elements(x);
    over_channels(x, |c, value| (value - mean.data[c]).powi(2)).map(|sum| sum / count)
}

/// How many elements a channel has.
fn elements(x: &Array) -> f64 {
    (x.data.len() / x.shape[1]) as f64
}

fn over_channels(x: &Array, term: impl Fn(usize, f64) -> f64) -> Array {
    let mut output = Array::new(&[x.shape[1]], vec![0.0; x.shape[1]]);
    for (flat, &value) in x.data.iter().enumerate() {
        let c = coordinate(&x.shape, flat)[1];
        output.data[c] += term(c, value);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 2, 2], vec![1.0, 2.0, 10.0, 20.0, 3.0, 6.0, 30.0, 20.0]);
        assert_eq!(channel_sum(&x).data, [12.0, 80.0]);
        assert_eq!(channel_mean(&x).data, [3.0, 20.0]);
        assert_eq!(channel_variance(&x).data, [(4.0 + 1.0 + 0.0 + 9.0) / 4.0, 200.0 / 4.0]);
        assert_eq!(channel_dot(&x, &x.map(|_| 2.0)).data, [24.0, 160.0]);
        let points = Array::new(&[3, 1], vec![1.0, 2.0, 6.0]);
        assert_eq!(channel_mean(&points).data, [3.0]);
    }
}
