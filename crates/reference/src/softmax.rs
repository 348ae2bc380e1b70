use crate::array::{Array, around, coordinate};
use crate::binary::repeated;

/// `output = exp(x + mask) / sum exp(x + mask)`, the sum along axis `dim`, as `torch.softmax`. The mask broadcasts
/// to the shape of `x`. A line whose every score is minus infinity gives NaN.
pub fn softmax(x: &Array, mask: Option<&Array>, dim: usize) -> Array {
    lines(&scores(x, mask), dim, |line| {
        let (_, weights) = normalised(line);
        weights
    })
}

/// What the rounding errors of [`softmax`] are relative to. To first order `d p_j = p_j (e_j - sum_i p_i e_i)` where
/// `e` is the relative error of one exponential in units of the machine epsilon: that of its argument's size, and its
/// own, for which WGSL allows `3 + 2|argument|`.
pub fn softmax_terms(x: &Array, mask: Option<&Array>, dim: usize) -> Array {
    lines(&scores(x, mask), dim, |line| {
        let (top, weights) = normalised(line);
        let error =
            |j: usize| if weights[j] == 0.0 { 0.0 } else { line[j].abs() + 2.0 * (top - line[j]) + 3.0 };
        let common: f64 = (0..line.len()).map(|i| weights[i] * error(i)).sum();
        (0..line.len()).map(|j| weights[j] * (error(j) + common)).collect()
    })
}

/// The largest score and the weights `exp(score - largest) / sum`.
pub(crate) fn normalised(scores: &[f64]) -> (f64, Vec<f64>) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    (top, weights.iter().map(|weight| weight / total).collect())
}

fn scores(x: &Array, mask: Option<&Array>) -> Array {
    let Some(mask) = mask else { return x.clone() };
    let data = x
        .data
        .iter()
        .enumerate()
        .map(|(flat, x_i)| x_i + repeated(mask, &coordinate(&x.shape, flat)))
        .collect();
    Array::new(&x.shape, data)
}

fn lines(x: &Array, dim: usize, line: impl Fn(&[f64]) -> Vec<f64>) -> Array {
    let (before, extent, after) = around(&x.shape, dim);
    let mut data = vec![0.0; x.data.len()];
    for outer in 0..before {
        for inner in 0..after {
            let at = |i: usize| (outer * extent + i) * after + inner;
            let values: Vec<f64> = (0..extent).map(|i| x.data[at(i)]).collect();
            for (i, value) in line(&values).into_iter().enumerate() {
                data[at(i)] = value;
            }
        }
    }
    Array::new(&x.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LN_2: f64 = std::f64::consts::LN_2;

    fn assert_close(got: &Array, expected: &[f64]) {
        assert_eq!(got.data.len(), expected.len());
        for (got, expected) in got.data.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{got} is not {expected}");
        }
    }

    #[test]
    fn by_hand_over_either_axis() {
        let x = Array::new(&[2, 2], vec![0.0, LN_2, 0.0, 0.0]);
        assert_close(&softmax(&x, None, 1), &[1.0 / 3.0, 2.0 / 3.0, 0.5, 0.5]);
        assert_close(&softmax(&x, None, 0), &[0.5, 2.0 / 3.0, 0.5, 1.0 / 3.0]);
    }

    #[test]
    fn the_mask_is_added_and_broadcast() {
        let x = Array::new(&[2, 3], vec![0.0, 5.0, LN_2, 0.0, 7.0, 0.0]);
        let mask = Array::new(&[3], vec![0.0, f64::NEG_INFINITY, 0.0]);
        assert_close(&softmax(&x, Some(&mask), 1), &[1.0 / 3.0, 0.0, 2.0 / 3.0, 0.5, 0.0, 0.5]);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let x = Array::new(&[2], vec![1e6, 1e6 + LN_2]);
        assert!((softmax(&x, None, 0).data[0] - 1.0 / 3.0).abs() < 1e-10);
    }

    #[test]
    fn nan_and_a_line_masked_whole_give_nan() {
        let nan = Array::new(&[2], vec![f64::NAN, 1.0]);
        assert!(softmax(&nan, None, 0).data.iter().all(|x| x.is_nan()));
        let x = Array::new(&[2], vec![0.0, 1.0]);
        let mask = Array::new(&[], vec![f64::NEG_INFINITY]);
        assert!(softmax(&x, Some(&mask), 0).data.iter().all(|x| x.is_nan()));
    }
}
