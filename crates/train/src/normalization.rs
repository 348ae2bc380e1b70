//! From bytes to what a network reads.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::data::Dataset;
use crate::prefetch::Prefetch;

/// Examples that are added up at once.
const CHUNK: usize = 256;

/// Mean and standard deviation of each channel, on the scale where bytes go from 0 to 1. A value becomes
/// `(byte / 255 - mean) / std`: torchvision's `ToTensor` and `Normalize`.
///
/// It belongs to a trained network as its weights do, so a checkpoint carries it, by way of `serde`. In JSON that takes
/// serde_json with its feature `float_roundtrip`: without it, numbers may come back off by one bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// What is taken from each channel.
    pub mean: Vec<f64>,
    /// What each channel is divided by afterwards.
    pub std: Vec<f64>,
}

impl Normalization {
    /// From 0 to 1, and nothing more.
    pub fn unit(channels: usize) -> Normalization {
        Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    /// Mean and standard deviation of the values of a data set, as they are before any augmentation: the training
    /// examples, without those that are set aside. A channel that is the same everywhere has the deviation 1.
    ///
    /// The sums are those of whole numbers, so they are exact and neither the order nor the number of threads matters;
    /// the deviation is that of a whole population (divided by the number of values, not one less).
    ///
    /// # Errors
    /// Where an image cannot be read, or `threads` is 0.
    pub fn of(dataset: &Dataset, threads: usize) -> Result<Normalization, TrainError> {
        let chunks = dataset.len().div_ceil(CHUNK);
        let shared = dataset.clone();
        let sums = Prefetch::start(0..chunks, threads, threads.saturating_mul(2), move |chunk| {
            let end = shared.len().min((chunk + 1) * CHUNK);
            add_up(&shared, chunk * CHUNK..end)
        })?;
        let [channels, height, width] = dataset.shape();
        let mut total = vec![Sums::default(); channels];
        for sums in sums {
            for (total, sums) in total.iter_mut().zip(sums?) {
                total.values += sums.values;
                total.squares += sums.squares;
            }
        }
        let count = (dataset.len() * height * width) as u128;
        let (mean, std) = total.iter().map(|sums| sums.mean_and_std(count)).unzip();
        Ok(Normalization { mean, std })
    }

    /// How many channels it is for.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Refuses what cannot be applied to examples of a shape: another number of channels, a mean that is not a number, a
    /// deviation that is not above 0.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self, shape: [usize; 3]) -> Result<(), TrainError> {
        let refuse =
            |value: String, expected: String| Err(TrainError::option("normalization", value, expected));
        if self.mean.len() != shape[0] || self.std.len() != shape[0] {
            let value = format!("of {} means and {} deviations", self.mean.len(), self.std.len());
            return refuse(value, format!("expected {} of each, one for each channel", shape[0]));
        }
        for (mean, std) in self.mean.iter().zip(&self.std) {
            if !(mean.is_finite() && std.is_finite() && *std > 0.0) {
                let expected = "expected finite numbers, and the deviation above 0".to_owned();
                return refuse(format!("of mean {mean} and deviation {std}"), expected);
            }
        }
        Ok(())
    }

    /// What each byte of each channel becomes: computed in f64, then rounded.
    pub(crate) fn table(&self) -> Vec<[f32; 256]> {
        let channels = self.mean.iter().zip(&self.std);
        let value = |byte: usize, mean: f64, std: f64| ((byte as f64 / 255.0 - mean) / std) as f32;
        channels.map(|(mean, std)| std::array::from_fn(|byte| value(byte, *mean, *std))).collect()
    }

    /// The values of an example, or of several one after the other, from its bytes `[channel][row][column]`.
    ///
    /// # Errors
    /// Those of [`check`](Normalization::check), and where `bytes` or `out` do not hold whole examples, alike many.
    pub fn apply(&self, bytes: &[u8], shape: [usize; 3], out: &mut [f32]) -> Result<(), TrainError> {
        self.check(shape)?;
        let example = shape.iter().product::<usize>();
        if bytes.len() != out.len() || example == 0 || !bytes.len().is_multiple_of(example) {
            let value = format!("of {} bytes into {} values", bytes.len(), out.len());
            let expected = format!("expected as many of both, {example} an example");
            return Err(TrainError::option("normalization", value, expected));
        }
        let table = self.table();
        for (bytes, out) in bytes.chunks_exact(example).zip(out.chunks_exact_mut(example)) {
            look_up(&table, bytes, out);
        }
        Ok(())
    }
}

