use crate::array::Array;
use crate::attention::{Attention, attention, attention_terms};
use crate::attention_grad_sums::Row;

/// The gradients of [`attention`] by q, k and v, where `grad` is that of its result.
///
/// For each token and head with weights `p` the chain rule goes through the result, `d v[j] += p[j] grad`; through the
/// softmax, whose derivative is `d p[j] / d s[i] = p[j] ((i = j) - p[i])`; and through the scores, `s[j] = scale q . k[j]`.
pub fn attention_grad(
    q: &Array,
    k: &Array,
    v: &Array,
    spans: &[[u32; 2]],
    grad: &Array,
    desc: Attention,
) -> [Array; 3] {
    let mut made = Made::new(q, k);
    for_each_row(q, k, spans, desc, |t, row| {
        let of_weights: Vec<f64> = products(row, q, v, grad, t).into_iter().map(|(sum, _)| sum).collect();
        let mean: f64 = of_weights.iter().zip(&row.weights).map(|(d, p)| d * p).sum();
        for (i, &p) in row.weights.iter().enumerate() {
            made.add(row, t, i, q, k, grad, [desc.scale * p * (of_weights[i] - mean), p], |x| x);
        }
    });
    made.0
}

/// What the rounding errors of [`attention_grad`] are relative to, where the kernels take a weight as
/// `exp(score - log_sum)` and the mean of the weights' derivatives as the dot product of `grad` and the result.
pub fn attention_grad_terms(
    q: &Array,
    k: &Array,
    v: &Array,
    spans: &[[u32; 2]],
    grad: &Array,
    desc: Attention,
) -> [Array; 3] {
    let output = attention(q, k, v, spans, desc);
    let output_terms = attention_terms(q, k, v, spans, desc);
    let mut made = Made::new(q, k);
    for_each_row(q, k, spans, desc, |t, row| {
        let of_weights = products(row, q, v, grad, t);
        let (mean, mean_terms) = row.dot(q, grad, &output);
        let mean_error = mean_terms + row.dot(q, grad, &output_terms).1;
        for (i, &p) in row.weights.iter().enumerate() {
            let (product, terms) = of_weights[i];
            let error = 1.0 + row.weight_error(i);
            let of_score = desc.scale.abs() * p * ((product - mean).abs() * error + terms + mean_error);
            made.add(row, t, i, q, k, grad, [of_score, p * error], f64::abs);
        }
    });
    made.0
}

/// Calls `each(token, row)` for every token of every head.
fn for_each_row(
    q: &Array,
    k: &Array,
    spans: &[[u32; 2]],
    desc: Attention,
    mut each: impl FnMut(usize, &Row),
) {
    for (t, &span) in spans.iter().enumerate() {
        for h in 0..desc.heads {
            each(t, &Row::new(q, k, span, desc, t, h));
        }
    }
}

/// The derivatives by the weights of a row, `grad . v[j]`, each with the sum of its absolute terms.
fn products(row: &Row, q: &Array, v: &Array, grad: &Array, t: usize) -> Vec<(f64, f64)> {
    let width = q.shape[1];
    let product = |i: usize| {
        let terms = row.columns().map(|d| grad.data[t * width + d] * v.data[(row.first + i) * width + d]);
        (terms.clone().sum(), terms.map(f64::abs).sum())
    };
    (0..row.weights.len()).map(product).collect()
}

/// The three gradients while they are added up.
struct Made([Array; 3]);

impl Made {
    fn new(q: &Array, k: &Array) -> Made {
        Made([q, k, k].map(|like| like.map(|_| 0.0)))
    }

    /// What the i-th row that a token attends to adds: the derivative by its score to q and k, its weight to v.
    #[expect(clippy::too_many_arguments, reason = "the oracle's tensors stay apart, as in the formula")]
    fn add(
        &mut self,
        row: &Row,
        t: usize,
        i: usize,
        q: &Array,
        k: &Array,
        grad: &Array,
        [of_score, weight]: [f64; 2],
        part: fn(f64) -> f64,
    ) {
        let (width, j) = (q.shape[1], row.first + i);
        for d in row.columns() {
            self.0[0].data[t * width + d] += of_score * part(k.data[j * width + d]);
            self.0[1].data[j * width + d] += of_score * part(q.data[t * width + d]);
            self.0[2].data[j * width + d] += weight * part(grad.data[t * width + d]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two heads, overlapping spans, a token without any, and a row that nobody attends to.
    #[test]
    fn as_finite_differences_of_the_attention() {
        let number = |seed: usize| (seed as f64 * 1.7).sin();
        let array =
            |rows: usize, start: usize| Array::from_fn(&[rows, 4], |at| number(start + 4 * at[0] + at[1]));
        let spans = [[0, 3], [1, 4], [2, 2]];
        let desc = Attention { heads: 2, scale: 0.6 };
        let points = [array(3, 1), array(5, 100), array(5, 200)];
        let grad = array(3, 300);
        let loss = |[q, k, v]: &[Array; 3]| -> f64 {
            let output = attention(q, k, v, &spans, desc);
            output.data.iter().zip(&grad.data).map(|(y, g)| y * g).sum()
        };
        let [q, k, v] = &points;
        let gradients = attention_grad(q, k, v, &spans, &grad, desc);
        for (operand, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.shape, points[operand].shape);
            for element in 0..gradient.data.len() {
                let mut moved = points.clone();
                moved[operand].data[element] += 1e-6;
                let above = loss(&moved);
                moved[operand].data[element] -= 2e-6;
                let difference = (above - loss(&moved)) / 2e-6;
                let got = gradient.data[element];
                assert!((got - difference).abs() < 1e-8, "{element} of {operand}: {got}, not {difference}");
            }
        }
        let terms = attention_grad_terms(q, k, v, &spans, &grad, desc);
        for (terms, gradient) in terms.iter().zip(&gradients) {
            assert!(terms.data.iter().zip(&gradient.data).all(|(terms, value)| *terms >= value.abs()));
        }
        // The fourth value of k and v is attended to, the fifth is not.
        assert!(gradients[1].data[16..].iter().all(|&x| x == 0.0) && gradients[2].data[12] != 0.0);
    }
}
