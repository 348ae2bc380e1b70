//! The bench that is a device: ops alone in graphs of their own.

use std::ops::Range;
use std::time::{Duration, Instant};

use kiln_gpu::{DeviceProfile, Gpu};

use super::note;
use super::search::{Bench, Race};
use crate::choices::{Asked, Choices, Journal, Operand, Question};
use crate::error::Result;
use crate::graph::{Graph, Origin};
use crate::session::{PlanId, Session};
use crate::tensor::{DType, Tensor, TensorDesc};
use crate::weights::{WeightError, WeightSource};

/// Measures on a device.
pub(super) struct DeviceBench<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) profile: &'a DeviceProfile,
    pub(super) start: Instant,
}

impl Bench for DeviceBench<'_> {
    type Race = DeviceRace;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn questions(&mut self, question: &Question, choices: &Choices) -> Result<Vec<Asked>> {
        let journal = Journal::default();
        note(&alone(question)?, self.profile, choices, &journal)?;
        Ok(journal.into_asked())
    }

    fn race(&mut self, question: &Question) -> Result<DeviceRace> {
        let graph = alone(question)?;
        let inputs = graph
            .inputs()
            .map(|(name, desc)| {
                let numbers: Vec<f32> = (0..desc.elements()).map(noise).collect();
                let bits = || numbers.iter().map(|number| half_pair(number.to_bits())).collect();
                let tensor = match desc.dtype {
                    DType::F32 => Tensor::f32(desc.shape.clone(), numbers)?,
                    DType::U32 => Tensor::u32(desc.shape.clone(), bits())?,
                };
                Ok((name.to_owned(), tensor))
            })
            .collect::<Result<Vec<_>>>()?;
        // The device's own clock has nothing of the way there and back in it; a software adapter's is the host's.
        let by_device = self.profile.timestamps && !self.profile.kind.is_software();
        let session = Session::with_profile(self.gpu, self.profile.clone());
        Ok(DeviceRace { session, graph, inputs, profile: self.profile.clone(), by_device, plans: vec![] })
    }
}

/// One op, planned in several ways. What the plans share of its weights, they share in memory.
pub(super) struct DeviceRace {
    session: Session,
    graph: Graph,
    inputs: Vec<(String, Tensor)>,
    profile: DeviceProfile,
    by_device: bool,
    plans: Vec<PlanId>,
}

impl Race for DeviceRace {
    fn enter(&mut self, choices: &Choices) -> Result<usize> {
        self.session.choose(choices.clone());
        let plan = self.session.load(&self.graph, &Noise(&self.graph))?;
        self.session.run(plan, &borrowed(&self.inputs))?;
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    fn sample(&mut self, entrant: usize) -> Result<f64> {
        let plan = self.plans[entrant];
        if self.by_device {
            let times = self.session.time(plan, &borrowed(&self.inputs))?;
            return Ok(times.iter().map(|step| step.duration.as_secs_f64()).sum());
        }
        let start = Instant::now();
        self.session.rerun(plan)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn clear(&mut self) {
        self.plans.clear();
        self.session = Session::with_profile(self.session.gpu(), self.profile.clone());
    }
}

fn borrowed(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// The op of a question in a graph of its own. Constants stay constants: what is made of them at load is not measured.
fn alone(question: &Question) -> Result<Graph> {
    let mut graph = Graph::empty("tune");
    let mut inputs = vec![];
    for (index, Operand { desc, constant }) in question.inputs.iter().enumerate() {
        let name = format!("operand{index}");
        let origin = if *constant { Origin::Constant(name) } else { Origin::Input(name) };
        inputs.push(graph.add_value(desc.clone(), origin));
    }
    let output = graph.add_node(question.op.clone(), inputs, question.op.name().to_owned())?;
    graph.outputs.push(("output".to_owned(), output));
    Ok(graph)
}

/// Constants that no arithmetic takes longer for: moderate numbers of both signs.
struct Noise<'a>(&'a Graph);

impl WeightSource for Noise<'_> {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        let constant = |origin: &Origin| matches!(origin, Origin::Constant(held) if held == name);
        self.0.values().iter().find(|info| constant(&info.origin)).map(|info| info.desc.clone())
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        let words = self.desc(name).is_some_and(|desc| desc.dtype == DType::U32);
        let number = |element: usize| match words {
            true => f32::from_bits(half_pair(noise(element).to_bits())),
            false => noise(element),
        };
        // Weights of some hundred million numbers are soon made of the same few.
        let block: Vec<f32> = (0..BLOCK.min(elements.len())).map(number).collect();
        for part in out.chunks_mut(BLOCK) {
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(())
    }
}

/// Numbers that a constant consists of, over and over.
const BLOCK: usize = 1 << 16;

/// A number from -0.5 to 0.5 that depends on its place.
fn noise(element: usize) -> f32 {
    let mixed = (element as u32).wrapping_mul(0x9E37_79B9);
    (mixed >> 8) as f32 / (1 << 24) as f32 - 0.5
}

/// Two halves of about 0.1 in a word: integers stand for packed halves in all ops that are measured.
fn half_pair(bits: u32) -> u32 {
    0x2E00_2E00 | (bits & 0x00FF_00FF)
}
