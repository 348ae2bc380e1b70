//! Fashion-MNIST as it is published: the four files of Debian's package `dataset-fashion-mnist`.

use kiln_tests::golden;
use kiln_train::data::{FolderOptions, Format, Parts, Source};
use kiln_train::loader::{Loader, LoaderOptions, Order};
use kiln_train::normalization::Normalization;

fn parts() -> Option<Parts> {
    let folder = golden::fashion_mnist()?;
    let source = Source::open(&folder, &FolderOptions::default()).unwrap();
    assert_eq!(source.format(), Format::Idx);
    Some(source.parts().unwrap())
}

#[test]
fn counts_classes_and_first_labels_are_as_published() {
    let Some(Parts { train, test }) = parts() else { return };
    assert_eq!((train.len(), test.len(), train.shape()), (60_000, 10_000, [1, 28, 28]));
    assert_eq!(train.classes()[9], "Ankle boot");
    assert!(train.labels().take(10).eq([9, 0, 0, 3, 0, 2, 7, 2, 5, 5]));
    assert!(test.labels().take(10).eq([9, 2, 1, 1, 6, 1, 4, 6, 5, 7]));
    for part in [train, test] {
        let mut counts = [0; 10];
        part.labels().for_each(|label| counts[label as usize] += 1);
        assert_eq!(counts, [part.len() / 10; 10]);
    }
}

/// The numbers that go round for the 60,000 training images, to four digits.
#[test]
fn mean_and_deviation_are_the_known_ones() {
    let Some(Parts { train, .. }) = parts() else { return };
    let normalization = Normalization::of(&train, 2).unwrap();
    assert!((normalization.mean[0] - 0.2860).abs() < 5e-5, "{normalization:?}");
    assert!((normalization.std[0] - 0.3530).abs() < 5e-5, "{normalization:?}");
}

#[test]
fn an_epoch_has_every_example_once() {
    let Some(Parts { train, .. }) = parts() else { return };
    let train = train.slice(0, Some(10_050)).unwrap();
    let normalization = Normalization::of(&train, 2).unwrap();
    let augmentation = "flip,crop2".parse().unwrap();
    let options =
        LoaderOptions { order: Order::Shuffled, augmentation, threads: 2, ..LoaderOptions::default() };
    let mut seen = vec![false; train.len()];
    let loader = Loader::start(&train, &normalization, &options, 0, 0).unwrap();
    assert_eq!(loader.batches(), 101);
    for batch in loader {
        let batch = batch.unwrap();
        assert_eq!(batch.shape[0], if batch.index == 100 { 50 } else { 100 });
        assert_eq!(batch.images.len(), batch.shape.iter().product::<usize>());
        for (origin, label) in batch.origins.iter().zip(&batch.labels) {
            assert!(!std::mem::replace(&mut seen[*origin as usize], true));
            assert_eq!(train.label(*origin as usize), *label);
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}
