//! How long networks take on a device: as a whole by the host's clock, layer by layer by the device's.

mod ceilings;
mod profile;

use std::time::{Duration, Instant};

use kiln_engine::{Device, PlanId, Session, SessionMemory, Tensor, WeightSource};

use crate::error::ModelError;
use crate::network::Network;
use crate::summary::{Named, named};

pub use ceilings::Ceilings;
pub use profile::{Bound, Profile, Row, StepProfile};

/// A network on a device, with something to run it on.
pub struct Bench {
    session: Session,
    plan: PlanId,
    inputs: Vec<(String, Tensor)>,
    /// Of the whole batch.
    layers: Vec<Named>,
    /// How many texts attend each to itself alone.
    texts: u64,
}

/// The op whose work depends on more than shapes.
const ATTENTION: &str = "attention";

/// Durations of several runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(Vec<Duration>);

impl Bench {
    /// Loads a network for a batch of examples of one size.
    ///
    /// # Errors
    /// Those of [`Network::graph`] and [`Network::example`]; [`ModelError::Engine`] for a weight that is missing, and where
    /// the device has no room.
    pub fn load(
        device: impl Into<Device>,
        network: &Network,
        batch: usize,
        input: &[usize],
        weights: &dyn WeightSource,
    ) -> Result<Bench, ModelError> {
        let graph = network.graph(batch, input)?;
        // Costs grow with the batch, but a packed batch of texts does not attend from one text to the others.
        let mut layers = named(&network.graph(1, input)?);
        for layer in &mut layers {
            layer.multiply_adds = layer.multiply_adds.saturating_mul(batch as u64);
        }
        let texts = if matches!(network, Network::Encoder(_)) { batch as u64 } else { 1 };
        let mut session = Session::new(device);
        let plan = session.load(&graph, weights)?;
        // Last: a batch that the device has room for, the host has too.
        let inputs = network.example(batch, input)?;
        Ok(Bench { session, plan, inputs, layers, texts })
    }

    /// Multiply-adds of one run: of the whole batch.
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.multiply_adds).fold(0, u64::saturating_add)
    }

    /// What the network takes of the device's memory.
    pub fn memory(&self) -> SessionMemory {
        self.session.memory()
    }

    /// One run as a program has it: inputs go to the device, outputs come back.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    pub fn run(&mut self) -> Result<Duration, ModelError> {
        let inputs = borrowed(&self.inputs);
        let start = Instant::now();
        self.session.run(self.plan, &inputs)?;
        Ok(start.elapsed())
    }

    /// Runs several times, each once as it is and once kernel by kernel with the device's clock beside it.
    ///
    /// `progress` gets the number of rounds that are done.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure, and where the device has no timestamps.
    pub fn profile(&mut self, rounds: usize, progress: &mut dyn FnMut(usize)) -> Result<Profile, ModelError> {
        let (mut runs, mut wall) = (vec![], Samples::default());
        for round in 0..rounds {
            wall.push(self.run()?);
            let mut times = self.session.time(self.plan, &borrowed(&self.inputs))?;
            for step in times.iter_mut().filter(|step| step.op == ATTENTION) {
                step.work.multiply_adds /= self.texts;
            }
            runs.push(times);
            progress(round + 1);
        }
        let model = &self.session.plan(self.plan).name;
        Ok(Profile::new(model, self.layers.clone(), &runs, wall))
    }
}

fn borrowed(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
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
