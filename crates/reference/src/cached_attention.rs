use crate::array::Array;
use crate::attention::{Attention, Score, weight_terms};
use crate::softmax::normalised;

/// A step of decoding with a cache of keys and values.
///
/// Row `r` of `qkv`, `[rows][3 * inner]`, is the query, key and value of a new token; `cache` is `[slots][2 * inner]`, keys
/// and values; `past[r]` are the slots of the tokens behind it, in order. The new token attends to those and to itself,
/// with `bias[h][min(distance, reach)]` added to the score of a token so many positions back; `bias` is
/// `[heads][reach + 1]`. Gives `[rows][inner]`: what [`attention`](crate::attention) gives for the last token of the whole
/// sequence.
pub fn cached_attention(
    qkv: &Array,
    cache: &Array,
    past: &[Vec<usize>],
    bias: &Array,
    desc: Attention,
) -> Array {
    heads(
        qkv,
        cache,
        past,
        bias,
        desc,
        |scores| normalised(&scores.iter().map(|s| s.score).collect::<Vec<_>>()).1,
        |value| value,
    )
}

/// What the rounding errors of [`cached_attention`] are relative to, as
/// [`attention_terms`](crate::attention_terms) has it.
pub fn cached_attention_terms(
    qkv: &Array,
    cache: &Array,
    past: &[Vec<usize>],
    bias: &Array,
    desc: Attention,
) -> Array {
    heads(qkv, cache, past, bias, desc, weight_terms, f64::abs)
}

/// The values of each head, each passed through `value`, mixed by what `weights` makes of their scores.
fn heads(
    qkv: &Array,
    cache: &Array,
    past: &[Vec<usize>],
    bias: &Array,
    desc: Attention,
    weights: impl Fn(&[Score]) -> Vec<f64>,
    value: impl Fn(f64) -> f64,
) -> Array {
    let (rows, inner, reach) = (qkv.shape[0], qkv.shape[1] / 3, bias.shape[1] - 1);
    assert_eq!(past.len(), rows, "the past of each row");
    assert_eq!(cache.shape[1], 2 * inner, "a key and a value in each slot");
    assert_eq!(bias.shape[0], desc.heads, "a bias for each head");
    let width = inner / desc.heads;
    let mut data = vec![0.0; rows * inner];
    for (r, past) in past.iter().enumerate() {
        let new = &qkv.data[r * 3 * inner..(r + 1) * 3 * inner];
        let slots = past.iter().map(|slot| &cache.data[slot * 2 * inner..(slot + 1) * 2 * inner]);
        let seen: Vec<&[f64]> = slots.chain([&new[inner..]]).collect();
        for h in 0..desc.heads {
            let head = h * width..(h + 1) * width;
            let score = |(p, slot): (usize, &&[f64])| {
                let bias = bias.data[h * (reach + 1) + (past.len() - p).min(reach)];
                Score::new(&new[head.clone()], &slot[head.clone()], desc.scale, bias)
            };
            let scores: Vec<Score> = seen.iter().enumerate().map(score).collect();
            for (weight, slot) in weights(&scores).iter().zip(&seen) {
                for d in head.clone() {
                    data[r * inner + d] += weight * value(slot[inner + d]);
                }
            }
        }
    }
    Array::new(&[rows, inner], data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::relative_attention;

    /// A sequence in full, one of its tokens after the other, and the same by steps whose cache is scattered.
    #[test]
    fn steps_give_what_the_whole_sequence_gives() {
        let desc = Attention { heads: 2, scale: 0.7 };
        let (tokens, inner, reach) = (5, 4, 3);
        let wave = |n: usize, step: f64| (0..n).map(|i| (step * i as f64).sin()).collect::<Vec<_>>();
        let [q, k, v] = [0.9, 1.7, 2.3].map(|step| Array::new(&[tokens, inner], wave(tokens * inner, step)));
        let behind = Array::new(&[2, reach + 1], wave(2 * (reach + 1), 0.6));
        // Distances there are positions of the key before the query, and none lies ahead.
        let mut both = vec![0.0; 2 * (2 * reach + 1)];
        for h in 0..2 {
            for distance in 0..=reach {
                both[h * (2 * reach + 1) + reach - distance] = behind.data[h * (reach + 1) + distance];
            }
        }
        let both = Array::new(&[2, 2 * reach + 1], both);
        let spans: Vec<[u32; 2]> = (1..=tokens as u32).map(|end| [0, end]).collect();
        let whole = relative_attention([&q, &k, &v], &spans, &both, desc);

        let slots = [3, 0, 5, 2];
        let row = |x: &Array, t: usize| x.data[t * inner..(t + 1) * inner].to_vec();
        let mut cache = vec![f64::NAN; 6 * 2 * inner];
        for (t, slot) in slots.iter().enumerate() {
            cache[slot * 2 * inner..][..2 * inner].copy_from_slice(&[row(&k, t), row(&v, t)].concat());
        }
        let cache = Array::new(&[6, 2 * inner], cache);
        for t in 0..tokens {
            let new = Array::new(&[1, 3 * inner], [row(&q, t), row(&k, t), row(&v, t)].concat());
            let past = [slots[..t].to_vec()];
            let step = cached_attention(&new, &cache, &past, &behind, desc);
            for (got, expected) in step.data.iter().zip(row(&whole, t)) {
                assert!((got - expected).abs() < 1e-13, "token {t}: {got} is not {expected}");
            }
            let terms = cached_attention_terms(&new, &cache, &past, &behind, desc);
            assert!(terms.data.iter().zip(&step.data).all(|(terms, got)| *terms >= got.abs()));
        }
    }
}
