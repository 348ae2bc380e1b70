//! A part of a data set, or a piece of one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::images::ImageFiles;
use crate::TrainError;
use crate::random::{Purpose, Random};

/// Examples of one shape with their labels, in an order that never changes. Values are 8 bits wide, as in the files;
/// what a network sees is up to [`Normalization`](crate::normalization::Normalization). Never empty.
///
/// Copies share the data, and so do pieces: cloning, [`slice`](Dataset::slice) and [`split`](Dataset::split) are
/// cheap.
#[derive(Clone)]
pub struct Dataset {
    store: Arc<Store>,
    /// Which examples of the store these are.
    picks: Arc<[u32]>,
}

struct Store {
    name: String,
    shape: [usize; 3],
    classes: Vec<String>,
    labels: Vec<u32>,
    pixels: Pixels,
}

enum Pixels {
    /// `[example][channel][row][column]`.
    Memory(Vec<u8>),
    Files(ImageFiles),
}

impl Dataset {
    /// A data set in memory. `name` stands for it in messages; `shape` is that of an example, channels, height and
    /// width; `pixels` are `[example][channel][row][column]`; a label is the number of a class.
    ///
    /// # Errors
    /// Where there is no example or no channel, 2^32 examples or more, or another number of pixels than the labels and
    /// the shape make, or a label that stands for no class.
    pub fn from_memory(
        name: impl Into<String>,
        shape: [usize; 3],
        classes: Vec<String>,
        pixels: Vec<u8>,
        labels: Vec<u32>,
    ) -> Result<Dataset, TrainError> {
        let name = name.into();
        let bytes = shape.iter().try_fold(labels.len(), |bytes, n| bytes.checked_mul(*n));
        if bytes != Some(pixels.len()) {
            let (found, examples) = (pixels.len(), labels.len());
            let message = format!("{found} pixels, expected those of {examples} examples of shape {shape:?}");
            return Err(TrainError::content(Path::new(&name), message));
        }
        Dataset::new(name, shape, classes, Pixels::Memory(pixels), labels)
    }

    pub(super) fn from_files(
        name: String,
        shape: [usize; 3],
        classes: Vec<String>,
        files: ImageFiles,
        labels: Vec<u32>,
    ) -> Result<Dataset, TrainError> {
        Dataset::new(name, shape, classes, Pixels::Files(files), labels)
    }

    fn new(
        name: String,
        shape: [usize; 3],
        classes: Vec<String>,
        pixels: Pixels,
        labels: Vec<u32>,
    ) -> Result<Dataset, TrainError> {
        let wrong = |message: String| Err(TrainError::content(Path::new(&name), message));
        if shape.contains(&0) {
            return wrong(format!("examples of shape {shape:?} (channels, height, width) have no values"));
        }
        let Ok(length) = u32::try_from(labels.len()) else {
            return wrong(format!("{} examples, expected at most {}", labels.len(), u32::MAX));
        };
        if length == 0 {
            return wrong("no examples".to_owned());
        }
        if let Some(example) = labels.iter().position(|label| *label as usize >= classes.len()) {
            let (file, label) = (name.into(), labels[example]);
            return Err(TrainError::Label { file, example, label, classes: classes.len() });
        }
        let store = Store { name, shape, classes, labels, pixels };
        Ok(Dataset { store: Arc::new(store), picks: (0..length).collect() })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.store.name
    }

    /// How many examples there are; at least 1.
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    /// False: there is always an example.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// The names of the classes; a label is a place in this list.
    pub fn classes(&self) -> &[String] {
        &self.store.classes
    }

