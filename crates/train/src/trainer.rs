//! Training on the device: a step is one plan, replayed.

mod graphs;
mod objective;

use std::collections::HashMap;
use std::time::Instant;

use kiln_engine::{
    NoWeights, Optimizer, Pending, PlanId, Session, SessionMemory, StepTime, Tensor, TensorDesc,
};
use kiln_gpu::Gpu;
use kiln_models::cnn::{Architecture, Objective};
use kiln_models::measure::{Profile, Samples};
use kiln_models::summary::named;

use crate::TrainError;
use crate::init::initial;
use crate::loader::{Batch, Loader};
use crate::measure::StepCost;
use crate::metrics::{Accuracy, Confusion, RunningLoss};
use crate::state::{OPTIMIZER, State};
use graphs::{Graphs, HISTORY, ROW};

pub(crate) use graphs::UPDATE;

/// What a training step does besides the network.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// How parameters follow from gradients.
    pub optimizer: Optimizer,
    /// The most that the norm of all gradients together may be: `torch.nn.utils.clip_grad_norm_`.
    pub clip: Option<f32>,
    /// In how many parts a batch is computed; their gradients add up. For batches that no device could hold at once. Batch
    /// norm takes its statistics from each part.
    pub accumulate: usize,
    /// How much of each label is spread over all classes, from 0 to 1.
    pub label_smoothing: f32,
    /// Decides the first parameters, and what dropout drops.
    pub seed: u64,
}

impl TrainerOptions {
    /// An optimizer, whole batches, seed 0, and nothing else.
    pub fn new(optimizer: Optimizer) -> Self {
        Self { optimizer, clip: None, accumulate: 1, label_smoothing: 0.0, seed: 0 }
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// The step, counted from 1.
    pub step: u64,
    /// Mean loss of the batch, before the update.
    pub loss: f32,
    /// Examples that were classified rightly, before the update.
    pub correct: u32,
    /// Examples in the batch.
    pub examples: u32,
    /// Euclidean norm of all gradients together, before clipping.
    pub norm: f32,
    /// Whether loss and norm were finite. Where they are not, this step and all after it change nothing.
    pub finite: bool,
}

/// How good a network is on some data.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss of an example.
    pub loss: f64,
    /// How many examples are right; none counted for a reconstruction.
    pub accuracy: Accuracy,
    /// Which class was taken for which; none counted for a reconstruction.
    pub confusion: Confusion,
}

/// A network in training on one device.
///
/// Parameters, running statistics and the optimizer's state are variables of one [`Session`]; a step for a batch of a given
/// size is one plan: forward, loss, gradients, check and update. Steps are queued: [`step`](Self::step) returns before the
/// device is done, and [`records`](Self::records) waits. The same steps from the same state give the same bits on the same
/// device.
pub struct Trainer {
    session: Session,
    architecture: Architecture,
    options: TrainerOptions,
    plans: HashMap<Work, PlanId>,
    steps: u64,
    /// Examples of the steps that the history on the device holds, from its first row on.
    under_way: Vec<u32>,
    finished: Vec<StepRecord>,
}

/// What a plan is for, and for how many examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    State,
    Step(usize),
    Part(usize),
    Apply,
    Evaluate(usize),
    Infer(usize),
}

