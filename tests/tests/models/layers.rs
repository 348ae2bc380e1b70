//! Layers against what PyTorch made of them, where whole tensors would be too large to keep: goldens of statistics and
//! samples, as `assets/goldens/vgg/make.py` and `assets/goldens/hed/make.py` write them.

use std::collections::BTreeMap;

use kiln_engine::Tensor;
use kiln_reference::Array;
use kiln_tests::{data, golden};

/// The largest difference that a layer may have, relative to its largest value.
pub(crate) const BOUND: f64 = 1e-4;

/// Values of a layer that are kept as they are, for each image.
const SAMPLES: usize = 64;

/// A file of statistics and samples.
pub(crate) struct LayerGolden(BTreeMap<String, Array>);

impl LayerGolden {
    pub(crate) fn read(file: &str) -> LayerGolden {
        LayerGolden(golden::tensors(file))
    }

    /// A tensor of the golden, cut to the first `images`.
    pub(crate) fn rows(&self, name: &str, images: usize) -> &[f64] {
        let array = &self.0[name];
        &array.data[..array.data.len() / array.shape[0] * images]
    }

    /// What a layer made of the first images against what PyTorch did.
    pub(crate) fn check(&self, prefix: &str, layer: &str, tensor: &Tensor) {
        let images = tensor.shape()[0];
        let values = tensor.as_f32().expect("a layer should give f32");
        let elements = values.len() / images;
        let projection = data::uniform(&format!("{layer}.projection"), elements);
        let places = data::indices(&format!("{layer}.samples"), SAMPLES, elements);
        let stats = self.rows(&format!("{prefix}.{layer}.stats"), images);
        let samples = self.rows(&format!("{prefix}.{layer}.samples"), images);
        for (image, values) in values.chunks(elements).enumerate() {
            let stats = &stats[6 * image..][..6];
            let largest = stats[4];
            for (name, got, expected) in [
                ("mean", mean(values), stats[0]),
                ("standard deviation", deviation(values), stats[1]),
                ("minimum", fold(values, f64::INFINITY, f64::min), stats[2]),
                ("maximum", fold(values, f64::NEG_INFINITY, f64::max), stats[3]),
                ("largest value", fold(values, 0.0, |most, x| most.max(x.abs())), stats[4]),
                ("projection", project(values, &projection), stats[5]),
            ] {
                let error = (got - expected).abs() / largest;
                assert!(error <= BOUND, "{layer}, image {image}: {name} is {got}, expected {expected}");
            }
            let expected = &samples[SAMPLES * image..][..SAMPLES];
            for (place, expected) in places.iter().zip(expected) {
                let got = f64::from(values[*place as usize]);
                let error = (got - expected).abs() / largest;
                assert!(error <= BOUND, "{layer}, image {image}: [{place}] is {got}, expected {expected}");
            }
        }
    }
}

fn fold(values: &[f32], start: f64, f: impl Fn(f64, f64) -> f64) -> f64 {
    // `min` and `max` drop a NaN; it fails the mean.
    values.iter().fold(start, |so_far, x| f(so_far, f64::from(*x)))
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f32]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

fn project(values: &[f32], weights: &[f32]) -> f64 {
    let sum: f64 = values.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    sum / (values.len() as f64).sqrt()
}
