use crate::array::Array;
use crate::cross_entropy::shares;
use crate::softmax::{softmax, softmax_terms};

/// The derivative of `sum_n grad[n] cross_entropy(logits)[n]` with respect to the logits:
/// `output[n][c] = grad[n] (softmax(logits[n])[c] sum_i q[n][i] - q[n][c])`, q as in
/// [`cross_entropy`](crate::cross_entropy).
pub fn cross_entropy_grad(
    logits: &Array,
    labels: &[u32],
    grad: &Array,
    weight: Option<&Array>,
    smoothing: f64,
) -> Array {
    each(logits, labels, weight, smoothing, &softmax(logits, None, 1), |n, p, total, q| {
        grad.data[n] * (p * total - q)
    })
}

/// What the rounding errors of [`cross_entropy_grad`] are relative to: those of the probabilities, and the roundings of the
/// difference.
pub fn cross_entropy_grad_terms(
    logits: &Array,
    labels: &[u32],
    grad: &Array,
    weight: Option<&Array>,
    smoothing: f64,
) -> Array {
    let p = softmax(logits, None, 1);
    let mut terms = softmax_terms(logits, None, 1);
    for (terms, p) in terms.data.iter_mut().zip(&p.data) {
        *terms += 2.0 * p;
    }
    each(logits, labels, weight, smoothing, &terms, |n, terms, total, q| {
        grad.data[n].abs() * (terms * total + 2.0 * q)
    })
}

/// `f(n, x[n][c], sum_i q[n][i], q[n][c])` everywhere.
fn each(
    logits: &Array,
    labels: &[u32],
    weight: Option<&Array>,
    smoothing: f64,
    x: &Array,
    f: impl Fn(usize, f64, f64, f64) -> f64,
) -> Array {
    Array::from_fn(&logits.shape, |at| {
        let q = shares(labels[at[0]], logits.shape[1], weight, smoothing);
        f(at[0], x.at(at), q.iter().sum(), q[at[1]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cross_entropy::cross_entropy;

    #[test]
    fn as_by_differences() {
        let logits = Array::new(&[2, 3], vec![0.3, -1.2, 0.7, 2.0, 0.1, -0.4]);
        let (labels, grad) = ([2, 0], Array::new(&[2], vec![0.5, -2.0]));
        let weight = Array::new(&[3], vec![0.5, 2.0, 1.5]);
        for smoothing in [0.0, 0.2] {
            let loss = |x: &Array| {
                let rows = cross_entropy(x, &labels, Some(&weight), smoothing);
                rows.data.iter().zip(&grad.data).map(|(row, grad)| row * grad).sum::<f64>()
            };
            let made = cross_entropy_grad(&logits, &labels, &grad, Some(&weight), smoothing);
            for i in 0..6 {
                let moved = |by: f64| {
                    let mut x = logits.clone();
                    x.data[i] += by;
                    loss(&x)
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((made.data[i] - difference).abs() < 1e-9, "{} is not {difference}", made.data[i]);
            }
        }
    }
}
