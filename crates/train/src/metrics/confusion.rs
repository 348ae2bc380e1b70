//! Which classes are taken for which.

/// Counts of examples by their class and the class that was predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[class][predicted]`
    counts: Vec<u64>,
}

impl Confusion {
    /// No examples yet.
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    /// Adds a batch by the classes that were predicted and those that are right.
    ///
    /// # Panics
    /// Where these are not as many, or one is not a class.
    pub fn add(&mut self, predicted: &[u32], labels: &[u32]) {
        assert_eq!(predicted.len(), labels.len(), "each label should have its prediction");
        for (predicted, label) in predicted.iter().zip(labels) {
            let place = self.place(*label as usize, *predicted as usize);
            self.counts[place] += 1;
        }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many examples of a class were taken for another, or rightly for itself.
    ///
    /// # Panics
    /// Where one is not a class.
    pub fn count(&self, class: usize, predicted: usize) -> u64 {
        self.counts[self.place(class, predicted)]
    }

    fn place(&self, class: usize, predicted: usize) -> usize {
        let classes = self.classes;
        assert!(
            class < classes && predicted < classes,
            "there should be classes {class} and {predicted} of {classes}"
        );
        class * classes + predicted
    }

    /// How many examples a class has.
    pub fn of_class(&self, class: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(class, predicted)).sum()
    }

    /// How many examples were taken for a class.
    pub fn taken_for(&self, predicted: usize) -> u64 {
        (0..self.classes).map(|class| self.count(class, predicted)).sum()
    }

    /// How many examples there are.
    pub fn examples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many were right.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// The fraction of all examples that was right; none where there are none.
    pub fn accuracy(&self) -> Option<f64> {
        fraction(self.correct(), self.examples())
    }

    /// The fraction that was wrong: the test error, on the test part; none where there are no examples.
    pub fn error(&self) -> Option<f64> {
        fraction(self.examples() - self.correct(), self.examples())
    }

    /// Of the examples of a class, the fraction that was known as such; none where it has no examples.
    pub fn recall(&self, class: usize) -> Option<f64> {
        fraction(self.count(class, class), self.of_class(class))
    }

    /// Of the examples taken for a class, the fraction that are of it; none where there are none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        fraction(self.count(class, class), self.taken_for(class))
    }
}

fn fraction(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Accuracy;

    #[test]
    fn classes_are_told_apart() {
        let mut confusion = Confusion::new(3);
        assert_eq!((confusion.accuracy(), confusion.error(), confusion.recall(0)), (None, None, None));
        confusion.add(&[0, 1, 1, 0], &[0, 0, 1, 1]);
        confusion.add(&[0], &[0]);
        assert_eq!((confusion.count(0, 0), confusion.count(0, 1), confusion.count(1, 0)), (2, 1, 1));
        assert_eq!((confusion.examples(), confusion.correct()), (5, 3));
        assert_eq!((confusion.accuracy(), confusion.error()), (Some(0.6), Some(0.4)));
        assert_eq!((confusion.recall(0), confusion.precision(1)), (Some(2.0 / 3.0), Some(0.5)));
        assert_eq!((confusion.recall(2), confusion.precision(2)), (None, None));
    }

    #[test]
    #[should_panic(expected = "there should be classes 1 and 3 of 3")]
    fn another_class_is_a_mistake() {
        Confusion::new(3).add(&[3], &[1]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_accuracy(pairs in prop::collection::vec((0_u32..5, 0_u32..5), 0..300)) {
            let (predicted, labels): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
            let (mut confusion, mut accuracy) = (Confusion::new(5), Accuracy::default());
            confusion.add(&predicted, &labels);
            accuracy.add(&predicted, &labels);
            prop_assert_eq!(confusion.accuracy(), accuracy.fraction());
            prop_assert_eq!(confusion.correct(), accuracy.correct());
            prop_assert_eq!((0..5).map(|class| confusion.of_class(class)).sum::<u64>(), accuracy.examples());
            prop_assert_eq!((0..5).map(|class| confusion.taken_for(class)).sum::<u64>(), accuracy.examples());
        }
    }
}
