//! A small data set on the disk, and a learner without a device.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_engine::{Optimizer, Tensor};
use kiln_models::cnn::Architecture;
use kiln_train::TrainError;
use kiln_train::config::{RunConfig, RunOptions};
use kiln_train::learner::Learner;
use kiln_train::loader::{Batch, Loader};
use kiln_train::metrics::{Accuracy, Confusion, RunningLoss};
use kiln_train::random::{Purpose, Random};
use kiln_train::run::{Control, Outcome, Run};
use kiln_train::state::State;
use kiln_train::trainer::{Evaluation, StepRecord};

/// Values of an example, and classes.
const VALUES: usize = 4;
const CLASSES: usize = 3;

/// The network that [`Linear`] is.
pub(crate) const NETWORK: &str = "name = \"linear\"\ninput = [1, 2, 2]\nobjective = \"classification\"\n\
    layers = [\"flatten\", { layer = \"linear\", out_features = 3 }]\n\
    [training]\noptimizer = \"sgd\"\nlr = 0.1\nmomentum = 0.9\nweight_decay = 0.0\nschedule = \"constant\"\n";

/// Writes IDX files of images of 2 x 2 pixels in three classes, which lines can tell apart, but for a few.
pub(crate) fn write_data(folder: &Path, train: u32, test: u32) {
    fs::create_dir_all(folder).unwrap();
    for (part, count) in [("train", train), ("t10k", test)] {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for example in 0..count {
            let mut random = Random::new(u64::from(test == count), Purpose::Test, 0, example);
            let label = random.below(CLASSES as u32);
            let shown = if random.below(10) == 0 { 0 } else { label as usize };
            let value = |place: usize| if place == shown { 160 } else { 60 };
            pixels.extend((0..VALUES).map(|place| (value(place) + random.below(80)) as u8));
            labels.push(label as u8);
        }
        let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
        let images = [header(&[0x803, count, 2, 2]), pixels].concat();
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        let labels = [header(&[0x801, count]), labels].concat();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    fs::write(folder.join("classes.txt"), "low\nmiddle\nhigh\n").unwrap();
}

/// A softmax regression with momentum, in f64 between two steps and in f32 from step to step. Like a device it tells
/// what steps came to only when it is asked, and changes nothing any more after a step that was not finite.
#[derive(Debug)]
pub(crate) struct Linear {
    seed: u64,
    momentum: f64,
    step: u64,
    weights: Vec<f32>,
    buffer: Vec<f32>,
    records: Vec<StepRecord>,
    stopped: bool,
}

const TENSORS: [(&str, &[usize]); 2] = [("fc1.weight", &[CLASSES, VALUES]), ("fc1.bias", &[CLASSES])];

impl Linear {
    pub(crate) fn new(config: &RunConfig, _: &Architecture) -> Result<Linear, TrainError> {
        let Optimizer::Sgd(sgd) = config.optimizer else { panic!("only SGD is there for tests") };
        let zeros = vec![0.0; CLASSES * (VALUES + 1)];
        Ok(Linear {
            seed: config.seed,
            momentum: sgd.momentum,
            step: 0,
            weights: zeros.clone(),
            buffer: zeros,
            records: Vec::new(),
            stopped: false,
        })
    }

    /// Loss, class with the highest score, and probabilities of an example.
    fn look(&self, values: &[f32], label: usize) -> (f64, usize, [f64; CLASSES]) {
        let score = |class: usize| {
            let row = &self.weights[class * VALUES..][..VALUES];
            let sum: f64 = row.iter().zip(values).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            sum + f64::from(self.weights[CLASSES * VALUES + class])
        };
        let scores: [f64; CLASSES] = std::array::from_fn(score);
        let high = scores.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|score| (score - high).exp()).sum();
        let best = (0..CLASSES).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        (total.ln() + high - scores[label], best, scores.map(|score| (score - high).exp() / total))
    }
}

impl Learner for Linear {
    fn initialize(&mut self) -> Result<(), TrainError> {
        let mut random = Random::new(self.seed, Purpose::Initial, 0, 0);
        self.weights.fill_with(|| random.between(-0.5, 0.5) as f32);
        Ok(())
    }

    fn state(&mut self) -> Result<State, TrainError> {
        let mut tensors = BTreeMap::new();
        for (prefix, values) in [("", &self.weights), ("optimizer.momentum_buffer.", &self.buffer)] {
            let mut start = 0;
            for (name, shape) in TENSORS {
                let count = shape.iter().product::<usize>();
                let tensor = Tensor::f32(shape, values[start..start + count].to_vec())?;
                tensors.insert(format!("{prefix}{name}"), tensor);
                start += count;
            }
        }
        Ok(State { step: self.step, tensors })
    }