/// Tensors for a run of a plan, with the names of the inputs that they are for.
type Inputs = Vec<(&'static str, Tensor)>;

fn borrowed(inputs: &Inputs) -> Vec<(&'static str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

impl Trainer {
    /// A network with zeros for parameters: [`initialize`](Self::initialize) or [`restore`](Self::restore) come next.
    ///
    /// # Errors
    /// Where an option is out of its range.
    pub fn new(gpu: &Gpu, architecture: &Architecture, options: TrainerOptions) -> Result<Self, TrainError> {
        if options.accumulate == 0 {
            return Err(TrainError::option("accumulate", 0, "expected at least 1"));
        }
        if !(0.0..=1.0).contains(&options.label_smoothing) {
            return Err(TrainError::option(
                "label smoothing",
                options.label_smoothing,
                "expected a number from 0 to 1",
            ));
        }
        if let Some(clip) = options.clip.filter(|&clip| !(clip > 0.0 && clip.is_finite())) {
            return Err(TrainError::option("clip", clip, "expected a finite number above 0"));
        }
        Ok(Self {
            session: Session::new(gpu),
            architecture: architecture.clone(),
            options,
            plans: HashMap::new(),
            steps: 0,
            under_way: vec![],
            finished: vec![],
        })
    }

    /// The network.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Steps made so far, those of earlier runs included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts in parameters by PyTorch's rules for each kind of layer, from the seed, and starts at step 0.
    ///
    /// # Errors
    /// Those of [`restore`](Self::restore).
    pub fn initialize(&mut self) -> Result<(), TrainError> {
        let state = initial(&self.architecture, self.options.seed)?;
        self.restore(&state)
    }

    /// What it takes of the device's memory: parameters, the optimizer's state and the history are variables.
    pub fn memory(&self) -> SessionMemory {
        self.session.memory()
    }

    /// Waits for the device and gives everything that the next step depends on: parameters and running statistics by their
    /// PyTorch names, and the optimizer's state as `optimizer.exp_avg.conv1.weight`.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn state(&mut self) -> Result<State, TrainError> {
        let plan = self.plan(Work::State)?;
        let mut outputs = self.session.run(plan, &[])?;
        let names = self.graphs().tensors().into_iter().map(|(name, _)| name);
        let tensors = names.filter_map(|name| Some((name.clone(), outputs.take(&name)?))).collect();
        Ok(State { step: self.steps, tensors })
    }

    /// Puts in what [`state`](Self::state) gave. A state without any of the optimizer's tensors, such as weights of another
    /// program, starts with zeros there.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or unknown; a failure of the device.
    pub fn restore(&mut self, state: &State) -> Result<(), TrainError> {
        self.plan(Work::State)?;
        let plain = !state.tensors.keys().any(|name| name.starts_with(OPTIMIZER));
        let tensors = self.graphs().tensors();
        if let Some(unknown) = state.tensors.keys().find(|name| !tensors.iter().any(|(own, _)| own == *name))
        {
            let problem = format!("{} has no such tensor", self.architecture.name());
            return Err(TrainError::State { name: unknown.clone(), problem });
        }
        // Everything is looked at before anything is changed.
        let mut given = vec![];
        for (name, shape) in tensors {
            let tensor = match state.tensors.get(&name) {
                Some(tensor) if *tensor.desc() == TensorDesc::f32(shape.clone()) => tensor.clone(),
                Some(tensor) => {
                    let problem = format!("expected {}, got {}", TensorDesc::f32(shape), tensor.desc());
                    return Err(TrainError::State { name, problem });
                }
                None if plain && name.starts_with(OPTIMIZER) => {
                    let count = shape.iter().product();
                    Tensor::f32(shape, vec![0.0; count])?
                }
                None => return Err(TrainError::State { name, problem: "it is missing".to_owned() }),
            };
            given.push((name, tensor));
        }
        for (name, tensor) in &given {
            self.session.write_variable(name, tensor)?;
        }
        self.session.write_variable(graphs::STOPPED, &Tensor::f32([1], vec![0.0])?)?;
        self.steps = state.step;
        self.under_way.clear();
        self.finished.clear();
        Ok(())
    }

    /// Queues one step on a batch, at a learning rate.
    ///
    /// # Errors
    /// A batch that is not what the network reads; a failure of the device.
    pub fn step(&mut self, batch: &Batch, rate: f64) -> Result<(), TrainError> {
        if self.under_way.len() == HISTORY {
            self.collect()?;
        }
        let examples = batch.shape[0];
        let parts = self.options.accumulate.min(examples);
        if parts == 1 {
            let plan = self.plan(Work::Step(examples))?;
            let inputs = self.step_inputs(batch, rate)?;
            self.session.run(plan, &borrowed(&inputs))?;
        } else {
            let size = examples.div_ceil(parts);
            for (part, first) in (0..examples).step_by(size).enumerate() {
                let last = (first + size).min(examples);
                let plan = self.plan(Work::Part(last - first))?;
                // The first part starts the sums anew.
                let share = (last - first) as f64 / examples as f64;
                let mix = Tensor::f32([2], vec![if first == 0 { 0.0 } else { 1.0 }, share as f32])?;
                let mut inputs = vec![(graphs::MIX, mix), (graphs::RANDOM, self.random(part as u32)?)];
                inputs.extend(self.examples(batch, first, last)?);
                self.session.run(plan, &borrowed(&inputs))?;
            }
            let plan = self.plan(Work::Apply)?;
            self.session.run(plan, &borrowed(&self.update_inputs(rate)?))?;
        }
        self.under_way.push(examples as u32);
        self.steps += 1;
        Ok(())
    }

    /// Makes one step on a batch, kernel by kernel, and measures each by the device's own clock. The batch is not cut in
    /// parts, and the step leaves no record.
    ///
    /// # Errors
    /// Those of [`step`](Self::step), and where the device has no timestamps.
    pub fn measure(&mut self, batch: &Batch, rate: f64) -> Result<StepCost, TrainError> {
        let times = self.time(batch, rate)?;
        for time in &times {
            log::debug!("{:9.3} ms  {}  {}", time.duration.as_secs_f64() * 1e3, time.kernel, time.path);
        }
        Ok(StepCost::new(&self.graphs().step(batch.shape[0])?, &times))
    }

    /// Makes some steps on a batch, in turns as they are and kernel by kernel: see [`Profile`]. The steps leave no records.
    ///
    /// `progress` gets the number of rounds that are done.
    ///
    /// # Errors
    /// Those of [`measure`](Self::measure).
    pub fn profile(
        &mut self,
        batch: &Batch,
        rate: f64,
        rounds: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Profile, TrainError> {
        self.collect()?;
        let records = self.finished.len();
        let (mut runs, mut timed) = (Samples::default(), vec![]);
        for round in 0..rounds {
            let start = Instant::now();
            self.step(batch, rate)?;
            self.collect()?;
            runs.push(start.elapsed());
            timed.push(self.time(batch, rate)?);
            progress(round + 1);
        }
        self.finished.truncate(records);
        let graph = self.graphs().step(batch.shape[0])?;
        Ok(Profile::new(graph.name(), named(&graph), &timed, runs))
    }

    /// One step, kernel by kernel.
    fn time(&mut self, batch: &Batch, rate: f64) -> Result<Vec<StepTime>, TrainError> {
        self.collect()?;
        let plan = self.plan(Work::Step(batch.shape[0]))?;
        let inputs = self.step_inputs(batch, rate)?;
        let times = self.session.time(plan, &borrowed(&inputs))?;
        self.steps += 1;
        Ok(times)
    }

    /// Waits for the device and tells of the steps since the last call.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn records(&mut self) -> Result<Vec<StepRecord>, TrainError> {
        self.collect()?;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Mean loss and accuracy over the batches of a loader, with running statistics and without dropout.
    ///
    /// # Errors
    /// A failure of the loader or of the device.
    pub fn evaluate(&mut self, loader: Loader) -> Result<Evaluation, TrainError> {
        let classes = match self.architecture.objective() {
            Objective::Binary => 2,
            Objective::Classification => self.architecture.outputs(),
            Objective::Reconstruction => 0,
        };
        let (mut loss, mut accuracy) = (RunningLoss::default(), Accuracy::default());
        let mut confusion = Confusion::new(classes);
        // The device has the next batch before the results of this one are fetched.
        let mut under_way = None;
        for batch in loader.map(Some).chain([None]) {
            let next = batch.map(|batch| self.judge(batch?)).transpose()?;
            let Some((pending, batch)) = std::mem::replace(&mut under_way, next) else { continue };
            let mut outputs = pending.wait()?;
            loss.add(f64::from(outputs[graphs::LOSS].as_f32()?[0]), batch.shape[0]);
            if let Some(predicted) = outputs.take(graphs::PREDICTED) {
                accuracy.add(predicted.as_u32()?, &batch.labels);
                confusion.add(predicted.as_u32()?, &batch.labels);
            }
        }
        Ok(Evaluation { loss: loss.mean().unwrap_or(f64::NAN), accuracy, confusion })
    }

    /// Sets the device to evaluating a batch.
    fn judge(&mut self, batch: Batch) -> Result<(Pending, Batch), TrainError> {
        let examples = batch.shape[0];
        let plan = self.plan(Work::Evaluate(examples))?;
        let inputs = self.examples(&batch, 0, examples)?;
        Ok((self.session.submit(plan, &borrowed(&inputs))?, batch))
    }

    /// What the network makes of a batch of images `[N, C, H, W]`, with running statistics and without dropout.
    ///
    /// # Errors
    /// Images that are not what the network reads; a failure of the device.
    pub fn outputs(&mut self, images: &Tensor) -> Result<Tensor, TrainError> {
        let plan = self.plan(Work::Infer(images.desc().rows()))?;
        let mut outputs = self.session.run(plan, &[(graphs::IMAGES, images)])?;
        Ok(outputs.take(graphs::OUTPUT).expect("a run should give what its graph puts out"))
    }

    /// Reads the history and turns its rows into records.
    fn collect(&mut self) -> Result<(), TrainError> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let history = self.session.read_variable(graphs::ROWS)?;
        let first = self.steps + 1 - self.under_way.len() as u64;
        for (offset, (row, &examples)) in history.as_f32()?.chunks(ROW).zip(&self.under_way).enumerate() {
            self.finished.push(StepRecord {
                step: first + offset as u64,
                loss: row[3],
                correct: row[4] as u32,
                examples,
                norm: row[1],
                // The guard gives a factor of 0 to what is not finite.
                finite: row[0] > 0.0,
            });
        }
        self.under_way.clear();
        Ok(())
    }

    /// The numbers that the random ops of a step start from.
    fn random(&self, part: u32) -> Result<Tensor, TrainError> {
        let seed = self.options.seed;
        Ok(Tensor::u32([4], vec![seed as u32, (seed >> 32) as u32, self.steps as u32, part])?)
    }

    /// What a whole step on a batch reads.
    fn step_inputs(&self, batch: &Batch, rate: f64) -> Result<Inputs, TrainError> {
        let mut inputs = self.update_inputs(rate)?;
        inputs.push((graphs::RANDOM, self.random(0)?));
        inputs.extend(self.examples(batch, 0, batch.shape[0])?);
        Ok(inputs)
    }

    /// What the update of the next step reads.
    fn update_inputs(&self, rate: f64) -> Result<Inputs, TrainError> {
        let rates = self.options.optimizer.rates(self.steps + 1, rate);
        let rates = Tensor::f32([4], rates.to_vec())?;
        let place = Tensor::u32([1], vec![self.under_way.len() as u32])?;
        Ok(vec![(graphs::RATES, rates), (graphs::PLACE, place)])
    }

    /// Some examples of a batch: images, and labels if the objective reads them.
    fn examples(&self, batch: &Batch, first: usize, last: usize) -> Result<Inputs, TrainError> {
        let [_, channels, height, width] = batch.shape;
        let size = channels * height * width;
        let images = batch.images[first * size..last * size].to_vec();
        let images = Tensor::f32([last - first, channels, height, width], images)?;
        let mut inputs = vec![(graphs::IMAGES, images)];
        if objective::reads_labels(self.architecture.objective()) {
            let labels = Tensor::u32([last - first], batch.labels[first..last].to_vec())?;
            inputs.push((objective::LABELS, labels));
        }
        Ok(inputs)
    }

    fn graphs(&self) -> Graphs<'_> {
        Graphs { architecture: &self.architecture, options: &self.options }
    }

    fn plan(&mut self, work: Work) -> Result<PlanId, TrainError> {
        if let Some(&plan) = self.plans.get(&work) {
            return Ok(plan);
        }
        let graphs = self.graphs();
        let graph = match work {
            Work::State => graphs.state()?,
            Work::Step(examples) => graphs.step(examples)?,
            Work::Part(examples) => graphs.part(examples)?,
            Work::Apply => graphs.applied()?,
            Work::Evaluate(examples) => graphs.evaluation(examples)?,
            Work::Infer(examples) => graphs.inference(examples)?,
        };
        let plan = self.session.load(&graph, &NoWeights)?;
        self.plans.insert(work, plan);
        Ok(plan)
    }
}
