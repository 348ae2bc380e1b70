//! How long networks take on a device: as a whole by the host's clock, layer by layer by the device's.

use std::time::{Duration, Instant};

use kiln_engine::{PlanId, Session, Tensor, WeightSource};
use kiln_gpu::Gpu;

use crate::error::ModelError;
use crate::network::Network;
use crate::summary::{Summary, summarize};

/// A network on a device, with something to run it on.
pub struct Bench {
    session: Session,
    plan: PlanId,
    inputs: Vec<(String, Tensor)>,
    /// Of a single example.
    summary: Summary,
    batch: usize,
}

/// Durations of several runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(Vec<Duration>);

/// What one layer takes.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// The layer's path, without the network's name.
    pub name: String,
    /// What its ops are, in the order of the [`Summary`]: `conv2d relu`.
    pub kind: String,
    /// The kernels that ran, in order, each once.
    pub kernels: Vec<String>,
    /// Median over the runs of the time of all its kernels.
    pub duration: Duration,
    /// Multiply-adds of the whole batch.
    pub multiply_adds: u64,
}

impl Bench {
    /// Loads a network for a batch of examples of one size.
    pub fn load(
        gpu: &Gpu,
        network: &Network,
        batch: usize,
        input: &[usize],
        weights: &dyn WeightSource,
    ) -> Result<Bench, ModelError> {
        let graph = network.graph(batch, input)?;
        // Costs grow with the batch, but a packed batch of texts does not attend from one text to the others.
        let summary = summarize(&network.graph(1, input)?);
        let mut session = Session::new(gpu);
        let plan = session.load(&graph, weights)?;
        // Last: a batch that the device has room for, the host has too.
        let inputs = network.example(batch, input)?;
        Ok(Bench { session, plan, inputs, summary, batch })
    }

    /// Multiply-adds of one run: of the whole batch.
    pub fn multiply_adds(&self) -> u64 {
        self.summary.totals.multiply_adds.saturating_mul(self.batch as u64)
    }

    /// One run as a program has it: inputs go to the device, outputs come back.
    pub fn run(&mut self) -> Result<Duration, ModelError> {
        let inputs = borrowed(&self.inputs);
        let start = Instant::now();
        self.session.run(self.plan, &inputs)?;
        Ok(start.elapsed())
    }

    /// Runs several times and says what each layer took by the device's clock. Kernels that run one by one, as they do
    /// here, take longer together than a run does.
    ///
    /// `progress` gets the number of runs that are done. The error says where the device has no timestamps.
    pub fn profile(
        &mut self,
        runs: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<LayerTime>, ModelError> {
        let inputs = borrowed(&self.inputs);
        let mut layers: Vec<(LayerTime, Vec<Duration>)> = vec![];
        for run in 0..runs {
            for (_, samples) in &mut layers {
                samples.push(Duration::ZERO);
            }
            for step in self.session.time(self.plan, &inputs)? {
                let name = self.summary.layer_name(&step.path);
                let found = layers.iter().position(|(layer, _)| layer.name == name);
                let index = found.unwrap_or_else(|| {
                    let layer = layer_time(&self.summary, name, self.batch);
                    layers.push((layer, vec![Duration::ZERO; run + 1]));
                    layers.len() - 1
                });
                let (layer, samples) = &mut layers[index];
                samples[run] += step.duration;
                if !layer.kernels.contains(&step.kernel) {
                    layer.kernels.push(step.kernel);
                }
            }
            progress(run + 1);
        }
        let medians = layers.into_iter().map(|(mut layer, samples)| {
            layer.duration = Samples(samples).median();
            layer
        });
        Ok(medians.collect())
    }
}

fn borrowed(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

fn layer_time(summary: &Summary, name: &str, batch: usize) -> LayerTime {
    let rows = || summary.layers.iter().filter(|layer| layer.name == name);
    let multiply_adds = rows().map(|layer| layer.multiply_adds).fold(0, u64::saturating_add);
    LayerTime {
        name: name.to_owned(),
        kind: rows().map(|layer| layer.kind.as_str()).collect::<Vec<_>>().join(" "),
        kernels: vec![],
        duration: Duration::ZERO,
        multiply_adds: multiply_adds.saturating_mul(batch as u64),
    }
}

impl LayerTime {
    /// Billions of floating-point operations a second, two for each multiply-add; none where nothing was measured.
    pub fn gflops(&self) -> Option<f64> {
        rate(self.multiply_adds, self.duration)
    }
}

/// Billions of floating-point operations a second, two for each multiply-add; none without work or without time.
pub fn rate(multiply_adds: u64, duration: Duration) -> Option<f64> {
    let seconds = duration.as_secs_f64();
    (multiply_adds > 0 && seconds > 0.0).then(|| 2.0 * multiply_adds as f64 / seconds / 1e9)
}

impl Samples {
    /// Adds a run.
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest; zero where there is none.
    pub fn best(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// The one in the middle, or the mean of the two there.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => Duration::ZERO,
            count if count % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_down_to_best_and_median() {
        let of = |millis: &[u64]| {
            let mut samples = Samples::default();
            millis.iter().for_each(|&millis| samples.push(Duration::from_millis(millis)));
            (samples.count(), samples.best().as_millis(), samples.median().as_millis())
        };
        assert_eq!(of(&[]), (0, 0, 0));
        assert_eq!(of(&[9, 3, 5]), (3, 3, 5));
        assert_eq!(of(&[9, 3, 4, 6]), (4, 3, 5));
    }

    #[test]
    fn a_multiply_add_is_two_operations() {
        assert_eq!(rate(500_000_000, Duration::from_millis(500)), Some(2.0));
        assert_eq!(rate(0, Duration::from_millis(500)), None);
        assert_eq!(rate(5, Duration::ZERO), None);
    }
}
