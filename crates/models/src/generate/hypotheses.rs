//! The sequences of a prompt that have ended, the best of them: transformers' `BeamHypotheses`.

use super::GenerateOptions;

/// A sequence that may be the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hypothesis {
    /// The ids, the decoder's start token included, an EOS token at the end not.
    pub(super) ids: Vec<u32>,
    /// The sum of the log-probabilities over the length to the power of the penalty.
    pub(super) score: f64,
    /// Whether an EOS token ended it.
    pub(super) ended: bool,
}

/// As many sequences as there are beams, the best that were offered.
pub(super) struct Hypotheses {
    beams: usize,
    length_penalty: f64,
    early_stopping: bool,
    kept: Vec<Hypothesis>,
    worst: f64,
}

impl Hypotheses {
    pub(super) fn new(options: &GenerateOptions) -> Hypotheses {
        Hypotheses {
            beams: options.beams,
            length_penalty: options.length_penalty,
            early_stopping: options.early_stopping,
            kept: Vec::with_capacity(options.beams + 1),
            worst: f64::INFINITY,
        }
    }

    /// Offers a sequence of `length` new ids, an EOS token that ended it included.
    pub(super) fn add(&mut self, ids: &[u32], sum: f32, length: usize, ended: bool) {
        let score = self.score(sum, length);
        if self.kept.len() == self.beams && score <= self.worst {
            return;
        }
        self.kept.push(Hypothesis { ids: ids.to_vec(), score, ended });
        if self.kept.len() > self.beams {
            let mut order: Vec<usize> = (0..self.kept.len()).collect();
            order.sort_by(|a, b| self.kept[*a].score.total_cmp(&self.kept[*b].score));
            self.worst = self.kept[order[1]].score;
            self.kept.remove(order[0]);
        } else {
            self.worst = self.worst.min(score);
        }
    }

    /// Whether the search is over: there are as many sequences as beams, and stopping early is wanted, or the best
    /// that goes on (with log-probabilities of `best_sum` at `length` ids) would be no better than the worst of them
    /// if it ended now.
    pub(super) fn are_final(&self, best_sum: f32, length: usize) -> bool {
        self.kept.len() == self.beams && (self.early_stopping || self.worst >= self.score(best_sum, length))
    }

    /// The sequences, in the order in which they were offered.
    pub(super) fn kept(&self) -> &[Hypothesis] {
        &self.kept
    }

    /// The best; of equals the last.
    pub(super) fn best(&self) -> Option<&Hypothesis> {
        self.kept.iter().max_by(|a, b| a.score.total_cmp(&b.score))
    }

    fn score(&self, sum: f32, length: usize) -> f64 {
        f64::from(sum) / libm::pow(length as f64, self.length_penalty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypotheses(beams: usize, length_penalty: f64, early_stopping: bool) -> Hypotheses {
        Hypotheses::new(&GenerateOptions { beams, length_penalty, early_stopping, ..Default::default() })
    }

    fn ids(hypotheses: &Hypotheses) -> Vec<u32> {
        hypotheses.kept().iter().map(|hypothesis| hypothesis.ids[0]).collect()
    }

    #[test]
    fn the_best_are_kept() {
        let mut two = hypotheses(2, 1.0, false);
        assert!(two.best().is_none());
        two.add(&[1], -4.0, 2, true);
        two.add(&[2], -3.0, 1, true);
        assert_eq!((two.best().unwrap().ids[0], two.best().unwrap().score), (1, -2.0));
        two.add(&[3], -3.0, 1, true);
        assert_eq!(ids(&two), [1, 2], "no better than the worst");
        two.add(&[4], -5.0, 2, false);
        assert_eq!(ids(&two), [1, 4]);
        assert!(two.are_final(-5.0, 2), "the worst is now -2.5");
        two.add(&[5], -2.0, 1, true);
        assert_eq!(ids(&two), [1, 5]);
        assert_eq!(two.best().unwrap().ids, [5], "of equals the last");
    }

    #[test]
    fn the_search_ends_where_nothing_better_is_left() {
        for early in [false, true] {
            let mut two = hypotheses(2, 1.0, early);
            two.add(&[1], -2.0, 1, true);
            assert!(!two.are_final(-100.0, 1), "one is not enough");
            two.add(&[2], -3.0, 1, true);
            assert_eq!(two.are_final(-5.0, 2), early);
            assert!(two.are_final(-6.0, 2));
        }
    }

    #[test]
    fn length_counts_as_the_penalty_says() {
        for (penalty, score) in [(0.0, -8.0), (1.0, -2.0), (2.0, -0.5), (-1.0, -32.0)] {
            let mut one = hypotheses(1, penalty, false);
            one.add(&[1], -8.0, 4, true);
            assert_eq!(one.best().unwrap().score, score);
        }
    }
}
