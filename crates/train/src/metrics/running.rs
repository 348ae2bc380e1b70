//! Loss and accuracy over the examples seen so far.

use serde::{Deserialize, Serialize};

/// The mean loss of the examples so far, in f64. A loss that is not a number makes the mean one, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningLoss {
    sum: f64,
    examples: u64,
}

impl RunningLoss {
    /// Adds a batch by its mean loss and its size, so that a short last batch weighs what it should.
    pub fn add(&mut self, mean: f64, examples: usize) {
        self.sum += mean * examples as f64;
        self.examples += examples as u64;
    }

    /// The mean; none where there was no example.
    pub fn mean(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.sum / self.examples as f64)
    }

    /// How many examples there were.
    pub fn examples(&self) -> u64 {
        self.examples
    }
}

/// How many examples were classified rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    correct: u64,
    examples: u64,
}

impl Accuracy {
    /// Adds a batch by the classes that were predicted and those that are right.
    ///
    /// # Panics
    /// Where these are not as many.
    pub fn add(&mut self, predicted: &[u32], labels: &[u32]) {
        assert_eq!(predicted.len(), labels.len(), "each label should have its prediction");
        self.correct += predicted.iter().zip(labels).filter(|(got, right)| got == right).count() as u64;
        self.examples += labels.len() as u64;
    }

    /// Adds a batch by its count.
    pub fn add_count(&mut self, correct: usize, examples: usize) {
        self.correct += correct as u64;
        self.examples += examples as u64;
    }

    /// The fraction that was right; none where there was no example.
    pub fn fraction(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.correct as f64 / self.examples as f64)
    }

    /// The fraction that was wrong; none where there was no example.
    pub fn error(&self) -> Option<f64> {
        (self.examples > 0).then(|| (self.examples - self.correct) as f64 / self.examples as f64)
    }

    /// How many were right.
    pub fn correct(&self) -> u64 {
        self.correct
    }

    /// How many examples there were.
    pub fn examples(&self) -> u64 {
        self.examples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_batch_weighs_less() {
        let mut loss = RunningLoss::default();
        assert_eq!(loss.mean(), None);
        loss.add(1.0, 3);
        loss.add(5.0, 1);
        assert_eq!((loss.mean(), loss.examples()), (Some(2.0), 4));
        loss.add(f64::NAN, 1);
        assert!(loss.mean().unwrap().is_nan());
    }

    #[test]
    fn what_is_right_is_counted() {
        let mut accuracy = Accuracy::default();
        assert_eq!(accuracy.fraction(), None);
        accuracy.add(&[1, 2, 3], &[1, 0, 3]);
        accuracy.add_count(0, 1);
        assert_eq!((accuracy.fraction(), accuracy.correct(), accuracy.examples()), (Some(0.5), 2, 4));
        accuracy.add_count(2, 6);
        assert_eq!((accuracy.error(), Accuracy::default().error()), (Some(0.6), None));
    }
}
