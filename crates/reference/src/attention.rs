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
    mixture([q, k, v], spans, None, desc)
}

/// [`attention`] with `bias[h][clamp(j - t, -reach, reach) + reach]` added to the score of row `t` of q and row `j` of k;
/// bias is `[heads][2 * reach + 1]`, and q and k have equally many rows. T5's relative attention, once the bias is looked
/// up by its buckets.
pub fn relative_attention(
    [q, k, v]: [&Array; 3],
    spans: &[[u32; 2]],
    bias: &Array,
    desc: Attention,
) -> Array {
    mixture([q, k, v], spans, Some(bias), desc)
}

fn mixture([q, k, v]: [&Array; 3], spans: &[[u32; 2]], bias: Option<&Array>, desc: Attention) -> Array {
    heads(q, k, spans, bias, desc, |t_row, h_start, width, scores, start| {
        let (_, weights) = normalised(&scores.iter().map(|s| s.score).collect::<Vec<_>>());
        for (j, weight) in weights.iter().enumerate() {
            for d in 0..width {
                t_row[h_start + d] += weight * v.data[(start + j) * q.shape[1] + h_start + d];
            }
        }
    })
}

/// What the rounding errors of [`attention`] are relative to: `sum_j p_j |v_j| (1 + e_j + sum_i p_i e_i)`, where `e`
/// is the error of one exponential in units of the machine epsilon: the terms of its score, and its own, for which
/// WGSL allows `3 + 2|argument|`.
pub fn attention_terms(q: &Array, k: &Array, v: &Array, spans: &[[u32; 2]], desc: Attention) -> Array {
    terms([q, k, v], spans, None, desc)
}

/// The same of [`relative_attention`].
pub fn relative_attention_terms(
    [q, k, v]: [&Array; 3],
    spans: &[[u32; 2]],
    bias: &Array,
    desc: Attention,
) -> Array {
    terms([q, k, v], spans, Some(bias), desc)
}

fn terms([q, k, v]: [&Array; 3], spans: &[[u32; 2]], bias: Option<&Array>, desc: Attention) -> Array {
    heads(q, k, spans, bias, desc, |t_row, h_start, width, scores, start| {
        for (j, term) in weight_terms(scores).iter().enumerate() {
            for d in 0..width {
                t_row[h_start + d] += term * v.data[(start + j) * q.shape[1] + h_start + d].abs();
            }
        }
    })
}

/// What each row of v counts for in the terms of a mixture.
pub(crate) fn weight_terms(scores: &[Score]) -> Vec<f64> {
    let (top, weights) = normalised(&scores.iter().map(|s| s.score).collect::<Vec<_>>());
    let error = |j: usize| scores[j].terms + 2.0 * (top - scores[j].score) + 3.0;
    let common: f64 = (0..scores.len()).map(|i| weights[i] * error(i)).sum();
    weights.iter().enumerate().map(|(j, weight)| weight * (1.0 + error(j) + common)).collect()
}

/// A score and the sum of the absolute values of its terms.
pub(crate) struct Score {
    pub(crate) score: f64,
    pub(crate) terms: f64,
}

impl Score {
    /// `scale * query . key + bias`.
    pub(crate) fn new(query: &[f64], key: &[f64], scale: f64, bias: f64) -> Self {
        let mut score = Self { score: 0.0, terms: 0.0 };
        for (q, k) in query.iter().zip(key) {
            score.score += q * k;
            score.terms += (q * k).abs();
        }
        Self { score: scale * score.score + bias, terms: scale.abs() * score.terms + bias.abs() }
    }
}

/// Calls `head(output row, first column of the head, width, scores of the span, first row of the span)` for each
/// token and head whose span is not empty.
fn heads(
    q: &Array,
    k: &Array,
    spans: &[[u32; 2]],
    bias: Option<&Array>,
    desc: Attention,
    head: impl Fn(&mut [f64], usize, usize, &[Score], usize),
) -> Array {
    let (tokens, row) = (q.shape[0], q.shape[1]);
    assert_eq!(spans.len(), tokens, "a span a token");
    assert_eq!(row % desc.heads, 0, "{} heads in a row of {row}", desc.heads);
    let width = row / desc.heads;
    let bias_at = |h: usize, t: usize, j: usize| {
        bias.map_or(0.0, |bias| {
            let reach = bias.shape[1] as i64 / 2;
            let distance = (j as i64 - t as i64).clamp(-reach, reach);
            bias.data[h * bias.shape[1] + (distance + reach) as usize]
        })
    };
    let mut data = vec![0.0; tokens * row];
    for (t, span) in spans.iter().enumerate() {
        let (start, end) = (span[0] as usize, span[1] as usize);
        assert!(start <= end && end <= k.shape[0], "span {span:?} of {} rows", k.shape[0]);
        for h in 0..desc.heads {
            let mut scores = Vec::new();
            for j in start..end {
                let of = |at: usize| at * row + h * width..at * row + (h + 1) * width;
                let (query, key) = (&q.data[of(t)], &k.data[of(j)]);
                scores.push(Score::new(query, key, desc.scale, bias_at(h, t, j)));
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
    fn a_bias_by_distance_by_hand() {
        // One head, three tokens of a query of zero, so that the bias alone decides: two back or more counts 1, one back
        // 2, the token itself 4, one ahead or more 8.
        let desc = Attention { heads: 1, scale: 1.0 };
        let spans = [[0, 3]; 3];
        let [zeros, v] = [vec![0.0; 3], vec![1.0, 10.0, 100.0]].map(|x| Array::new(&[3, 1], x));
        let bias = Array::new(&[1, 5], [1.0, 2.0, 4.0, 8.0, 8.0_f64].map(f64::ln).to_vec());
        let output = relative_attention([&zeros, &zeros, &v], &spans, &bias, desc);
        let expected = [(4.0 + 80.0 + 800.0) / 20.0, (2.0 + 40.0 + 800.0) / 14.0, (1.0 + 20.0 + 400.0) / 7.0];
        for (got, expected) in output.data.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
        }
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
