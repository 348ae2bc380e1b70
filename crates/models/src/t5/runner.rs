//! A T5 model on a device: prompts are encoded once, then texts grow a token at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use kiln_engine::{
    DType, Device, EngineError, Graph, GraphBuilder, Pending, PlanId, Session, SessionMemory, Tensor,
    WeightSource,
};
use kiln_gpu::DeviceProfile;

use super::decoder::{StepInputs, StepShape};
use super::encoder::EncoderInputs;
use super::histories::Histories;
use super::{T5, T5Config};
use crate::error::ModelError;
use crate::generate::{Decoder, Likeliest};
use crate::measure::{Profile, Samples};
use crate::pack::{self, Budget};
use crate::summary::named;

/// Runs the plans of a model: one for the encoder for each of a few sizes, and one for the decoder for each number of
/// texts, lengths and sources rounded up. All share their weights; where a step of one text has kernels of its own, on software
/// adapters, it has the weights of attention once more, in the order that suits them.
///
/// [`begin`](Self::begin) reads prompts; as a [`Decoder`] it then goes on from them.
pub struct Runner {
    t5: T5,
    weights: Box<dyn WeightSource + Send>,
    session: Session,
    budgets: Vec<Budget>,
    encoders: HashMap<EncoderKey, PlanId>,
    decoders: HashMap<(StepShape, Wanted), PlanId>,
    batch: Option<Batch>,
}

