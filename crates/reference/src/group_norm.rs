use crate::array::Array;

/// `output[n][c][..] = (x[n][c][..] - mean) / sqrt(variance + eps) * weight[c] + bias[c]` with the mean and the biased
/// variance of image `n` over the neighbouring channels that make up the group of `c`, as
/// `torch.nn.functional.group_norm`; with as many groups as channels, `instance_norm`.
pub fn group_norm(x: &Array, groups: usize, weight: &Array, bias: &Array, eps: f64) -> Array {
    by_group(x, groups, eps, |value, group, c| {
        (value - group.mean) / group.deviation * weight.data[c] + bias.data[c]
    })
}

/// What the rounding errors of [`group_norm`] are relative to: both terms of the difference, scaled as the result, and
/// the bias.
pub fn group_norm_terms(x: &Array, groups: usize, weight: &Array, bias: &Array, eps: f64) -> Array {
    by_group(x, groups, eps, |value, group, c| {
        (value.abs() + group.mean_abs) / group.deviation * weight.data[c].abs() + bias.data[c].abs()
    })
}

struct Group {
    mean: f64,
    mean_abs: f64,
    deviation: f64,
}

fn by_group(x: &Array, groups: usize, eps: f64, element: impl Fn(f64, &Group, usize) -> f64) -> Array {
    let (images, channels) = (x.shape[0], x.shape[1]);
    assert_eq!(channels % groups, 0, "{groups} groups do not divide {channels} channels");
    let inner: usize = x.shape[2..].iter().product();
    let size = channels / groups * inner;
    let mut data = Vec::with_capacity(x.data.len());
    for image in 0..images {
        for group in 0..groups {
            let start = (image * groups + group) * size;
            let values = &x.data[start..start + size];
            let mean_of = |f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>() / size as f64;
            let mean = mean_of(&|v| v);
            let variance = mean_of(&|v| (v - mean) * (v - mean));
            let own = Group { mean, mean_abs: mean_of(&f64::abs), deviation: (variance + eps).sqrt() };
            for (i, &value) in values.iter().enumerate() {
                data.push(element(value, &own, group * (channels / groups) + i / inner));
            }
        }
    }
    Array::new(&x.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Two groups of two channels; means 2.5 and 0, variances 1.25 and 4.
        let x = Array::new(&[1, 4, 2], vec![1.0, 2.0, 3.0, 4.0, 2.0, -2.0, 2.0, -2.0]);
        let weight = Array::new(&[4], vec![1.0, 2.0, 3.0, 4.0]);
        let bias = Array::new(&[4], vec![0.0, 10.0, 20.0, 30.0]);
        let output = group_norm(&x, 2, &weight, &bias, 0.0);
        let s = 1.25f64.sqrt();
        let expected = [-1.5 / s, -0.5 / s, 10.0 + 1.0 / s, 10.0 + 3.0 / s, 23.0, 17.0, 34.0, 26.0];
        for (got, expected) in output.data.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-14, "{got} is not {expected}");
        }
        let terms = group_norm_terms(&x, 2, &weight, &bias, 0.0);
        assert_eq!(terms.data[4..], [26.0, 26.0, 38.0, 38.0]);
        // A channel a group: the planes of one mean and deviation.
        let planes = group_norm(&x, 4, &weight, &bias, 0.0);
        assert_eq!(planes.data[..4], [-1.0, 1.0, 8.0, 12.0]);
    }
}