    /// The shape of an example: channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        self.store.shape
    }

    /// How many values an example has.
    pub fn example_len(&self) -> usize {
        self.shape().iter().product()
    }

    /// The label of an example.
    ///
    /// # Panics
    /// Where there is no such example.
    pub fn label(&self, index: usize) -> u32 {
        self.store.labels[self.picks[index] as usize]
    }

    /// All labels, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.picks.iter().map(|pick| self.store.labels[*pick as usize])
    }

    /// An example's place in the whole part, which stays the same in all pieces of it.
    ///
    /// # Panics
    /// Where there is no such example.
    pub fn origin(&self, index: usize) -> u32 {
        self.picks[index]
    }

    /// Where an example comes from: its image file, or the data set's name and the example's place in it.
    ///
    /// # Panics
    /// Where there is no such example.
    pub fn describe(&self, index: usize) -> String {
        let origin = self.picks[index];
        match &self.store.pixels {
            Pixels::Files(files) => files.path(origin as usize).display().to_string(),
            Pixels::Memory(_) => format!("{}: example {origin}", self.store.name),
        }
    }

    /// Writes the values of an example into `out`, `[channel][row][column]`.
    ///
    /// # Errors
    /// Where it is an image file that cannot be read.
    ///
    /// # Panics
    /// Where there is no such example, or `out` is not of [`example_len`](Dataset::example_len).
    pub fn read(&self, index: usize, out: &mut [u8]) -> Result<(), TrainError> {
        let (pick, length) = (self.picks[index] as usize, self.example_len());
        assert_eq!(out.len(), length, "an example of {:?} is {length} bytes", self.shape());
        match &self.store.pixels {
            Pixels::Memory(pixels) => out.copy_from_slice(&pixels[pick * length..][..length]),
            Pixels::Files(files) => files.read(pick, out)?,
        }
        Ok(())
    }

    /// The values of an example, `[channel][row][column]`.
    ///
    /// # Errors
    /// Where it is an image file that cannot be read.
    ///
    /// # Panics
    /// Where there is no such example.
    pub fn example(&self, index: usize) -> Result<Vec<u8>, TrainError> {
        let mut example = vec![0; self.example_len()];
        self.read(index, &mut example)?;
        Ok(example)
    }

    /// `limit` examples from place `offset` on, or all from there on: what `--train-offset` and `--train-limit` mean.
    /// It counts in the order of the data set, before anything is shuffled or kept for validation.
    ///
    /// # Errors
    /// Where none are asked for, or more than there are: a run on less data than it says would mislead.
    pub fn slice(&self, offset: usize, limit: Option<usize>) -> Result<Dataset, TrainError> {
        let end = limit.map_or(self.len(), |limit| offset.saturating_add(limit));
        if limit == Some(0) {
            return Err(TrainError::option("limit", 0, "expected at least 1 example"));
        }
        if offset >= self.len() || end > self.len() {
            let (name, available) = (self.store.name.clone(), self.len());
            // One past the end at the least, so that the message shows what is amiss.
            return Err(TrainError::Range {
                name,
                start: offset,
                end: end.max(offset.saturating_add(1)),
                available,
            });
        }
        Ok(Dataset { store: Arc::clone(&self.store), picks: self.picks[offset..end].into() })
    }

    /// Sets a fraction of the examples aside for validation: what to train on, and what is set aside. The number is
    /// rounded to the nearest, halves upward; which ones they are, the seed decides ([`Purpose::Validation`]; the first
    /// ones of all places shuffled). Both keep the order of the data set. A fraction of 0 sets none aside.
    ///
    /// # Errors
    /// Where the fraction is not at least 0 and below 1, or leaves one of the two without examples.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Option<Dataset>), TrainError> {
        if !(0.0..1.0).contains(&fraction) {
            return Err(TrainError::option("validation", fraction, "expected at least 0 and less than 1"));
        }
        if fraction == 0.0 {
            return Ok((self.clone(), None));
        }
        let aside = round(self.len(), fraction);
        if aside == 0 || aside == self.len() {
            let (of, what) = (self.len(), if aside == 0 { "validation" } else { "training" });
            let expected = format!("this leaves none of {of} examples for {what}");
            return Err(TrainError::option("validation", fraction, expected));
        }
        let mut places = crate::order::stored(self.len());
        Random::new(seed, Purpose::Validation, 0, 0).shuffle(&mut places);
        let (aside, rest) = places.split_at_mut(aside);
        let picked = |places: &mut [u32]| {
            places.sort_unstable();
            let picks = places.iter().map(|place| self.picks[*place as usize]).collect();
            Dataset { store: Arc::clone(&self.store), picks }
        };
        Ok((picked(rest), Some(picked(aside))))
    }
}

/// A fraction of a number, to the nearest, halves upward.
pub(super) fn round(length: usize, fraction: f64) -> usize {
    (length as f64 * fraction + 0.5).floor() as usize
}