    fn restore(&mut self, state: &State) -> Result<(), TrainError> {
        for (prefix, values) in [("", &mut self.weights), ("optimizer.momentum_buffer.", &mut self.buffer)] {
            let tensor = |(name, _)| state.tensors[&format!("{prefix}{name}")].as_f32().unwrap();
            *values = TENSORS.into_iter().flat_map(tensor).copied().collect();
        }
        self.step = state.step;
        self.stopped = false;
        Ok(())
    }

    fn step(&mut self, batch: &Batch, rate: f64) -> Result<(), TrainError> {
        let (mut gradient, mut loss, mut correct) = (vec![0.0; self.weights.len()], 0.0, 0);
        let examples = batch.labels.len();
        for (values, label) in batch.images.chunks_exact(VALUES).zip(&batch.labels) {
            let (own, best, shares) = self.look(values, *label as usize);
            loss += own / examples as f64;
            correct += u32::from(best == *label as usize);
            for (class, share) in shares.into_iter().enumerate() {
                let slope = (share - f64::from(u8::from(class == *label as usize))) / examples as f64;
                for (place, value) in values.iter().enumerate() {
                    gradient[class * VALUES + place] += slope * f64::from(*value);
                }
                gradient[CLASSES * VALUES + class] += slope;
            }
        }
        let norm = gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
        let finite = loss.is_finite() && norm.is_finite() && !self.stopped;
        self.stopped = !finite;
        self.step += 1;
        self.records.push(StepRecord {
            step: self.step,
            loss: loss as f32,
            correct,
            examples: examples as u32,
            norm: norm as f32,
            finite,
        });
        if finite {
            for ((weight, buffer), slope) in self.weights.iter_mut().zip(&mut self.buffer).zip(gradient) {
                *buffer = (self.momentum * f64::from(*buffer) + slope) as f32;
                *weight = (f64::from(*weight) - rate * f64::from(*buffer)) as f32;
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<Vec<StepRecord>, TrainError> {
        Ok(std::mem::take(&mut self.records))
    }

    fn evaluate(&mut self, loader: Loader) -> Result<Evaluation, TrainError> {
        let (mut loss, mut accuracy) = (RunningLoss::default(), Accuracy::default());
        let mut confusion = Confusion::new(CLASSES);
        for batch in loader {
            let batch = batch?;
            for (values, label) in batch.images.chunks_exact(VALUES).zip(&batch.labels) {
                let (own, best, _) = self.look(values, *label as usize);
                loss.add(own, 1);
                accuracy.add(&[best as u32], &[*label]);
                confusion.add(&[best as u32], &[*label]);
            }
        }
        Ok(Evaluation { loss: loss.mean().unwrap(), accuracy, confusion })
    }

    fn outputs(&mut self, _: &Batch) -> Result<Vec<f32>, TrainError> {
        unreachable!("nothing is reconstructed in these tests")
    }
}

/// A place for a test: data, a network's file, and room for runs.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(train: u32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), train, 40);
        fs::write(folder.path().join("linear.toml"), NETWORK).unwrap();
        Bench { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Three epochs of batches of 8.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            arch: Some(self.path("linear.toml").display().to_string()),
            data: Some(self.path("data")),
            epochs: Some(3),
            batch_size: Some(8),
            ..RunOptions::default()
        }
    }

    pub(crate) fn start(&self, name: &str, options: RunOptions) -> Result<Run<Linear>, TrainError> {
        let (config, network) = options.resolve()?;
        Run::start(&self.path(name), config, network, Linear::new)
    }

    pub(crate) fn resume(&self, name: &str) -> Result<Run<Linear>, TrainError> {
        Run::resume(&self.path(name), &RunOptions::default(), Linear::new)
    }

    /// Starts a run and lets it go to its end.
    pub(crate) fn run(&self, name: &str, options: RunOptions) -> Result<Outcome, TrainError> {
        train(self.start(name, options)?, usize::MAX)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The lines of a run's metrics without what differs from time to time.
    pub(crate) fn metrics(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name).join("metrics.jsonl")).unwrap();
        let line = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("seconds").expect("a line should tell its time");
            line
        };
        text.lines().map(line).collect()
    }
}

/// Lets a run go on, until it is interrupted after so many steps.
pub(crate) fn train(run: Run<Linear>, steps: usize) -> Result<Outcome, TrainError> {
    let made = std::cell::Cell::new(0);
    let interrupted = || {
        made.set(made.get() + 1);
        made.get() >= steps
    };
    run.train(&Control { interrupted: &interrupted, ..Control::default() }, &mut |_: &_| {})
}