/// Writes what the bytes of one example become.
pub(crate) fn look_up(table: &[[f32; 256]], bytes: &[u8], out: &mut [f32]) {
    let plane = bytes.len() / table.len();
    let planes = bytes.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
    for (table, (bytes, out)) in table.iter().zip(planes) {
        for (byte, value) in bytes.iter().zip(out) {
            *value = table[usize::from(*byte)];
        }
    }
}

/// Sums over the bytes of a channel.
#[derive(Clone, Copy, Default)]
struct Sums {
    values: u128,
    squares: u128,
}

impl Sums {
    fn mean_and_std(&self, count: u128) -> (f64, f64) {
        let mean = self.values as f64 / count as f64 / 255.0;
        // count² times the variance, without a rounding so far.
        let spread = count * self.squares - self.values * self.values;
        let std = (spread as f64).sqrt() / count as f64 / 255.0;
        (mean, if spread == 0 { 1.0 } else { std })
    }
}

fn add_up(dataset: &Dataset, examples: std::ops::Range<usize>) -> Result<Vec<Sums>, TrainError> {
    let [channels, height, width] = dataset.shape();
    let mut sums = vec![Sums::default(); channels];
    let mut bytes = vec![0; dataset.example_len()];
    for index in examples {
        dataset.read(index, &mut bytes)?;
        for (sums, plane) in sums.iter_mut().zip(bytes.chunks_exact(height * width)) {
            let (mut values, mut squares) = (0_u64, 0_u64);
            for byte in plane {
                values += u64::from(*byte);
                squares += u64::from(*byte) * u64::from(*byte);
            }
            sums.values += u128::from(values);
            sums.squares += u128::from(squares);
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dataset(shape: [usize; 3], pixels: Vec<u8>) -> Dataset {
        let examples = pixels.len() / shape.iter().product::<usize>();
        Dataset::from_memory("x", shape, vec!["a".into()], pixels, vec![0; examples]).unwrap()
    }

    #[test]
    fn mean_and_deviation_are_those_of_each_channel() {
        let two = dataset([2, 1, 2], vec![0, 255, 51, 51, 255, 0, 51, 51]);
        let normalization = Normalization::of(&two, 1).unwrap();
        assert_eq!(normalization, Normalization { mean: vec![0.5, 0.2], std: vec![0.5, 1.0] });
        let mut out = [9.0; 4];
        normalization.apply(&[0, 255, 51, 102], [2, 1, 2], &mut out).unwrap();
        assert_eq!(out, [-1.0, 1.0, 0.0, (0.4_f64 - 0.2) as f32]);
        Normalization::unit(1).apply(&[0, 51, 255], [1, 1, 1], &mut out[..3]).unwrap();
        assert_eq!(out[..3], [0.0, 0.2, 1.0]);
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let refused = |mean: &[f64], std: &[f64]| {
            let normalization = Normalization { mean: mean.to_vec(), std: std.to_vec() };
            normalization.apply(&[0; 4], [1, 2, 2], &mut [0.0; 4]).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&[0.0; 3], &[1.0; 3]),
            "normalization of 3 means and 3 deviations: expected 1 of each, one for each channel"
        );
        assert_eq!(
            refused(&[0.5], &[0.0]),
            "normalization of mean 0.5 and deviation 0: expected finite numbers, and the deviation above 0"
        );
        assert!(refused(&[f64::NAN], &[1.0]).contains("mean NaN"));
        let error = Normalization::unit(1).apply(&[0; 6], [1, 2, 2], &mut [0.0; 6]).unwrap_err().to_string();
        assert_eq!(error, "normalization of 6 bytes into 6 values: expected as many of both, 4 an example");
    }

    proptest! {
        #[test]
        fn it_is_that_of_two_passes(pixels in prop::collection::vec(any::<u8>(), 1..2000), threads in 1_usize..4) {
            let normalization = Normalization::of(&dataset([1, 1, 1], pixels.clone()), threads).unwrap();
            let count = pixels.len() as f64;
            let values: Vec<f64> = pixels.iter().map(|pixel| f64::from(*pixel) / 255.0).collect();
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            prop_assert!((normalization.mean[0] - mean).abs() <= 1e-12);
            let std = if pixels.iter().all(|pixel| *pixel == pixels[0]) { 1.0 } else { variance.sqrt() };
            prop_assert!((normalization.std[0] - std).abs() <= 1e-12);
        }

        #[test]
        fn what_is_written_reads_back(mean in any::<f64>(), std in any::<f64>()) {
            prop_assume!(mean.is_finite() && std.is_finite());
            let normalization = Normalization { mean: vec![mean], std: vec![std] };
            let text = serde_json::to_string(&normalization).unwrap();
            prop_assert_eq!(serde_json::from_str::<Normalization>(&text).unwrap(), normalization);
        }
    }
}
