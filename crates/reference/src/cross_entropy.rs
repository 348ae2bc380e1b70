use crate::array::Array;
use crate::softmax::{log_softmax, log_softmax_terms};

/// `output[n] = -sum_c q[n][c] log_softmax(logits[n])[c]` as `torch.nn.functional.cross_entropy` with
/// `reduction="none"`: `q[n][c] = weight[c] ((1 - smoothing) [c = labels[n]] + smoothing / C)`. The logits are `[N, C]`,
/// the weights `[C]` and 1 where there are none. A label that is no class gives NaN.
pub fn cross_entropy(logits: &Array, labels: &[u32], weight: Option<&Array>, smoothing: f64) -> Array {
    weighted(&log_softmax(logits, None, 1).map(|log| -log), labels, weight, smoothing)
}

/// What the rounding errors of [`cross_entropy`] are relative to: those of the logarithms, each with its share.
pub fn cross_entropy_terms(logits: &Array, labels: &[u32], weight: Option<&Array>, smoothing: f64) -> Array {
    weighted(&log_softmax_terms(logits, None, 1), labels, weight, smoothing)
}

/// `sum_c q[n][c] x[n][c]`, leaving out what counts nothing, were it infinite.
fn weighted(x: &Array, labels: &[u32], weight: Option<&Array>, smoothing: f64) -> Array {
    Array::from_fn(&x.shape[..1], |at| {
        let q = shares(labels[at[0]], x.shape[1], weight, smoothing);
        let terms = q.iter().enumerate().filter(|(_, q)| **q != 0.0);
        terms.map(|(c, q)| q * x.at(&[at[0], c])).sum()
    })
}

/// The target of one row: NaN for a label that is no class.
pub(crate) fn shares(label: u32, classes: usize, weight: Option<&Array>, smoothing: f64) -> Vec<f64> {
    let label = label as usize;
    let share = |c: usize| {
        let hit = if label >= classes { f64::NAN } else { f64::from(u8::from(c == label)) };
        weight.map_or(1.0, |weight| weight.data[c]) * ((1.0 - smoothing) * hit + smoothing / classes as f64)
    };
    (0..classes).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LN_2: f64 = std::f64::consts::LN_2;

    /// A row whose probabilities are 1/4 and 3/4.
    fn logits() -> Array {
        Array::new(&[1, 2], vec![0.0, 3f64.ln()])
    }

    fn assert_close(got: &Array, expected: f64) {
        assert!((got.data[0] - expected).abs() < 1e-15, "{got:?} is not {expected}");
    }

    #[test]
    fn by_hand() {
        assert_close(&cross_entropy(&logits(), &[0], None, 0.0), 2.0 * LN_2);
        assert_close(&cross_entropy(&logits(), &[1], None, 0.0), -(0.75f64.ln()));
        let weight = Array::new(&[2], vec![3.0, 5.0]);
        assert_close(&cross_entropy(&logits(), &[0], Some(&weight), 0.0), 6.0 * LN_2);
    }

    #[test]
    fn smoothing_shares_the_target() {
        let expected = 0.9 * 2.0 * LN_2 + 0.1 * (2.0 * LN_2 - 0.75f64.ln()) / 2.0;
        assert_close(&cross_entropy(&logits(), &[0], None, 0.1), expected);
    }

    #[test]
    fn a_label_that_is_no_class_is_nan() {
        assert!(cross_entropy(&logits(), &[2], None, 0.0).data[0].is_nan());
    }
}
