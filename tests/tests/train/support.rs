//! What the script of the goldens says about weights, data and optimizers, in Rust.

use kiln_engine::{AdamOptions, Optimizer, RmsPropOptions, SgdOptions, Tensor};
use kiln_gpu::Gpu;
use kiln_models::cnn::{Architecture, Init, TensorSpec};
use kiln_tests::data;
use kiln_tests::graph::f32_tensor;
use kiln_train::loader::Batch;
use kiln_train::state::State;
use kiln_train::trainer::{StepRecord, Trainer, TrainerOptions};
use serde::Deserialize;

const CLASSES: usize = 10;
/// Templates are made of squares of so many pixels a side.
const SQUARE: usize = 4;

/// One of the networks that come with Kiln.
pub(crate) fn architecture(name: &str) -> Architecture {
    Architecture::by_name(name).expect("the network should be there")
}

/// A parameter or running statistic before the first step.
pub(crate) fn initial(spec: &TensorSpec) -> Tensor {
    let count = spec.shape.iter().product();
    let around = |middle: f32, reach: f32| {
        data::uniform(&spec.name, count).iter().map(|u| u * reach + middle).collect::<Vec<f32>>()
    };
    let data = match (&spec.init, spec.trainable) {
        (Init::Uniform(bound), _) => around(0.0, *bound),
        (Init::Constant(value), _) => vec![*value; count],
        (Init::Ones, true) => around(1.0, 0.25),
        (Init::Zeros, true) => around(0.0, 0.25),
        (Init::Ones, false) => vec![1.0; count],
        (Init::Zeros, false) => vec![0.0; count],
    };
    f32_tensor(&spec.shape, data)
}

/// The state that every run starts from.
pub(crate) fn initial_state(architecture: &Architecture) -> State {
    let tensors = architecture.tensors();
    State { step: 0, tensors: tensors.iter().map(|spec| (spec.name.clone(), initial(spec))).collect() }
}

/// A data set in which images tell their classes, through noise.
pub(crate) struct Examples {
    shape: [usize; 3],
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Examples {
    /// So many of a shape `[C, H, W]`.
    pub(crate) fn new(shape: [usize; 3], count: usize) -> Examples {
        let [channels, height, width] = shape;
        let (rows, columns) = (height / SQUARE, width / SQUARE);
        let labels = data::indices("train.labels", count, CLASSES);
        let templates = data::uniform("train.templates", CLASSES * channels * rows * columns);
        let noise = data::uniform("train.noise", count * channels * height * width);
        let pixel = |(flat, noise): (usize, f32)| {
            let (plane, y, x) = (flat / (height * width), flat / width % height, flat % width);
            let plane = labels[plane / channels] as usize * channels + plane % channels;
            templates[(plane * rows + y / SQUARE) * columns + x / SQUARE] + 2.0 * noise
        };
        let images = noise.into_iter().enumerate().map(pixel).collect();
        Examples { shape, images, labels }
    }

    /// Batch `step`, counted from 0, and around again at the end.
    pub(crate) fn batch(&self, step: usize, size: usize) -> Batch {
        let places: Vec<usize> = (step * size..(step + 1) * size).map(|at| at % self.labels.len()).collect();
        let [channels, height, width] = self.shape;
        let image = |&at: &usize| self.images.chunks(channels * height * width).nth(at).unwrap_or_default();
        Batch {
            index: step,
            shape: [size, channels, height, width],
            images: places.iter().flat_map(image).copied().collect(),
            labels: places.iter().map(|&at| self.labels[at]).collect(),
            origins: places.iter().map(|&at| at as u32).collect(),
        }
    }
}

/// A run of the goldens.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) network: String,
    /// Examples of a batch.
    pub(crate) batch: usize,
    /// Examples of the data set.
    pub(crate) examples: usize,
    optimizer: String,
    options: Options,
    clip: Option<f32>,
    accumulate: Option<usize>,
    pub(crate) losses: Vec<f64>,
}

/// The arguments of PyTorch's optimizers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    lr: f64,
    momentum: Option<f64>,
    dampening: Option<f64>,
    nesterov: Option<bool>,
    weight_decay: Option<f64>,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
    alpha: Option<f64>,
}

impl Run {
    /// The learning rate that the optimizer is made with.
    pub(crate) fn rate(&self) -> f64 {
        self.options.lr
    }

    fn optimizer(&self) -> Optimizer {
        let options = &self.options;
        let mut optimizer = self.optimizer.parse().expect("the optimizer should be known");
        match &mut optimizer {
            Optimizer::Sgd(SgdOptions { momentum, dampening, nesterov, weight_decay }) => {
                put(momentum, options.momentum);
                put(dampening, options.dampening);
                put(nesterov, options.nesterov);
                put(weight_decay, options.weight_decay);
            }
            Optimizer::Adam(AdamOptions { beta1, beta2, eps, weight_decay })
            | Optimizer::AdamW(AdamOptions { beta1, beta2, eps, weight_decay }) => {
                put(beta1, options.betas.map(|betas| betas[0]));
                put(beta2, options.betas.map(|betas| betas[1]));
                put(eps, options.eps);
                put(weight_decay, options.weight_decay);
            }
            Optimizer::RmsProp(RmsPropOptions { alpha, eps, weight_decay, momentum }) => {
                put(alpha, options.alpha);
                put(eps, options.eps);
                put(weight_decay, options.weight_decay);
                put(momentum, options.momentum);
            }
        }
        optimizer
    }

    /// Trains as the golden did, with the rate of each step, and gives the records.
    pub(crate) fn train(&self, gpu: &Gpu, rate: impl Fn(usize) -> f64) -> Vec<StepRecord> {
        let architecture = architecture(&self.network);
        let options = TrainerOptions {
            optimizer: self.optimizer(),
            clip: self.clip,
            accumulate: self.accumulate.unwrap_or(1),
            label_smoothing: 0.0,
            seed: 0,
        };
        let mut trainer = Trainer::new(gpu, &architecture, options).expect("the options should do");
        trainer.restore(&initial_state(&architecture)).expect("the state should fit");
        let examples = Examples::new(architecture.input(), self.examples);
        for step in 0..self.losses.len() {
            trainer.step(&examples.batch(step, self.batch), rate(step)).expect("the step should run");
        }
        let records = trainer.records().expect("the device should answer");
        assert_eq!(records.len(), self.losses.len());
        records
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// The largest relative distance between numbers and what they should be, and the place where it is; NaN is the largest.
pub(crate) fn furthest(got: impl IntoIterator<Item = f32>, expected: &[f64]) -> (f64, usize) {
    let got: Vec<f32> = got.into_iter().collect();
    assert_eq!(got.len(), expected.len());
    let off =
        got.iter().zip(expected).map(|(&got, &expected)| (f64::from(got) - expected).abs() / expected.abs());
    let off = off.map(|off| if off.is_nan() { f64::INFINITY } else { off });
    off.zip(0..).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there should be numbers")
}

#[test]
fn a_number_that_is_none_is_furthest() {
    assert_eq!(furthest([1.0, 2.5], &[1.0, 2.0]), (0.25, 1));
    assert_eq!(furthest([f32::NAN, 2.5], &[1.0, 2.0]), (f64::INFINITY, 0));
}
