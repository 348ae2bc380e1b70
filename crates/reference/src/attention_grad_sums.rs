use crate::array::Array;
use crate::attention::Attention;
use crate::softmax::normalised;

/// What the gradients of an attention need of each token and head, `[T][heads][2]`: the logarithm of the sum of the
/// exponentials of its scores, and the dot product of `grad` and `output`, its row of the result's gradient and of the
/// result. A token whose span is empty has a logarithm of 0.
pub fn attention_grad_sums(
    q: &Array,
    k: &Array,
    spans: &[[u32; 2]],
    output: &Array,
    grad: &Array,
    desc: Attention,
) -> Array {
    Array::from_fn(&[q.shape[0], desc.heads, 2], |at| {
        let row = Row::new(q, k, spans[at[0]], desc, at[0], at[1]);
        match at[2] {
            0 => row.log_sum(),
            _ => row.dot(q, output, grad).0,
        }
    })
}

/// What the rounding errors of [`attention_grad_sums`] are relative to: for the logarithm its own size, that of the
/// scores, and their errors in the mean of the row; for the product the sum of its absolute terms.
pub fn attention_grad_sums_terms(
    q: &Array,
    k: &Array,
    spans: &[[u32; 2]],
    output: &Array,
    grad: &Array,
    desc: Attention,
) -> Array {
    Array::from_fn(&[q.shape[0], desc.heads, 2], |at| {
        let row = Row::new(q, k, spans[at[0]], desc, at[0], at[1]);
        match at[2] {
            0 => row.log_error(),
            _ => row.dot(q, output, grad).1,
        }
    })
}

/// One token of one head, and the rows that it attends to.
pub(crate) struct Row {
    token: usize,
    /// Columns of the head.
    columns: std::ops::Range<usize>,
    /// The first row that is attended to.
    pub(crate) first: usize,
    pub(crate) scores: Vec<f64>,
    /// The sums of the absolute values of the scores' terms.
    terms: Vec<f64>,
    /// The softmax of the scores.
    pub(crate) weights: Vec<f64>,
}

impl Row {
    pub(crate) fn new(
        q: &Array,
        k: &Array,
        span: [u32; 2],
        desc: Attention,
        token: usize,
        head: usize,
    ) -> Row {
        let width = q.shape[1];
        let head_dim = width / desc.heads;
        let columns = head * head_dim..(head + 1) * head_dim;
        let (start, end) = (span[0] as usize, span[1] as usize);
        let product = |j: usize, of: fn(f64) -> f64| -> f64 {
            columns.clone().map(|d| of(q.data[token * width + d] * k.data[j * width + d])).sum()
        };
        let scores: Vec<f64> = (start..end).map(|j| desc.scale * product(j, |term| term)).collect();
        let terms = (start..end).map(|j| desc.scale.abs() * product(j, f64::abs)).collect();
        let weights = normalised(&scores).1;
        Row { token, columns, first: start, scores, terms, weights }
    }

    pub(crate) fn columns(&self) -> std::ops::Range<usize> {
        self.columns.clone()
    }

    /// `log(sum exp(score))`, or 0 without scores.
    pub(crate) fn log_sum(&self) -> f64 {
        let Some(top) = self.scores.iter().copied().reduce(f64::max) else { return 0.0 };
        top + self.scores.iter().map(|score| (score - top).exp()).sum::<f64>().ln()
    }

    /// The error of [`Row::log_sum`] in units of the machine epsilon: of an exponential WGSL allows `3 + 2|argument|`.
    pub(crate) fn log_error(&self) -> f64 {
        let top = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts = self.scores.iter().zip(&self.terms).zip(&self.weights);
        let common: f64 = parts.map(|((s, terms), w)| w * (terms + 2.0 * (top - s) + 3.0)).sum();
        if self.scores.is_empty() { 0.0 } else { self.log_sum().abs() + top.abs() + common + 4.0 }
    }

    /// The relative error of `exp(score - log_sum)` in the same units.
    pub(crate) fn weight_error(&self, j: usize) -> f64 {
        self.terms[j] + 2.0 * (self.scores[j] - self.log_sum()).abs() + 3.0 + self.log_error()
    }

    /// The dot product of this row of two tensors like q, and the sum of its absolute terms.
    pub(crate) fn dot(&self, q: &Array, a: &Array, b: &Array) -> (f64, f64) {
        let at = self.token * q.shape[1];
        let terms = self.columns().map(|d| a.data[at + d] * b.data[at + d]);
        (terms.clone().sum(), terms.map(f64::abs).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Two heads of width one; the second token attends to nothing.
        let desc = Attention { heads: 2, scale: 2.0 };
        let spans = [[0, 2], [1, 1]];
        let q = Array::new(&[2, 2], vec![1.0, 0.5, 9.0, 9.0]);
        let k = Array::new(&[2, 2], vec![0.0, 3.0, 0.5, 3.0]);
        let output = Array::new(&[2, 2], vec![2.0, 3.0, 4.0, 5.0]);
        let grad = Array::new(&[2, 2], vec![-1.0, 10.0, 100.0, 1000.0]);
        let sums = attention_grad_sums(&q, &k, &spans, &output, &grad, desc);
        let expected = [(1.0 + 1f64.exp()).ln(), -2.0, 3.0 + 2f64.ln(), 30.0, 0.0, 400.0, 0.0, 5000.0];
        assert_eq!(sums.shape, [2, 2, 2]);
        for (got, expected) in sums.data.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-13, "{got} is not {expected}");
        }
        let terms = attention_grad_sums_terms(&q, &k, &spans, &output, &grad, desc);
        assert!(terms.data.iter().zip(&sums.data).all(|(terms, sum)| *terms >= sum.abs()));
    }
}
