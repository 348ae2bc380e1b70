//! A session owns device memory and the plans that run on it.

mod pool;
mod prepare;
mod resident;

use std::collections::HashMap;
use std::ops::Index;
use std::time::Duration;

use kiln_gpu::{Buffer, Command, DeviceProfile, Gpu, Recording};

use crate::compile::compile;
use crate::error::{EngineError, Result};
use crate::graph::{Graph, Origin};
use crate::passes::drop_dead;
use crate::plan::{Binding, Constants, Dispatch, Plan, Port, Slot, SlotKind, Step};
use crate::tensor::Tensor;
use crate::weights::WeightSource;
use pool::Pool;
use resident::{Resident, VariablePiece};

/// Names a plan of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(usize);

/// What a run gave back, by the names of the graph's outputs.
#[derive(Clone, Debug, Default)]
pub struct Outputs(HashMap<String, Tensor>);

impl Outputs {
    /// Takes an output out.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// An output.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;

    /// # Panics
    /// Where the graph has no output of that name.
    fn index(&self, name: &str) -> &Tensor {
        &self.0[name]
    }
}

/// The time that one step took on the device.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Layer path.
    pub path: String,
    /// Kernel and variant.
    pub kernel: String,
    /// Duration by the device's clock.
    pub duration: Duration,
}

struct Loaded {
    plan: Plan,
    buffers: Vec<Buffer>,
    recording: Recording,
}

/// Runs graphs on one device.
///
/// All plans of a session take their intermediate memory from one pool, and share weights and variables by name: a
/// session holds one set of weights.
///
/// ```no_run
/// use std::collections::HashMap;
/// use kiln_engine::{DType, GraphBuilder, Session, Tensor};
/// use kiln_gpu::{AdapterChoice, Gpu};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut g = GraphBuilder::new("double");
/// let x = g.input("x", &[3], DType::F32);
/// let y = g.add(x, x)?;
/// g.output("y", y);
///
/// let gpu = Gpu::open(&AdapterChoice::Strongest)?;
/// let mut session = Session::new(&gpu);
/// let plan = session.load(&g.finish(), &HashMap::new())?;
/// let outputs = session.run(plan, &[("x", &Tensor::f32([3], vec![1.0, 2.0, 3.0])?)])?;
/// assert_eq!(outputs["y"].as_f32()?, [2.0, 4.0, 6.0]);
/// # Ok(())
/// # }
/// ```
pub struct Session {
    gpu: Gpu,
    profile: DeviceProfile,
    pool: Pool,
    resident: Resident,
    plans: Vec<Loaded>,
}

impl Session {
    /// An empty session on a device.
    pub fn new(gpu: &Gpu) -> Self {
        Self::with_profile(gpu, gpu.profile().clone())
    }

    /// An empty session that plans as if the device were another: of another kind, or with lower limits (higher ones
    /// fail when the plan is recorded). How a program for small devices, or kernels for GPUs, are tried anywhere.
    pub fn with_profile(gpu: &Gpu, profile: DeviceProfile) -> Self {
        Self {
            gpu: gpu.clone(),
            profile,
            pool: Pool::default(),
            resident: Resident::default(),
            plans: vec![],
        }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Compiles a graph, reads the weights that the session does not hold yet, computes what depends on weights
    /// alone, and records the rest.
    ///
    /// # Errors
    /// [`EngineError`] for a malformed graph, a missing or misshapen weight, or a device failure.
    pub fn load(&mut self, graph: &Graph, weights: &dyn WeightSource) -> Result<PlanId> {
        graph.check()?;
        let graph = drop_dead(graph)?;
        check_weights(&graph, weights)?;
        let hoisted = compile(&graph, &self.profile)?;
        let plan = Plan::build(&hoisted.main, &self.profile, Constants::Resident)?;
        self.resident.check_variables(&plan)?;
        self.prepare(&hoisted.prepare, weights)?;
        let (buffers, variables) = self.buffers(&plan, weights)?;
        let recording = record(&self.gpu, &plan.name, plan.steps.iter(), &buffers)?;
        log::debug!("{}: {} steps, {} slots", plan.name, plan.steps.len(), plan.slots.len());
        // Nothing can fail any more: a refused plan leaves no variable behind.
        self.resident.adopt(&plan, variables);
        self.plans.push(Loaded { plan, buffers, recording });
        Ok(PlanId(self.plans.len() - 1))
    }

    /// The plan behind an id.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn plan(&self, id: PlanId) -> &Plan {
        &self.plans[id.0].plan
    }

