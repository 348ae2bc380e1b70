use crate::array::Array;
use crate::softmax::normalised;

/// What an attention is made of, apart from its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Number of heads; head `h` is columns `h * width..(h + 1) * width`, where `width` is the row over the heads.
    pub heads: usize,
    /// What the scores are multiplied by, usually `1 / sqrt(width)`.
    pub scale: f64,
}

/// Attention over sequences packed into one tensor without padding.
///
/// `q`, `k`, `v` are `[T][heads * width]`. Token `t` attends to the rows `spans[t][0]..spans[t][1]` of `k` and `v`:
/// `output[t][h] = sum_j softmax_j(scale * q[t][h] . k[j][h]) v[j][h]`, as
/// `torch.nn.functional.scaled_dot_product_attention` gives for each sequence alone. An empty span gives zeros.
pub fn attention(q: &Array, k: &Array, v: &Array, spans: &[[u32; 2]], desc: Attention) -> Array {
    heads(q, k, spans, desc, |t_row, h_start, width, scores, start| {
        let (_, weights) = normalised(&scores.iter().map(|s| s.score).collect::<Vec<_>>());
        for (j, weight) in weights.iter().enumerate() {
            for d in 0..width {
                t_row[h_start + d] += weight * v.data[(start + j) * q.shape[1] + h_start + d];
            }
        }
    })
}

/// What the rounding errors of [`attention`] are relative to: `sum_j p_j |v_j| (1 + e_j + sum_i p_i e_i)`, where `e`
/// is the error of one exponential in units of the machine epsilon: the terms of its dot product, and its own, for which
/// WGSL allows `3 + 2|argument|`.
pub fn attention_terms(q: &Array, k: &Array, v: &Array, spans: &[[u32; 2]], desc: Attention) -> Array {
    heads(q, k, spans, desc, |t_row, h_start, width, scores, start| {
        let (top, weights) = normalised(&scores.iter().map(|s| s.score).collect::<Vec<_>>());
        let error = |j: usize| scores[j].terms + 2.0 * (top - scores[j].score) + 3.0;
        let common: f64 = (0..scores.len()).map(|i| weights[i] * error(i)).sum();
        for (j, weight) in weights.iter().enumerate() {
            for d in 0..width {
                let value = v.data[(start + j) * q.shape[1] + h_start + d].abs();
                t_row[h_start + d] += weight * value * (1.0 + error(j) + common);
            }
        }
    })
}

/// A score and the sum of the absolute values of its terms.
struct Score {
    score: f64,
    terms: f64,
}

/// Calls `head(output row, first column of the head, width, scores of the span, first row of the span)` for each
/// token and head whose span is not empty.
fn heads(
    q: &Array,
    k: &Array,
    spans: &[[u32; 2]],
    desc: Attention,
    head: impl Fn(&mut [f64], usize, usize, &[Score], usize),
) -> Array {
    let (tokens, row) = (q.shape[0], q.shape[1]);
    assert_eq!(spans.len(), tokens, "a span a token");
    assert_eq!(row % desc.heads, 0, "{} heads in a row of {row}", desc.heads);
    let width = row / desc.heads;
    let mut data = vec![0.0; tokens * row];
    for (t, span) in spans.iter().enumerate() {
        let (start, end) = (span[0] as usize, span[1] as usize);
        assert!(start <= end && end <= k.shape[0], "span {span:?} of {} rows", k.shape[0]);
        for h in 0..desc.heads {
            let mut scores = Vec::new();
            for j in start..end {
                let mut score = Score { score: 0.0, terms: 0.0 };
                for d in h * width..(h + 1) * width {
                    let term = q.data[t * row + d] * k.data[j * row + d];
                    score.score += term;
                    score.terms += term.abs();
                }
                score.score *= desc.scale;
                score.terms *= desc.scale.abs();
                scores.push(score);
            }
            if !scores.is_empty() {
                head(&mut data[t * row..(t + 1) * row], h * width, width, &scores, start);
            }
        }
    }
    Array::new(&q.shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LN_2: f64 = std::f64::consts::LN_2;

    #[test]
    fn by_hand() {
        // Two heads of width one. Tokens 0 and 1 are one sequence, token 2 another, token 3 is padding.
        let desc = Attention { heads: 2, scale: 2.0 };
        let spans = [[0, 2], [0, 2], [2, 3], [0, 0]];
        let q = Array::new(&[4, 2], vec![1.0, 0.0, 0.0, 0.5, 9.0, 9.0, 9.0, 9.0]);
        let k = Array::new(&[4, 2], vec![0.0, LN_2, LN_2 / 2.0, 0.0, 9.0, 9.0, 9.0, 9.0]);
        let v = Array::new(&[4, 2], vec![3.0, 30.0, 6.0, 60.0, 7.0, 70.0, 8.0, 80.0]);
        // Token 0: head 0 weighs 1:2, head 1 weighs 1:1. Token 1: head 0 weighs 1:1, head 1 weighs 2:1.
        let expected = [5.0, 45.0, 4.5, 40.0, 7.0, 70.0, 0.0, 0.0];
        let output = attention(&q, &k, &v, &spans, desc);
        for (got, expected) in output.data.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-13, "{got} is not {expected}");
        }
        let terms = attention_terms(&q, &k, &v, &spans, desc);
        assert!(terms.data.iter().zip(&output.data).all(|(terms, output)| terms >= output));
    }

    #[test]
    fn nan_reaches_its_own_sequence_alone() {
        let desc = Attention { heads: 1, scale: 1.0 };
        let spans = [[0, 2], [0, 2], [2, 3]];
        let x = Array::new(&[3, 1], vec![1.0, f64::NAN, 2.0]);
        let ones = Array::new(&[3, 1], vec![1.0; 3]);
        let output = attention(&ones, &x, &ones, &spans, desc);
        assert!(output.data[0].is_nan() && output.data[1].is_nan());
        assert_eq!(output.data[2], 1.0);
    }
}
