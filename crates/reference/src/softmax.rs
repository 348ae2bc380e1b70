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

/// `output = x + mask - log(sum exp(x + mask))`, the sum along axis `dim`, as `torch.log_softmax`. The mask broadcasts to
/// the shape of `x`. A line whose every score is minus infinity gives NaN.
pub fn log_softmax(x: &Array, mask: Option<&Array>, dim: usize) -> Array {
    lines(&scores(x, mask), dim, |line| {
        let top = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = line.iter().map(|score| (score - top).exp()).sum();
        line.iter().map(|score| score - top - total.ln()).collect()
    })
}

/// What the rounding errors of [`log_softmax`] are relative to. The difference from the largest score is rounded, as the
/// scores are; the logarithm of the sum carries its own relative error, and that of each exponential weighted with its
/// share of the sum, as [`softmax_terms`] has it.
pub fn log_softmax_terms(x: &Array, mask: Option<&Array>, dim: usize) -> Array {
    lines(&scores(x, mask), dim, |line| {
        let (top, weights) = normalised(line);
        let total: f64 = line.iter().map(|score| (score - top).exp()).sum();
        let common: f64 = line.iter().zip(&weights).map(|(&score, &weight)| weight * error(score, top)).sum();
        line.iter().map(|score| score.abs() + (score - top).abs() + total.ln() + common + 1.0).collect()
    })
}

/// The error of `exp(score - top)` in units of the machine epsilon of its size; a weight of 0 has none.
fn error(score: f64, top: f64) -> f64 {
    if (score - top).exp() == 0.0 { 0.0 } else { score.abs() + 2.0 * (top - score) + 3.0 }
}

/// What the rounding errors of [`softmax`] are relative to. To first order `d p_j = p_j (e_j - sum_i p_i e_i)` where
/// `e` is the relative error of one exponential in units of the machine epsilon: that of its argument's size, and its
/// own, for which WGSL allows `3 + 2|argument|`.
pub fn softmax_terms(x: &Array, mask: Option<&Array>, dim: usize) -> Array {
    lines(&scores(x, mask), dim, |line| {
        let (top, weights) = normalised(line);
        let common: f64 = (0..line.len()).map(|i| weights[i] * error(line[i], top)).sum();
        (0..line.len()).map(|j| weights[j] * (error(line[j], top) + common)).collect()
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
        assert_close(&log_softmax(&x, None, 1), &[-3f64.ln(), LN_2 - 3f64.ln(), -LN_2, -LN_2]);
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
        assert!((log_softmax(&x, None, 0).data[0] + 3f64.ln()).abs() < 1e-10);
        // Where the softmax is 0 in any precision the logarithm is still a number.
        let far = Array::new(&[2], vec![0.0, 5000.0]);
        assert_close(&log_softmax(&far, None, 0), &[-5000.0, 0.0]);
    }

    #[test]
    fn nan_and_a_line_masked_whole_give_nan() {
        let nan = Array::new(&[2], vec![f64::NAN, 1.0]);
        assert!(softmax(&nan, None, 0).data.iter().all(|x| x.is_nan()));
        assert!(log_softmax(&nan, None, 0).data.iter().all(|x| x.is_nan()));
        let x = Array::new(&[2], vec![0.0, 1.0]);
        let mask = Array::new(&[], vec![f64::NEG_INFINITY]);
        assert!(softmax(&x, Some(&mask), 0).data.iter().all(|x| x.is_nan()));
        assert!(log_softmax(&x, Some(&mask), 0).data.iter().all(|x| x.is_nan()));
    }
}