    /// Runs a plan and waits for its outputs.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a missing, unknown or misshapen input; [`EngineError::Gpu`] for a device failure.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn run(&mut self, id: PlanId, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        let loaded = &self.plans[id.0];
        loaded.write_inputs(&self.gpu, inputs)?;
        self.gpu.submit(&loaded.recording)?;
        loaded.read_outputs(&self.gpu)
    }

    /// Runs the kernels of a plan and waits for the device, without writing inputs or reading outputs. They work on
    /// whatever lies in memory, since a run reuses its inputs' place: for benchmarks, which want the time alone.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] for a device failure.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn rerun(&mut self, id: PlanId) -> Result<()> {
        self.gpu.submit(&self.plans[id.0].recording)?;
        Ok(self.gpu.wait()?)
    }

    /// Runs a plan and measures each kernel by the device's own clock.
    ///
    /// # Errors
    /// Those of [`Session::run`], and [`EngineError::Gpu`] where the device has no timestamps.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn time(&mut self, id: PlanId, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>> {
        let loaded = &self.plans[id.0];
        loaded.write_inputs(&self.gpu, inputs)?;
        let times = self.gpu.time(&loaded.recording)?;
        Ok(loaded
            .plan
            .dispatches()
            .zip(times)
            .map(|(dispatch, duration)| StepTime {
                path: dispatch.path.clone(),
                kernel: dispatch.kernel.to_string(),
                duration,
            })
            .collect())
    }

    /// Gives a variable a value from the host.
    ///
    /// # Errors
    /// [`EngineError::Variable`] where no plan declares it so.
    pub fn write_variable(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        for (buffer, bytes) in self.resident.variable(name, Some(tensor.desc()))?.0 {
            self.gpu.write(buffer, 0, &tensor.bytes()[bytes])?;
        }
        Ok(())
    }

    /// The present value of a variable.
    ///
    /// # Errors
    /// [`EngineError::Variable`] where no plan declares it.
    pub fn read_variable(&self, name: &str) -> Result<Tensor> {
        let (pieces, desc) = self.resident.variable(name, None)?;
        let parts: Vec<_> =
            pieces.into_iter().map(|(buffer, bytes)| (buffer, 0..bytes.len() as u64)).collect();
        Ok(Tensor::from_bytes(desc.clone(), &self.gpu.read(&parts)?.concat()))
    }

    /// A buffer for each slot of a plan, and those among them that are new variables.
    fn buffers(
        &mut self,
        plan: &Plan,
        weights: &dyn WeightSource,
    ) -> Result<(Vec<Buffer>, Vec<VariablePiece>)> {
        let pooled = plan.slots.iter().filter(|slot| slot.kind == SlotKind::Pooled).map(|slot| slot.bytes);
        let mut pooled = self.pool.take(&self.gpu, pooled.collect())?.into_iter();
        let mut variables = vec![];
        let mut buffers = vec![];
        for slot in &plan.slots {
            let shared = match &slot.kind {
                SlotKind::Pooled => pooled.next(),
                SlotKind::Variable { name, rows } => self.resident.piece(name, rows),
                _ => None,
            };
            let buffer = match shared {
                Some(buffer) => buffer,
                None => self.resident.buffer(&self.gpu, slot, weights)?,
            };
            if let SlotKind::Variable { name, rows } = &slot.kind {
                variables.push(VariablePiece {
                    name: name.clone(),
                    rows: rows.clone(),
                    buffer: buffer.clone(),
                });
            }
            buffers.push(buffer);
        }
        Ok((buffers, variables))
    }
}

