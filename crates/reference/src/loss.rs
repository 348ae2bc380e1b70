//! The losses that are composed of other ops, as `torch.nn.functional` defines them with `reduction="none"`.

use crate::array::Array;

/// `-weight[labels[n]] log_probabilities[n][labels[n]]`: `nll_loss`. A label that is no class gives NaN.
pub fn nll_loss(log_probabilities: &Array, labels: &[u32], weight: Option<&Array>) -> Array {
    let own = label_weights(labels, weight, log_probabilities.shape[1]);
    Array::from_fn(&log_probabilities.shape[..1], |at| match labels[at[0]] as usize {
        label if label < log_probabilities.shape[1] => {
            -own.data[at[0]] * log_probabilities.at(&[at[0], label])
        }
        _ => f64::NAN,
    })
}

/// The weight of each label, 1 where there are no weights, and NaN for a label that is no class: what the mean of losses
/// with class weights is divided by, once summed.
pub fn label_weights(labels: &[u32], weight: Option<&Array>, classes: usize) -> Array {
    let own = |&label: &u32| match (label as usize, weight) {
        (label, _) if label >= classes => f64::NAN,
        (label, Some(weight)) => weight.data[label],
        (_, None) => 1.0,
    };
    Array::new(&[labels.len()], labels.iter().map(own).collect())
}

/// `(x - target)^2`: `mse_loss`.
pub fn mse_loss(x: &Array, target: &Array) -> Array {
    elementwise(x, target, |x, t| (x - t) * (x - t))
}

/// `|x - target|`: `l1_loss`.
pub fn l1_loss(x: &Array, target: &Array) -> Array {
    elementwise(x, target, |x, t| (x - t).abs())
}

/// With `d = |x - target|`, `d^2 / (2 beta)` where `d < beta`, else `d - beta / 2`: `smooth_l1_loss`.
pub fn smooth_l1_loss(x: &Array, target: &Array, beta: f64) -> Array {
    elementwise(x, target, |x, t| {
        let d = (x - t).abs();
        if d < beta { d * d / (2.0 * beta) } else { d - beta / 2.0 }
    })
}

/// `-(pos_weight t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x)))`: `binary_cross_entropy_with_logits`. The positive
/// weight is of the last dimension, and 1 where there is none.
pub fn bce_with_logits(x: &Array, target: &Array, pos_weight: Option<&Array>) -> Array {
    assert_eq!(x.shape, target.shape, "a target for each element");
    let last = x.shape.last().copied().unwrap_or(1);
    // log(1 + e^x), of which no part overflows.
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let loss = |i: usize| {
        let (x, t) = (x.data[i], target.data[i]);
        let positive = pos_weight.map_or(1.0, |weight| weight.data[i % last]);
        positive * t * softplus(-x) + (1.0 - t) * softplus(x)
    };
    Array::new(&x.shape, (0..x.data.len()).map(loss).collect())
}

/// `sum over c beside labels[n] of weight[labels[n]] max(0, margin - x[n][labels[n]] + x[n][c])^p / C`:
/// `multi_margin_loss`. A label that is no class gives NaN.
pub fn multi_margin_loss(x: &Array, labels: &[u32], p: i32, margin: f64, weight: Option<&Array>) -> Array {
    let classes = x.shape[1];
    let own = label_weights(labels, weight, classes);
    Array::from_fn(&x.shape[..1], |at| {
        let (n, label) = (at[0], labels[at[0]] as usize);
        if label >= classes {
            return f64::NAN;
        }
        let hinge = |c: usize| (margin - x.at(&[n, label]) + x.at(&[n, c])).max(0.0).powi(p);
        let sum: f64 = (0..classes).filter(|&c| c != label).map(hinge).sum();
        own.data[n] * sum / classes as f64
    })
}

fn elementwise(x: &Array, target: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    assert_eq!(x.shape, target.shape, "a target for each element");
    Array::new(&x.shape, x.data.iter().zip(&target.data).map(|(&x, &t)| f(x, t)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(data: &[f64]) -> Array {
        Array::new(&[1, data.len()], data.to_vec())
    }

    #[test]
    fn by_hand() {
        let (x, target) = (row(&[1.0, 2.0, -4.0]), row(&[1.5, 0.0, 0.0]));
        assert_eq!(mse_loss(&x, &target).data, [0.25, 4.0, 16.0]);
        assert_eq!(l1_loss(&x, &target).data, [0.5, 2.0, 4.0]);
        assert_eq!(smooth_l1_loss(&x, &target, 1.0).data, [0.125, 1.5, 3.5]);
        let weight = Array::new(&[3], vec![2.0, 3.0, 5.0]);
        assert_eq!(nll_loss(&x, &[1], Some(&weight)).data, [-6.0]);
        assert!(nll_loss(&x, &[3], None).data[0].is_nan());
    }

    #[test]
    fn hinges_by_hand() {
        let x = row(&[1.0, 1.5, -4.0]);
        assert_eq!(multi_margin_loss(&x, &[0], 1, 1.0, None).data, [0.5]);
        assert_eq!(multi_margin_loss(&x, &[0], 2, 1.0, None).data, [0.75]);
        let weight = Array::new(&[3], vec![2.0, 1.0, 1.0]);
        assert_eq!(multi_margin_loss(&x, &[0], 2, 1.0, Some(&weight)).data, [1.5]);
    }

    #[test]
    fn binary_cross_entropy_by_hand() {
        let (x, target) = (row(&[0.0, 0.0, 800.0, -800.0]), row(&[1.0, 0.0, 0.0, 0.0]));
        let pos_weight = Array::new(&[4], vec![3.0; 4]);
        let ln_2 = std::f64::consts::LN_2;
        assert_eq!(bce_with_logits(&x, &target, Some(&pos_weight)).data, [3.0 * ln_2, ln_2, 800.0, 0.0]);
    }
}