/// Tensors for a run of a plan, with the names of its inputs.
type Inputs<const N: usize> = [(&'static str, Tensor); N];

/// Tokens of a run, and room for those of all prompts.
type EncoderKey = (usize, usize);

/// What a step gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    /// f32 `[rows][vocab_size]`.
    Logits,
    /// u32 `[rows]`, and the logits of these, f32 `[rows]`. The next step may go on from these ids: they become the token
    /// ids of the device.
    Argmax,
}

/// The names of the outputs of a step.
const LOGITS: &str = "logits";
const ARGMAX: &str = "argmax";
const LARGEST: &str = "largest";

/// Texts that are growing.
struct Batch {
    shape: StepShape,
    spans: Tensor,
    /// After the last step that was taken.
    histories: Histories,
    /// Steps that were started and not taken, the oldest first. Giving them up leaves nothing behind: what they put into
    /// the cache lies in slots that no history has before another step has filled them again.
    under_way: VecDeque<Step>,
}

/// A step that has been started.
struct Step {
    pending: Pending,
    /// After it.
    histories: Histories,
}

/// Lengths are rounded up to these: the attention reads no more than there is, so a longer plan only takes more memory.
const LENGTHS: [usize; 3] = [32, 128, 256];

impl Runner {
    /// A runner without plans: they are loaded when they are first needed.
    pub fn new(device: impl Into<Device>, t5: T5, weights: Box<dyn WeightSource + Send>) -> Runner {
        let device = device.into();
        let profile = device.profile().clone();
        Self::with_profile(device, t5, weights, profile)
    }

    /// As [`new`](Self::new), planned as if the device were another: see [`Session::with_profile`].
    pub fn with_profile(
        device: impl Into<Device>,
        t5: T5,
        weights: Box<dyn WeightSource + Send>,
        profile: DeviceProfile,
    ) -> Runner {
        let budgets = budgets(t5.config().n_positions);
        Runner {
            t5,
            weights,
            session: Session::with_profile(device, profile),
            budgets,
            encoders: HashMap::new(),
            decoders: HashMap::new(),
            batch: None,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &T5Config {
        self.t5.config()
    }

    /// Encodes prompts, each of at least one token and at most `n_positions`, and prepares to grow `beams` texts of at
    /// most `max_new_tokens` from each. What grew before is forgotten.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure or sizes that it cannot hold.
    ///
    /// # Panics
    /// For an empty prompt, one longer than `n_positions`, or no prompt, beam or token.
    pub fn begin(
        &mut self,
        prompts: &[Vec<u32>],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<(), ModelError> {
        assert!(!prompts.is_empty() && beams > 0 && max_new_tokens > 0, "there should be something to grow");
        self.batch = None;
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let total: usize = lengths.iter().sum();
        let source = source_rows(total);
        let starts: Vec<usize> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end - length)
            })
            .collect();
        for pack in pack::pack(&lengths, &self.budgets) {
            let sequences = pack.sequences.iter().map(|&index| (prompts[index].as_slice(), starts[index]));
            let (plan, inputs) = self.encoding(self.budgets[pack.budget].tokens, source, sequences)?;
            self.session.run(plan, &borrowed(&inputs))?;
        }
        let shape = StepShape { rows: prompts.len() * beams, length: round_up(max_new_tokens), source };
        let spans: Vec<u32> = starts
            .iter()
            .zip(&lengths)
            .flat_map(|(start, length)| [*start as u32, (start + length) as u32].repeat(beams))
            .collect();
        let spans = Tensor::u32([shape.rows, 2], spans)?;
        let (histories, under_way) = (Histories::new(shape), VecDeque::new());
        self.batch = Some(Batch { shape, spans, histories, under_way });
        Ok(())
    }

    /// What runs the encoder over sequences that fit `tokens`, each with the row of the source that it starts at.
    fn encoding<'a>(
        &mut self,
        tokens: usize,
        source: usize,
        sequences: impl Iterator<Item = (&'a [u32], usize)>,
    ) -> Result<(PlanId, Inputs<3>), EngineError> {
        let (mut ids, mut spans, mut places) = (vec![], vec![], vec![]);
        for (sequence, start) in sequences {
            assert!(!sequence.is_empty(), "a prompt should have a token");
            let (first, end) = (ids.len() as u32, (ids.len() + sequence.len()) as u32);
            ids.extend_from_slice(sequence);
            spans.extend(sequence.iter().flat_map(|_| [first, end]));
            places.extend((start..start + sequence.len()).map(|place| place as u32));
        }
        // What fills up the rest attends to nothing and is kept nowhere.
        ids.resize(tokens, 0);
        spans.resize(tokens * 2, 0);
        places.resize(tokens, u32::MAX);
        let plan = self.encoder((tokens, source))?;
        let inputs = [
            ("token_ids", Tensor::u32([tokens], ids)?),
            ("spans", Tensor::u32([tokens, 2], spans)?),
            ("places", Tensor::u32([tokens], places)?),
        ];
        Ok((plan, inputs))
    }

    fn encoder(&mut self, key: EncoderKey) -> Result<PlanId, EngineError> {
        if let Some(plan) = self.encoders.get(&key) {
            return Ok(*plan);
        }
        let plan = self.session.load(&self.encoder_graph(key)?, &*self.weights)?;
        self.encoders.insert(key, plan);
        Ok(plan)
    }

    fn encoder_graph(&self, (tokens, source): EncoderKey) -> Result<Graph, EngineError> {
        let mut g = GraphBuilder::new("t5");
        let inputs = EncoderInputs::declare(&mut g, tokens);
        let places = g.input("places", &[tokens], DType::U32);
        let encoded = self.t5.encode(&mut g, inputs)?;
        self.t5.keep_source(&mut g, encoded, places, source)?;
        Ok(g.finish())
    }

    fn decoder(&mut self, key: (StepShape, Wanted)) -> Result<PlanId, EngineError> {
        if let Some(plan) = self.decoders.get(&key) {
            return Ok(*plan);
        }
        let plan = self.session.load(&self.decoder_graph(key)?, &*self.weights)?;
        self.decoders.insert(key, plan);
        Ok(plan)
    }

    fn decoder_graph(&self, (shape, wanted): (StepShape, Wanted)) -> Result<Graph, EngineError> {
        let mut g = GraphBuilder::new("t5");
        let inputs = StepInputs::declare(&mut g, shape);
        let logits = self.t5.step(&mut g, shape, inputs)?;
        match wanted {
            Wanted::Logits => g.output(LOGITS, logits),
            Wanted::Argmax => {
                let ids = g.argmax(logits, &[1], false)?;
                g.output(ARGMAX, ids);
                // Tells whether there was anything to choose from: what is not a number wins.
                let largest = g.pick(logits, ids)?;
                g.output(LARGEST, largest);
                g.assign(inputs.token_ids, ids)?;
            }
        }
        Ok(g.finish())
    }

    /// The graphs that a text takes which grows from a prompt of any length, with so many beams: the encoders, and a step.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for sizes that do not fit each other.
    pub fn graphs(&self, beams: usize) -> Result<Vec<Graph>, ModelError> {
        let source = source_rows(self.config().n_positions);
        let mut graphs = vec![];
        for budget in &self.budgets {
            graphs.push(self.encoder_graph((budget.tokens, source))?);
        }
        let wanted = if beams == 1 { Wanted::Argmax } else { Wanted::Logits };
        let shape = StepShape { rows: beams, length: LENGTHS[0], source };
        graphs.push(self.decoder_graph((shape, wanted))?);
        Ok(graphs)
    }

    /// What the model takes of the device's memory: weights, the caches of texts as variables, and what its plans share.
    pub fn memory(&self) -> SessionMemory {
        self.session.memory()
    }

    /// Waits until the device has done what it was given.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    pub fn wait(&self) -> Result<(), ModelError> {
        Ok(self.session.gpu().wait().map_err(EngineError::from)?)
    }

    /// How many kernels a step of the present texts runs; 0 before the first.
    pub fn step_dispatches(&self) -> usize {
        let shape = self.batch.as_ref().map(|batch| batch.shape);
        let plans = self.decoders.iter().filter(|((known, _), _)| Some(*known) == shape);
        plans.map(|(_, plan)| self.session.plan(*plan).dispatches().count()).max().unwrap_or(0)
    }

    /// Encodes a prompt, in turns as it is done and kernel by kernel: see [`Profile`].
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin), and where the device has no timestamps.
    pub(super) fn profile_encoder(
        &mut self,
        prompt: &[u32],
        rounds: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Profile, ModelError> {
        let fits = self.budgets.iter().find(|budget| budget.tokens >= prompt.len());
        let tokens = fits.expect("the prompt should fit the model").tokens;
        let source = source_rows(prompt.len());
        // The first loads the plan.
        self.begin(&[prompt.to_vec()], 1, 1)?;
        let (mut runs, mut timed) = (Samples::default(), vec![]);
        for round in 0..rounds {
            self.wait()?;
            let start = Instant::now();
            self.begin(&[prompt.to_vec()], 1, 1)?;
            self.wait()?;
            runs.push(start.elapsed());
            let (plan, inputs) = self.encoding(tokens, source, [(prompt, 0)].into_iter())?;
            timed.push(self.session.time(plan, &borrowed(&inputs))?);
            progress(round + 1);
        }
        let graph = self.encoder_graph((tokens, source))?;
        Ok(Profile::new(graph.name(), named(&graph), &timed, runs))
    }

    /// Grows the text behind a prompt, three tokens a round: two as it is done, the next step always on its way before one
    /// is waited for, and one kernel by kernel.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin), and where the device has no timestamps.
    pub(super) fn profile_step(
        &mut self,
        prompt: &[u32],
        rounds: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Profile, ModelError> {
        let mut id = self.config().decoder_start_token_id;
        self.begin(&[prompt.to_vec()], 1, 3 * rounds)?;
        let (mut runs, mut timed) = (Samples::default(), vec![]);
        for round in 0..rounds {
            self.start(&[id], &[0])?;
            self.follow()?;
            // The very first waits for the encoder too.
            self.chosen()?;
            let start = Instant::now();
            // Given up below, but the device is as busy as ever while the one before is waited for.
            self.follow()?;
            id = self.chosen()?[0].id;
            runs.push(start.elapsed());
            self.wait()?;
            let plan = self.step_plan(Wanted::Argmax)?;
            let before = self.restart(&[id], &[0])?;
            let (histories, inputs) = self.batch().next(before)?;
            timed.push(self.session.time(plan, &borrowed(&inputs))?);
            self.batch_mut().histories = histories;
            progress(round + 1);
        }
        let graph = self.decoder_graph((self.batch().shape, Wanted::Argmax))?;
        Ok(Profile::new(graph.name(), named(&graph), &timed, runs))
    }

    /// The texts that are growing.
    fn batch(&self) -> &Batch {
        self.batch.as_ref().expect(BEGUN)
    }

    fn batch_mut(&mut self) -> &mut Batch {
        self.batch.as_mut().expect(BEGUN)
    }

    fn step_plan(&mut self, wanted: Wanted) -> Result<PlanId, EngineError> {
        self.decoder((self.batch().shape, wanted))
    }

    /// Gives up what is under way, and has the rows of the next step go on from these tokens, with the histories of these
    /// rows. The plan of the step must have been loaded.
    fn restart(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Histories, EngineError> {
        let batch = self.batch_mut();
        batch.under_way.clear();
        let (rows, name) = (batch.shape.rows, batch.shape.token_ids());
        let histories = batch.histories.of(parents);
        self.session.write_variable(&name, &Tensor::u32([rows], tokens.to_vec())?)?;
        Ok(histories)
    }

    /// Starts a step of rows with these histories, which goes on from the tokens that the device has.
    fn submit(&mut self, plan: PlanId, before: Histories) -> Result<(), EngineError> {
        let (histories, inputs) = self.batch().next(before)?;
        let pending = self.session.submit(plan, &borrowed(&inputs))?;
        self.batch_mut().under_way.push_back(Step { pending, histories });
        Ok(())
    }
}

const BEGUN: &str = "prompts should have been read before texts grow";

impl Batch {
    /// The histories after a step, and what it reads besides the tokens.
    fn next(&self, before: Histories) -> Result<(Histories, Inputs<3>), EngineError> {
        let past = before.tensor()?;
        let mut histories = before;
        let slots = Tensor::u32([self.shape.rows], histories.grow())?;
        Ok((histories, [("past", past), ("slots", slots), ("spans", self.spans.clone())]))
    }
}

/// Rows of the keys and values for prompts of so many tokens in all: few sizes, each a plan's, serve every length.
fn source_rows(tokens: usize) -> usize {
    tokens.next_power_of_two().max(512)
}

fn borrowed<'a>(inputs: &'a [(&'static str, Tensor)]) -> Vec<(&'static str, &'a Tensor)> {
    inputs.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

impl Decoder for Runner {
    fn vocab_size(&self) -> usize {
        self.config().vocab_size
    }

    fn logits(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<f32>, ModelError> {
        let plan = self.step_plan(Wanted::Logits)?;
        let before = self.restart(tokens, parents)?;
        let (histories, inputs) = self.batch().next(before)?;
        let mut outputs = self.session.run(plan, &borrowed(&inputs))?;
        self.batch_mut().histories = histories;
        Ok(outputs.take(LOGITS).expect("the plan should have this output").into_f32()?)
    }

    fn start(&mut self, tokens: &[u32], parents: &[usize]) -> Result<(), ModelError> {
        let plan = self.step_plan(Wanted::Argmax)?;
        let before = self.restart(tokens, parents)?;
        Ok(self.submit(plan, before)?)
    }

    fn follow(&mut self) -> Result<(), ModelError> {
        let plan = self.step_plan(Wanted::Argmax)?;
        let last = self.batch().under_way.back().expect(STARTED);
        let before = last.histories.clone();
        Ok(self.submit(plan, before)?)
    }

    fn chosen(&mut self) -> Result<Vec<Likeliest>, ModelError> {
        let batch = self.batch_mut();
        let Step { pending, histories } = batch.under_way.pop_front().expect(STARTED);
        let outputs = pending.wait().inspect_err(|_| batch.under_way.clear())?;
        batch.histories = histories;
        let (ids, logits) = (outputs[ARGMAX].as_u32()?, outputs[LARGEST].as_f32()?);
        Ok(ids.iter().zip(logits).map(|(&id, &logit)| Likeliest { id, logit }).collect())
    }
}

const STARTED: &str = "a step should have been started";

/// Sizes of the encoder's plans. Several prompts go into one run as far as it holds them.
fn budgets(window: usize) -> Vec<Budget> {
    let mut sizes = vec![64, 128, 192, 256, 384, 512];
    sizes.extend((1..).map(|step| 512usize << step).take_while(|size| size / 2 < window));
    sizes.into_iter().map(|tokens| Budget { tokens, sequences: tokens }).collect()
}

fn round_up(length: usize) -> usize {
    let known = LENGTHS.into_iter().find(|known| length <= *known);
    known.unwrap_or_else(|| length.next_multiple_of(LENGTHS[LENGTHS.len() - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_reach_as_far_as_needed() {
        let largest = |window| budgets(window).last().unwrap().tokens;
        assert_eq!((largest(32), largest(512), largest(513), largest(3000)), (512, 512, 1024, 4096));
        assert_eq!([1, 32, 33, 200, 256, 257, 600].map(round_up), [32, 32, 128, 256, 256, 512, 768]);
    }
}