impl Loaded {
    fn write_inputs(&self, gpu: &Gpu, inputs: &[(&str, &Tensor)]) -> Result<()> {
        let plan = &self.plan;
        let fail = |name: &str, expected: String, got: String| {
            Err(EngineError::Input { plan: plan.name.clone(), name: name.to_owned(), expected, got })
        };
        for (name, tensor) in inputs {
            match plan.inputs.iter().find(|port| port.name == *name) {
                Some(port) if port.desc == *tensor.desc() => {}
                Some(port) => return fail(name, port.desc.to_string(), tensor.desc().to_string()),
                None => {
                    let known: Vec<&str> = plan.inputs.iter().map(|port| port.name.as_str()).collect();
                    return fail(name, format!("one of {}", known.join(", ")), "an unknown name".to_owned());
                }
            }
        }
        for port in &plan.inputs {
            let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == port.name) else {
                return fail(&port.name, port.desc.to_string(), "nothing".to_owned());
            };
            for (slot, rows) in &port.pieces {
                gpu.write(&self.buffers[slot.index()], 0, &tensor.bytes()[port.piece_bytes(rows)])?;
            }
        }
        Ok(())
    }

    fn read_outputs(&self, gpu: &Gpu) -> Result<Outputs> {
        let piece_size = |port: &Port, rows| port.piece_bytes(rows).len() as u64;
        let parts: Vec<_> = self
            .plan
            .outputs
            .iter()
            .flat_map(|port| port.pieces.iter().map(move |piece| (port, piece)))
            .map(|(port, (slot, rows))| (&self.buffers[slot.index()], 0..piece_size(port, rows)))
            .collect();
        let mut bytes = gpu.read(&parts)?.into_iter();
        let mut outputs = HashMap::new();
        for port in &self.plan.outputs {
            let data: Vec<u8> = bytes.by_ref().take(port.pieces.len()).flatten().collect();
            outputs.insert(port.name.clone(), Tensor::from_bytes(port.desc.clone(), &data));
        }
        Ok(Outputs(outputs))
    }
}

/// Turns steps into a recording over the buffers of their slots.
fn record<'a>(
    gpu: &Gpu,
    label: &str,
    steps: impl Iterator<Item = &'a Step>,
    buffers: &'a [Buffer],
) -> Result<Recording> {
    let slice = |binding: &Binding| kiln_gpu::BufferSlice {
        buffer: &buffers[binding.slot.index()],
        offset: binding.offset,
        bytes: binding.bytes,
    };
    let steps: Vec<&Step> = steps.collect();
    let bindings: Vec<Vec<_>> = steps
        .iter()
        .map(|step| match step {
            Step::Dispatch(dispatch) => dispatch.bindings.iter().map(slice).collect(),
            _ => vec![],
        })
        .collect();
    let commands: Vec<Command<'_>> = steps
        .iter()
        .zip(&bindings)
        .filter_map(|(step, bindings)| match step {
            Step::Dispatch(Dispatch { path, kernel, overrides, params, workgroups, .. }) => {
                Some(Command::Dispatch(kiln_gpu::Dispatch {
                    label: path,
                    kernel,
                    overrides,
                    params,
                    bindings,
                    workgroups: *workgroups,
                }))
            }
            Step::Copy { from, to } => Some(Command::Copy { from: slice(from), to: slice(to) }),
            Step::Load { .. } => None,
        })
        .collect();
    Ok(gpu.record(label, &commands)?)
}

/// Compares the constants that a graph declares with what the source holds, before anything is loaded.
fn check_weights(graph: &Graph, weights: &dyn WeightSource) -> Result<()> {
    for info in graph.values() {
        let Origin::Constant(name) = &info.origin else { continue };
        let problem = match weights.desc(name) {
            Some(desc) if desc == info.desc => continue,
            Some(desc) => format!("expected {}, got {desc}", info.desc),
            None => format!("expected {}, but there is none of that name", info.desc),
        };
        return Err(EngineError::Weight { name: name.clone(), problem });
    }
    Ok(())
}

/// A new buffer for a slot.
fn create(gpu: &Gpu, slot: &Slot) -> Result<Buffer> {
    let label = match &slot.kind {
        SlotKind::Constant { name, .. } | SlotKind::Variable { name, .. } => name.as_str(),
        SlotKind::Literal(_) => "literal",
        SlotKind::Kept => "prepared weight",
        SlotKind::Pooled => "pool",
    };
    Ok(gpu.create_buffer(label, slot.bytes)?)
}

/// A session may move to another thread.
const _: fn() = || {
    fn send<T: Send>() {}
    send::<Session>();
};