/// Without the data.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, length, shape) = (self.name(), self.len(), self.shape());
        write!(f, "Dataset({name}: {length} examples of {shape:?}, {} classes)", self.classes().len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(classes: usize) -> Vec<String> {
        (0..classes).map(|class| class.to_string()).collect()
    }

    /// Example `i` has the pixels i, i + 1 and the label i modulo 3.
    fn numbered(length: usize) -> Dataset {
        let pixels = (0..length).flat_map(|i| [i as u8, i as u8 + 1]).collect();
        let labels = (0..length).map(|i| i as u32 % 3).collect();
        Dataset::from_memory("numbers", [1, 1, 2], names(3), pixels, labels).unwrap()
    }

    fn origins(dataset: &Dataset) -> Vec<u32> {
        (0..dataset.len()).map(|index| dataset.origin(index)).collect()
    }

    #[test]
    fn examples_come_with_their_labels() {
        let dataset = numbered(5);
        assert_eq!((dataset.len(), dataset.shape(), dataset.is_empty()), (5, [1, 1, 2], false));
        assert_eq!(dataset.example(4).unwrap(), [4, 5]);
        assert_eq!(dataset.label(4), 1);
        assert!(dataset.labels().eq([0, 1, 2, 0, 1]));
        assert_eq!(dataset.describe(4), "numbers: example 4");
        assert_eq!(format!("{dataset:?}"), "Dataset(numbers: 5 examples of [1, 1, 2], 3 classes)");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |shape, classes, pixels, labels: &[u32]| {
            let made = Dataset::from_memory("x", shape, names(classes), vec![0; pixels], labels.to_vec());
            made.unwrap_err().to_string()
        };
        assert_eq!(
            refused([1, 2, 2], 2, 7, &[0, 1]),
            "x: 7 pixels, expected those of 2 examples of shape [1, 2, 2]"
        );
        assert_eq!(refused([1, 2, 2], 2, 0, &[]), "x: no examples");
        assert_eq!(
            refused([1, 0, 2], 2, 0, &[0]),
            "x: examples of shape [1, 0, 2] (channels, height, width) have no values"
        );
        assert_eq!(refused([1, 1, 1], 2, 3, &[0, 2, 1]), "x: example 1 has label 2, expected 0 to 1");
        assert!(refused([usize::MAX, 2, 2], 2, 8, &[0, 1]).contains("expected those of 2 examples"));
    }

    #[test]
    fn a_slice_counts_in_the_order_of_the_data() {
        let dataset = numbered(10);
        assert_eq!(origins(&dataset.slice(0, None).unwrap()), origins(&dataset));
        assert_eq!(origins(&dataset.slice(7, None).unwrap()), [7, 8, 9]);
        assert_eq!(origins(&dataset.slice(7, Some(3)).unwrap()), [7, 8, 9]);
        let piece = dataset.slice(2, Some(5)).unwrap().slice(1, Some(2)).unwrap();
        assert_eq!(origins(&piece), [3, 4]);
        assert_eq!((piece.example(1).unwrap(), piece.label(1)), (vec![4, 5], 1));
        let refused = |offset, limit| dataset.slice(offset, limit).unwrap_err().to_string();
        assert_eq!(refused(7, Some(4)), "numbers: examples 7 to 11 were asked for, there are 10");
        assert_eq!(refused(10, None), "numbers: examples 10 to 11 were asked for, there are 10");
        assert_eq!(refused(3, Some(0)), "limit 0: expected at least 1 example");
        assert!(dataset.slice(3, Some(usize::MAX)).is_err());
        assert!(dataset.slice(usize::MAX, None).is_err());
    }

    #[test]
    fn a_fraction_is_set_aside() {
        let dataset = numbered(10);
        let (rest, aside) = dataset.split(0.25, 0).unwrap();
        assert_eq!((rest.len(), aside.unwrap().len()), (7, 3));
        let (rest, aside) = dataset.split(0.0, 0).unwrap();
        assert_eq!((origins(&rest), aside.is_none()), (origins(&dataset), true));
        assert_ne!(origins(&dataset.split(0.5, 0).unwrap().0), origins(&dataset.split(0.5, 1).unwrap().0));
        let refused = |fraction| dataset.split(fraction, 0).unwrap_err().to_string();
        assert_eq!(refused(1.0), "validation 1: expected at least 0 and less than 1");
        assert_eq!(refused(-0.1), "validation -0.1: expected at least 0 and less than 1");
        assert_eq!(refused(f64::NAN), "validation NaN: expected at least 0 and less than 1");
        assert_eq!(refused(0.01), "validation 0.01: this leaves none of 10 examples for validation");
        assert_eq!(refused(0.99), "validation 0.99: this leaves none of 10 examples for training");
    }

    proptest! {
        #[test]
        fn a_split_loses_nothing_and_keeps_the_order(
            length in 20_usize..200, offset in 0_usize..10, fraction in 0.1..0.9, seed: u64,
        ) {
            let dataset = numbered(length).slice(offset, None).unwrap();
            let (rest, aside) = dataset.split(fraction, seed).unwrap();
            let (rest, aside) = (origins(&rest), origins(&aside.unwrap()));
            prop_assert!(rest.is_sorted() && aside.is_sorted());
            let mut all = [rest, aside].concat();
            all.sort_unstable();
            prop_assert_eq!(all, origins(&dataset));
        }
    }
}
