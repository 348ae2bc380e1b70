//! A session owns device memory and the plans that run on it.

mod loaded;
mod memory;
mod pool;
mod prepare;
mod record;
mod resident;

use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use kiln_gpu::{Buffer, DeviceProfile, Gpu};

use crate::choices::{Choices, Target};
use crate::compile::{Planned, plan};
use crate::device::{Device, Tuner};
use crate::error::{EngineError, Result};
use crate::graph::{Graph, Origin};
use crate::passes::drop_dead;
use crate::plan::{Plan, SlotKind};
use crate::tensor::Tensor;
use crate::weights::WeightSource;
use crate::work::Work;
use loaded::{Bound, Loaded};
use pool::Pool;
use resident::{Resident, Stretch, VariablePiece};

pub use loaded::Pending;
pub use memory::SessionMemory;

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
    /// Name of the op or rule that it belongs to.
    pub op: &'static str,
    /// What it computes.
    pub work: Work,
    /// Bytes that it reads and writes.
    pub bytes: u64,
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
    tuner: Option<Tuner>,
    pool: Pool,
    resident: Resident,
    plans: Vec<Loaded>,
    /// The most bytes that there were at once.
    peak: u64,
}

impl Session {
    /// An empty session on a device: a `&Gpu`, or a [`Device`] that has choices besides.
    pub fn new(device: impl Into<Device>) -> Self {
        let device = device.into();
        let profile = device.profile().clone();
        Self::with_profile(device, profile)
    }

    /// An empty session that plans as if the device were another: of another kind, or with lower limits (higher ones
    /// fail when the plan is recorded). How a program for small devices, or kernels for GPUs, are tried anywhere.
    pub fn with_profile(device: impl Into<Device>, profile: DeviceProfile) -> Self {
        let (gpu, tuner) = device.into().into_parts();
        Self {
            gpu,
            profile,
            tuner,
            pool: Pool::default(),
            resident: Resident::default(),
            plans: vec![],
            peak: 0,
        }
    }

    /// The same session, whose plans have kernels by these choices where they say something, else by the table.
    pub fn with_choices(self, choices: Choices) -> Self {
        Self { tuner: Some(Tuner::fixed(choices)), ..self }
    }

    /// What the plans that are loaded from here on have kernels by, on trial.
    pub(crate) fn choose(&mut self, choices: Choices) {
        self.tuner = Some(Tuner::on_trial(choices));
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
        let parts = graph.parts.clone();
        let graph = drop_dead(graph)?;
        check_weights(&graph, weights)?;
        let Planned { prepare, main: plan } = match &self.tuner {
            Some(tuner) => tuner.plan(&self.gpu, &self.profile, &graph)?,
            None => plan(&graph, Target::from(&self.profile))?,
        };
        self.resident.check_variables(&plan, &parts)?;
        let (fixed, variables) = self.compiling(&plan, |session| {
            session.prepare(&prepare, weights)?;
            session.fixed(&plan, weights)
        })?;
        log::debug!("{}: {} steps, {} slots", plan.name, plan.steps.len(), plan.slots.len());
        let before = self.pool.remember();
        let sizes = plan.slots.iter().filter(|slot| slot.kind == SlotKind::Pooled).map(|slot| slot.bytes);
        let reserved = self.pool.reserve(&sizes.collect::<Vec<_>>());
        let mut loaded = Loaded::new(plan, fixed, reserved.places);
        if !reserved.grown.is_empty() {
            self.plans.iter_mut().for_each(|other| other.release(&reserved.grown));
            // The buffers that they had are free once the device is done with them.
            self.gpu.wait()?;
        }
        if let Err(error) = loaded.bind(&self.gpu, &mut self.pool) {
            self.pool.restore(before);
            return Err(error);
        }
        // Nothing can fail any more: a refused plan leaves no variable behind.
        self.resident.adopt(&loaded.plan, variables, &parts);
        self.plans.push(loaded);
        self.note_peak(0);
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
        let (gpu, plan, bound) = self.bound(id)?;
        bound.write_inputs(gpu, &plan, inputs)?;
        bound.run(gpu, &plan)
    }

    /// Starts a run and returns at once; its outputs come from [`Pending::wait`]. So that the device is never idle, the
    /// next run is submitted before the outputs of this one are waited for: inputs, which go the way of everything else,
    /// don't arrive before the kernels that still read the former ones are done, and outputs are copied away before
    /// anything overwrites them.
    ///
    /// ```no_run
    /// # use kiln_engine::{EngineError, Outputs, PlanId, Session, Tensor};
    /// # fn run(session: &mut Session, plan: PlanId, batches: &[Tensor]) -> Result<Vec<Outputs>, EngineError> {
    /// let (mut results, mut under_way) = (vec![], None);
    /// for batch in batches {
    ///     let next = session.submit(plan, &[("x", batch)])?;
    ///     results.extend(under_way.replace(next).map(|pending| pending.wait()).transpose()?);
    /// }
    /// results.extend(under_way.map(|pending| pending.wait()).transpose()?);
    /// # Ok(results)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Session::run`].
    ///
    /// # Panics
    /// For an id of another session.
    pub fn submit(&mut self, id: PlanId, inputs: &[(&str, &Tensor)]) -> Result<Pending> {
        let (gpu, plan, bound) = self.bound(id)?;
        bound.write_inputs(gpu, &plan, inputs)?;
        let readback = bound.submit(gpu, &plan)?;
        Ok(Pending { plan, readback })
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
        self.repeat(id, 1)
    }

