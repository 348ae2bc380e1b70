//! Drawing by chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The random numbers of one prompt.
///
/// The generator is ChaCha with eight rounds (Bernstein, 2008): the key is the seed, least byte first and then zeros,
/// the stream is the prompt's place among the prompts, so what is drawn for a prompt depends neither on how many
/// there are nor on when they end.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub(super) fn new(seed: u64, prompt: usize) -> Draws {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(prompt as u64);
        Draws(generator)
    }

    /// A number in [0, 1), a multiple of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws one of the places of `scores` with the probabilities that their softmax gives. `None` where every score
    /// is minus infinity.
    pub(super) fn one(&mut self, scores: &[f32]) -> Option<usize> {
        let weights = weights(scores);
        let drawn = self.place(&weights)?;
        Some(weights[drawn].0)
    }

    /// Draws `count` different places, one after the other, each with the probabilities that the softmax gives those
    /// that are left; where nothing is left whose probability is above 0, the largest scores follow. They come in
    /// the order of their scores, the largest first.
    pub(super) fn several(&mut self, scores: &[f32], count: usize) -> Vec<usize> {
        let mut weights = weights(scores);
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let Some(place) = self.place(&weights) else { break };
            drawn.push(weights.remove(place).0);
        }
        if drawn.len() < count {
            let mut rest: Vec<usize> = (0..scores.len()).filter(|place| !drawn.contains(place)).collect();
            rest.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            drawn.extend(rest.into_iter().take(count - drawn.len()));
        }
        drawn.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        drawn
    }

    /// The first entry at which the sum of the weights passes a random share of the whole.
    fn place(&mut self, weights: &[(usize, f64)]) -> Option<usize> {
        let last = weights.len().checked_sub(1)?;
        let share = self.unit() * weights.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let place = weights.iter().position(|(_, weight)| {
            sum += weight;
            sum > share
        });
        // Rounding may leave the share at the very sum.
        Some(place.unwrap_or(last))
    }
}

/// The places whose probability is above 0, each with a number in proportion to it.
///
/// Exponentials are the `libm` crate's: those of the system differ from one to the next in the last digit, which may
/// be another token.
fn weights(scores: &[f32]) -> Vec<(usize, f64)> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |score: f32| libm::exp(f64::from(score) - f64::from(largest));
    let finite = scores.iter().enumerate().filter(|(_, score)| **score > f32::NEG_INFINITY);
    finite.map(|(place, score)| (place, weight(*score))).filter(|(_, weight)| *weight > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: f32 = f32::NEG_INFINITY;

    #[test]
    fn seeds_and_prompts_have_numbers_of_their_own() {
        let first = |seed, prompt| Draws::new(seed, prompt).unit();
        assert_eq!(first(1, 0), first(1, 0));
        let others = [first(1, 0), first(2, 0), first(1, 1), first(1 << 40, 0)];
        for (place, number) in others.iter().enumerate() {
            assert!((0.0..1.0).contains(number) && !others[..place].contains(number), "{others:?}");
        }
    }

    /// 60,000 draws of probabilities 0.1, 0.2, 0 and 0.7: the largest standard deviation of a count is 112.
    #[test]
    fn draws_follow_the_softmax() {
        let scores = [0.1_f32.ln() + 5.0, 0.2_f32.ln() + 5.0, LOW, 0.7_f32.ln() + 5.0];
        let mut draws = Draws::new(3, 0);
        let mut counts = [0_i32; 4];
        for _ in 0..60_000 {
            counts[draws.one(&scores).unwrap()] += 1;
        }
        for (count, expected) in counts.into_iter().zip([6_000, 12_000, 0, 42_000]) {
            assert!((count - expected).abs() <= if expected == 0 { 0 } else { 560 }, "{counts:?}");
        }
        assert_eq!(draws.one(&[LOW; 3]), None);
    }

    /// Of the pairs out of three, the one of places 0 and 2 has the probability 0.2 * 0.5 / 0.8 + 0.5 * 0.2 / 0.5.
    #[test]
    fn several_are_drawn_without_being_put_back() {
        let scores = [0.2_f32.ln(), 0.3_f32.ln(), 0.5_f32.ln()];
        let mut draws = Draws::new(4, 0);
        let mut count = 0;
        for _ in 0..10_000 {
            let pair = draws.several(&scores, 2);
            assert!(pair[0] > pair[1], "the likelier first: {pair:?}");
            count += i32::from(pair == [2, 0]);
        }
        assert!((count - 3_250).abs() < 235, "{count}");
    }

    #[test]
    fn where_too_little_is_possible_the_largest_scores_follow() {
        let scores = [-1e9, LOW, 0.0, -2e9, LOW];
        assert_eq!(Draws::new(5, 0).several(&scores, 4), [2, 0, 3, 1]);
    }
}
