//! Batches, made on a few threads ahead of whoever takes them.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use crate::TrainError;
use crate::augment::Augmentation;
use crate::data::Dataset;
use crate::normalization::{Normalization, look_up};
use crate::order;
use crate::prefetch::Prefetch;
use crate::random::{Purpose, Random};

/// In which order an epoch takes its examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the data set.
    Stored,
    /// Another one each epoch: [`order::shuffled`] by the seed and the epoch.
    Shuffled,
}

/// How batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Examples a batch; the last batch has what is left.
    pub batch_size: usize,
    /// The order of the examples.
    pub order: Order,
    /// How examples are changed by chance.
    pub augmentation: Augmentation,
    /// Decides order and augmentation.
    pub seed: u64,
    /// Threads that make batches.
    pub threads: usize,
    /// How many batches may be in the making or waiting to be taken.
    pub ahead: usize,
}

impl Default for LoaderOptions {
    /// Batches of 100, in the stored order, unchanged, seed 0; one to four threads, which leave a core to others, and
    /// one batch more ahead than threads.
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let threads = cores.saturating_sub(1).clamp(1, 4);
        LoaderOptions {
            batch_size: 100,
            order: Order::Stored,
            augmentation: Augmentation::default(),
            seed: 0,
            threads,
            ahead: threads + 1,
        }
    }
}

/// Some examples, as a network reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which batch of the epoch, counted from 0.
    pub index: usize,
    /// Examples, channels, height, width.
    pub shape: [usize; 4],
    /// `[example][channel][row][column]`, normalised.
    pub images: Vec<f32>,
    /// The class of each example.
    pub labels: Vec<u32>,
    /// The place of each example in its part ([`Dataset::origin`]).
    pub origins: Vec<u32>,
}

/// The batches of one epoch, in order: an iterator whose last item is the last batch or the first error. Batches are
/// the same whatever the number of threads. It starts at once, so the next epoch's loader may work while the last
/// epoch is validated; it may be dropped at any time.
pub struct Loader {
    batches: Prefetch<Batch>,
    count: usize,
    left: usize,
}

impl Loader {
    /// Starts on an epoch (counted from 0) at a batch: 0, or where a run stopped.
    ///
    /// # Errors
    /// Where batch size, threads or batches ahead are 0, the normalization is for other channels, the augmentation
    /// cannot be applied to examples of this shape, or there is no such batch to start at (the number of batches is
    /// allowed, and gives none).
    pub fn start(
        dataset: &Dataset,
        normalization: &Normalization,
        options: &LoaderOptions,
        epoch: u32,
        first: usize,
    ) -> Result<Loader, TrainError> {
        let size = options.batch_size;
        if size == 0 {
            return Err(TrainError::option("batch size", size, "expected at least 1"));
        }
        let count = dataset.len().div_ceil(size);
        if first > count {
            return Err(TrainError::option("first batch", first, format!("an epoch has {count}")));
        }
        let batches = Batches::new(dataset, normalization, options, epoch)?;
        let batches =
            Prefetch::start(first..count, options.threads, options.ahead, move |index| batches.make(index))?;
        Ok(Loader { batches, count, left: count - first })
    }

    /// How many batches the whole epoch has.
    pub fn batches(&self) -> usize {
        self.count
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next();
        self.left = match &batch {
            Some(Ok(_)) => self.left - 1,
            _ => 0,
        };
        batch
    }

    /// As many as are left, or fewer where one fails.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left > 0), Some(self.left))
    }
}

/// All that it takes to make any batch of an epoch.
struct Batches {
    dataset: Dataset,
    table: Vec<[f32; 256]>,
    order: Arc<[u32]>,
    augmentation: Augmentation,
    size: usize,
    seed: u64,
    epoch: u32,
}