    /// As [`rerun`](Self::rerun) so many times, waiting only behind the last: the device need not pause between them.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] for a device failure.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn repeat(&mut self, id: PlanId, times: usize) -> Result<()> {
        let (gpu, _, bound) = self.bound(id)?;
        for _ in 0..times {
            gpu.submit(&bound.recording)?;
        }
        Ok(gpu.wait()?)
    }

    /// Runs a plan and measures each kernel by the device's own clock.
    ///
    /// # Errors
    /// Those of [`Session::run`], and [`EngineError::Gpu`] where the device has no timestamps.
    ///
    /// # Panics
    /// For an id of another session.
    pub fn time(&mut self, id: PlanId, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>> {
        let (gpu, plan, bound) = self.bound(id)?;
        bound.write_inputs(gpu, &plan, inputs)?;
        let times = gpu.time(&bound.recording)?;
        Ok(plan
            .dispatches()
            .zip(times)
            .map(|(dispatch, duration)| StepTime {
                path: dispatch.path.clone(),
                kernel: dispatch.kernel.to_string(),
                duration,
                op: dispatch.op,
                work: dispatch.work,
                bytes: dispatch.bytes,
            })
            .collect())
    }

    /// Gives a variable a value from the host.
    ///
    /// # Errors
    /// [`EngineError::Variable`] where no plan declares it so.
    pub fn write_variable(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        for Stretch { buffer, offset, bytes } in self.resident.variable(name, Some(tensor.desc()))?.0 {
            self.gpu.write(buffer, offset, &tensor.bytes()[bytes])?;
        }
        Ok(())
    }

    /// The present value of a variable.
    ///
    /// # Errors
    /// [`EngineError::Variable`] where no plan declares it.
    pub fn read_variable(&self, name: &str) -> Result<Tensor> {
        let (stretches, desc) = self.resident.variable(name, None)?;
        let parts: Vec<_> = stretches
            .into_iter()
            .map(|Stretch { buffer, offset, bytes }| (buffer, offset..offset + bytes.len() as u64))
            .collect();
        Ok(Tensor::from_bytes(desc.clone(), &self.gpu.read(&parts)?.concat()))
    }

    /// Does something while the kernels of a plan are compiled.
    fn compiling<R>(&mut self, plan: &Plan, something: impl FnOnce(&mut Self) -> R) -> R {
        let gpu = self.gpu.clone();
        std::thread::scope(|scope| {
            // What fails here fails again in the recording, which tells of it.
            let thread = std::thread::Builder::new().name("kiln kernels".into());
            let compile = move || {
                let kernels: Vec<_> =
                    plan.dispatches().map(|step| (step.kernel, step.overrides.as_slice())).collect();
                gpu.compile(&kernels).unwrap_or_else(|error| log::debug!("{}: {error}", plan.name));
            };
            if let Err(error) = thread.spawn_scoped(scope, compile) {
                log::debug!("{}: {error}", plan.name);
            }
            something(self)
        })
    }

    /// A plan, ready to run.
    fn bound(&mut self, id: PlanId) -> Result<(&Gpu, Arc<Plan>, &Bound)> {
        let loaded = &mut self.plans[id.0];
        let plan = Arc::clone(&loaded.plan);
        let bound = loaded.bind(&self.gpu, &mut self.pool)?;
        Ok((&self.gpu, plan, bound))
    }

    /// A buffer for each slot of a plan that is not pooled, and those among them that are new variables.
    fn fixed(
        &mut self,
        plan: &Plan,
        weights: &dyn WeightSource,
    ) -> Result<(Vec<Option<Buffer>>, Vec<VariablePiece>)> {
        let (mut fixed, mut variables) = (vec![], vec![]);
        for slot in &plan.slots {
            if slot.kind == SlotKind::Pooled {
                fixed.push(None);
                continue;
            }
            let known = match &slot.kind {
                SlotKind::Variable { name, rows } => self.resident.piece(name, rows),
                _ => None,
            };
            let buffer = match known {
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
            fixed.push(Some(buffer));
        }
        Ok((fixed, variables))
    }
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

/// A session may move to another thread.
const _: fn() = || {
    fn send<T: Send>() {}
    send::<Session>();
};
