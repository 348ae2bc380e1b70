//! What changes a row of scores before a token is chosen: transformers' logits processors, and then its warpers for
//! sampling, each in transformers' order. In f32, as there.

use super::{GenerateOptions, Sampling, SpecialIds};

/// The processors, in their order: repetition penalty, no repeated n-grams, minimum length.
pub(super) struct Processors<'a> {
    repetition_penalty: f32,
    ngram: usize,
    min_length: usize,
    eos: &'a [u32],
}

impl<'a> Processors<'a> {
    pub(super) fn new(options: &GenerateOptions, special: &'a SpecialIds) -> Processors<'a> {
        Processors {
            repetition_penalty: options.repetition_penalty as f32,
            ngram: options.no_repeat_ngram_size,
            min_length: options.min_length,
            eos: &special.eos,
        }
    }

    /// Whether [`apply`](Self::apply) leaves the scores of every row with so many ids as they are.
    pub(super) fn are_idle(&self, ids: usize) -> bool {
        self.repetition_penalty == 1.0 && self.ngram == 0 && ids >= self.min_length
    }

    /// Changes the scores of what follows `ids`, which begin with the decoder's start token.
    pub(super) fn apply(&self, ids: &[u32], scores: &mut [f32]) {
        if self.repetition_penalty != 1.0 {
            penalise(ids, self.repetition_penalty, scores);
        }
        if self.ngram > 0 {
            for id in banned(ids, self.ngram) {
                exclude(scores, id);
            }
        }
        if ids.len() < self.min_length {
            for id in self.eos {
                exclude(scores, *id);
            }
        }
    }
}

/// Makes the ids that are there less likely, each once.
fn penalise(ids: &[u32], penalty: f32, scores: &mut [f32]) {
    let mut seen = ids.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// The ids that would complete a second occurrence of `size` ids in a row.
fn banned(ids: &[u32], size: usize) -> impl Iterator<Item = u32> {
    // Too few ids for a first occurrence give no windows.
    let start = &ids[(ids.len() + 1).saturating_sub(size)..];
    ids.windows(size).filter(move |ngram| ngram[..size - 1] == *start).map(move |ngram| ngram[size - 1])
}

fn exclude(scores: &mut [f32], id: u32) {
    if let Some(score) = scores.get_mut(id as usize) {
        *score = f32::NEG_INFINITY;
    }
}

/// The warpers, in their order: temperature, top-k, top-p.
pub(super) struct Warpers {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    /// How many tokens stay at least.
    keep: usize,
}

impl Warpers {
    /// `keep` is 1, or with beams as many as leave one that is no EOS.
    pub(super) fn new(sampling: &Sampling, keep: usize) -> Warpers {
        let Sampling { temperature, top_k, top_p, .. } = *sampling;
        Warpers { temperature: temperature as f32, top_k, top_p, keep }
    }

    pub(super) fn apply(&self, scores: &mut [f32]) {
        if self.temperature != 1.0 {
            scores.iter_mut().for_each(|score| *score /= self.temperature);
        }
        if self.top_k > 0 {
            keep_top_k(scores, self.top_k.max(self.keep));
        }
        if self.top_p < 1.0 {
            keep_top_p(scores, self.top_p, self.keep);
        }
    }
}

/// Excludes what scores less than the `k`-th largest; equals of that stay.
fn keep_top_k(scores: &mut [f32], k: usize) {
    if k >= scores.len() {
        return;
    }
    let mut sorted = scores.to_vec();
    let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let least = *least;
    scores.iter_mut().filter(|score| **score < least).for_each(|score| *score = f32::NEG_INFINITY);
}

/// Excludes the least likely whose probabilities together make no more than `1 - p`, but never the last `keep`.
fn keep_top_p(scores: &mut [f32], p: f64, keep: usize) {
    // What is excluded already has probability 0: it need not be sorted.
    let mut order: Vec<usize> = (0..scores.len()).filter(|id| scores[*id] > f32::NEG_INFINITY).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let Some(largest) = order.last().map(|id| f64::from(scores[*id])) else { return };
    let weights: Vec<f64> = order.iter().map(|id| libm::exp(f64::from(scores[*id]) - largest)).collect();
    let total: f64 = weights.iter().sum();
    let limit = (1.0 - p) as f32;
    let mut sum = 0.0;
    for (id, weight) in order[..order.len().saturating_sub(keep)].iter().zip(weights) {
        sum += f64::from((weight / total) as f32);
        if sum as f32 > limit {
            break;
        }
        scores[*id] = f32::NEG_INFINITY;
    }
}