impl Batches {
    fn new(
        dataset: &Dataset,
        normalization: &Normalization,
        options: &LoaderOptions,
        epoch: u32,
    ) -> Result<Batches, TrainError> {
        normalization.check(dataset.shape())?;
        options.augmentation.check(dataset.shape())?;
        let order = match options.order {
            Order::Stored => order::stored(dataset.len()),
            Order::Shuffled => order::shuffled(dataset.len(), options.seed, epoch),
        };
        Ok(Batches {
            dataset: dataset.clone(),
            table: normalization.table(),
            order: order.into(),
            augmentation: options.augmentation.clone(),
            size: options.batch_size,
            seed: options.seed,
            epoch,
        })
    }

    fn make(&self, index: usize) -> Result<Batch, TrainError> {
        let places = &self.order[index * self.size..][..self.size.min(self.order.len() - index * self.size)];
        let ([channels, height, width], length) = (self.dataset.shape(), self.dataset.example_len());
        let mut images = vec![0.0; places.len() * length];
        let mut example = vec![0; length];
        for (place, values) in places.iter().zip(images.chunks_exact_mut(length)) {
            let place = *place as usize;
            self.dataset.read(place, &mut example)?;
            let origin = self.dataset.origin(place);
            let mut random = Random::new(self.seed, Purpose::Augment, self.epoch, origin);
            self.augmentation.apply(&mut example, self.dataset.shape(), &mut random);
            look_up(&self.table, &example, values);
        }
        Ok(Batch {
            index,
            shape: [places.len(), channels, height, width],
            images,
            labels: places.iter().map(|place| self.dataset.label(*place as usize)).collect(),
            origins: places.iter().map(|place| self.dataset.origin(*place as usize)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: [usize; 3] = [3, 6, 5];

    fn dataset(length: usize) -> Dataset {
        let pixels = (0..length * 90).map(|i| (i * 37 % 251) as u8).collect();
        let labels = (0..length).map(|i| (i % 4) as u32).collect();
        let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        Dataset::from_memory("numbers", SHAPE, classes, pixels, labels).unwrap()
    }

    fn normalization() -> Normalization {
        Normalization { mean: vec![0.1, 0.5, 0.3], std: vec![0.5, 0.25, 0.75] }
    }

    fn load(dataset: &Dataset, options: &LoaderOptions, epoch: u32, first: usize) -> Vec<Batch> {
        let loader = Loader::start(dataset, &normalization(), options, epoch, first).unwrap();
        loader.map(Result::unwrap).collect()
    }

    fn shuffled(batch_size: usize) -> LoaderOptions {
        let augmentation = "flip,crop2,rotate15,jitter0.2".parse().unwrap();
        LoaderOptions { batch_size, order: Order::Shuffled, augmentation, ..LoaderOptions::default() }
    }

    #[test]
    fn a_batch_is_its_examples_normalised() {
        let dataset = dataset(7).slice(2, None).unwrap();
        let options = LoaderOptions { batch_size: 3, ..LoaderOptions::default() };
        let batches = load(&dataset, &options, 0, 0);
        assert_eq!(batches.iter().map(|batch| batch.shape[0]).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(batches[1].index, 1);
        assert_eq!(batches[1].shape, [2, 3, 6, 5]);
        assert_eq!((&*batches[1].labels, &*batches[1].origins), (&[1, 2][..], &[5, 6][..]));
        let mut expected = vec![0.0; 90];
        normalization().apply(&dataset.example(4).unwrap(), SHAPE, &mut expected).unwrap();
        assert_eq!(batches[1].images[90..], expected);
    }

    #[test]
    fn each_epoch_has_an_order_and_changes_of_its_own() {
        let (dataset, options) = (dataset(40), shuffled(16));
        let origins = |epoch| {
            let batches = load(&dataset, &options, epoch, 0);
            batches.into_iter().flat_map(|batch| batch.origins).collect::<Vec<_>>()
        };
        assert_eq!(origins(3), order::shuffled(40, 0, 3));
        assert_ne!(origins(3), origins(4));
        let stored = LoaderOptions { order: Order::Stored, ..options };
        assert_ne!(load(&dataset, &stored, 3, 0), load(&dataset, &stored, 4, 0));
        let other = LoaderOptions { seed: 1, ..stored.clone() };
        assert_ne!(load(&dataset, &stored, 3, 0), load(&dataset, &other, 3, 0));
    }

    /// The changes go by the example's place in its part, so they stay the same in a piece of it.
    #[test]
    fn changes_belong_to_the_example() {
        let dataset = dataset(40);
        let options = LoaderOptions { order: Order::Stored, ..shuffled(1) };
        let whole = load(&dataset, &options, 2, 0);
        let piece = load(&dataset.slice(11, Some(5)).unwrap(), &options, 2, 0);
        for (batch, whole) in piece.iter().zip(&whole[11..]) {
            assert_eq!((&batch.images, &batch.origins), (&whole.images, &whole.origins));
        }
    }

    #[test]
    fn an_epoch_goes_on_where_it_stopped() {
        let (dataset, options) = (dataset(40), shuffled(7));
        let whole = load(&dataset, &options, 5, 0);
        assert_eq!(whole.len(), 6);
        assert_eq!(load(&dataset, &options, 5, 4), whole[4..]);
        assert_eq!(load(&dataset, &options, 5, 6), []);
        let loader = Loader::start(&dataset, &normalization(), &options, 5, 2).unwrap();
        assert_eq!((loader.batches(), loader.size_hint()), (6, (1, Some(4))));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |normalization: &Normalization, options: &LoaderOptions, first| {
            let loader = Loader::start(&dataset(5), normalization, options, 0, first);
            loader.err().expect("it should be refused").to_string()
        };
        let good = LoaderOptions::default();
        let with = |change: fn(&mut LoaderOptions)| {
            let mut options = good.clone();
            change(&mut options);
            refused(&normalization(), &options, 0)
        };
        assert_eq!(with(|options| options.batch_size = 0), "batch size 0: expected at least 1");
        assert_eq!(with(|options| options.threads = 0), "threads 0: expected at least 1");
        assert_eq!(with(|options| options.ahead = 0), "batches ahead 0: expected at least 1");
        assert!(with(|options| options.augmentation = "crop5".parse().unwrap()).contains("crop5"));
        assert_eq!(refused(&normalization(), &good, 2), "first batch 2: an epoch has 1");
        assert!(refused(&Normalization::unit(1), &good, 0).contains("expected 3 of each"));
    }

    #[test]
    fn a_broken_image_ends_the_epoch_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["cat/1.png", "cat/2.png", "cat/3.png"] {
            std::fs::create_dir_all(folder.path().join("cat")).unwrap();
            std::fs::write(folder.path().join(file), "words").unwrap();
        }
        let options =
            crate::data::FolderOptions { shape: Some([3, 4, 4]), ..crate::data::FolderOptions::default() };
        let source = crate::data::Source::open(folder.path(), &options).unwrap();
        let train = source.part(crate::data::Part::Train).unwrap();
        let mut loader =
            Loader::start(&train, &Normalization::unit(3), &LoaderOptions::default(), 0, 0).unwrap();
        let error = loader.next().unwrap().unwrap_err();
        assert!(error.is_input_error());
        assert!(error.to_string().contains(".png: "), "{error}");
        assert!(loader.next().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn threads_do_not_matter(
            length in 1_usize..60, batch_size in 1_usize..20, threads in 1_usize..6, ahead in 1_usize..6, seed: u64,
        ) {
            let dataset = dataset(length);
            let options = LoaderOptions { seed, threads: 1, ahead: 1, ..shuffled(batch_size) };
            let many = LoaderOptions { threads, ahead, ..options.clone() };
            prop_assert_eq!(load(&dataset, &options, 1, 0), load(&dataset, &many, 1, 0));
        }

        #[test]
        fn dropping_early_ends_cleanly(taken in 0_usize..12, threads in 1_usize..4) {
            let options = LoaderOptions { threads, ..shuffled(5) };
            let mut loader = Loader::start(&dataset(60), &normalization(), &options, 0, 0).unwrap();
            for index in 0..taken {
                prop_assert_eq!(loader.next().unwrap().unwrap().index, index);
            }
        }
    }
}
