//! How long a T5 model takes on a device, beside what the device can do at best.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_engine::{DType, Device, EngineError, GraphBuilder, PlanId, Session, SessionMemory, WeightSource};

use super::{Precision, Runner, T5, T5Config};
use crate::error::ModelError;
use crate::generate::{GenerateOptions, SpecialIds, generate};
use crate::layout;
use crate::measure::{Profile, Samples};
use crate::seeded::SeededWeights;
use crate::weights::Weights;

/// A model, and products of one row with as many weights as a token reads: what a device gives for these bytes where
/// nothing else is to be done.
pub struct T5Bench {
    runner: Runner,
    products: Products,
    weight_bytes: u64,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct T5Cost {
    /// For each prompt length, the time to encode a prompt, cross attention's keys and values included.
    pub encode: Vec<(usize, Samples)>,
    /// From a prompt to the first token.
    pub first_token: Samples,
    /// Of each step of the decoder, from the token before to its own; of the first of a turn, from the turn's start, when no
    /// step is under way; of the very first, from the prompt.
    pub steps: Vec<Samples>,
    /// Of the products alone.
    pub products: Samples,
    /// The share of the products' speed that decoding reached, turn by turn; both begin with nothing under way.
    pub shares: Vec<f64>,
    /// Bytes of weights that a token reads.
    pub weight_bytes: u64,
    /// Kernels that a token runs.
    pub dispatches: usize,
}

/// The prompts that encoding is measured with, in tokens.
pub const PROMPTS: [usize; 3] = [64, 256, 512];

/// The prompt that decoding is measured with, in tokens.
pub const DECODE_PROMPT: usize = 256;

/// The most tokens that are decoded before the products have their turn. Few, for the speed of a machine changes within seconds:
/// on two cores without a GPU they take flan-t5-small a tenth of one.
const TURN: usize = 8;

/// Rows of a weight in the products: a tensor of a size that every device takes.
const PRODUCT_ROWS: usize = 8192;

struct Products {
    session: Session,
    plan: PlanId,
}

impl T5Bench {
    /// A model of the given sizes, with weights from a formula.
    ///
    /// # Errors
    /// [`ModelError::Engine`] where the device has no room for it.
    pub fn seeded(
        device: impl Into<Device>,
        config: T5Config,
        precision: Precision,
    ) -> Result<T5Bench, ModelError> {
        let t5 = T5::without_weights(config, precision);
        let tensors = t5.tensors()?;
        let source =
            SeededWeights::new(tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
        T5Bench::load(&device.into(), t5, Box::new(source), precision)
    }

    /// The model of a directory; its tokenizer is not read.
    ///
    /// # Errors
    /// Those of [`T5Config::open`], [`Weights::open`] and [`T5::new`], and [`ModelError::Engine`].
    pub fn open(device: impl Into<Device>, dir: &Path, precision: Precision) -> Result<T5Bench, ModelError> {
        let config = T5Config::open(&dir.join(layout::CONFIG))?;
        let weights = Weights::open(&dir.join(layout::WEIGHTS))?;
        let t5 = T5::new(config, &weights, precision)?;
        T5Bench::load(&device.into(), t5, Box::new(weights), precision)
    }

    fn load(
        device: &Device,
        t5: T5,
        weights: Box<dyn WeightSource + Send>,
        precision: Precision,
    ) -> Result<T5Bench, ModelError> {
        let count = step_weights(t5.config());
        let products = Products::load(device, t5.config().d_model, count, precision)?;
        let bytes = match precision {
            Precision::F32 => 4,
            Precision::F16 => 2,
        };
        Ok(T5Bench { runner: Runner::new(device, t5, weights), products, weight_bytes: count as u64 * bytes })
    }

    /// What the model takes of the device's memory; the products have their own.
    pub fn memory(&self) -> SessionMemory {
        self.runner.memory()
    }

    /// Measures `rounds` rounds after one that is not counted: in each, prompts are encoded, and then decoding of `tokens`
    /// tokens, a few at a time, takes turns with the products. `progress` gets the number of rounds that are done.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    ///
    /// # Panics
    /// For fewer than 2 tokens: the first one waits for the encoder, and tells nothing of a step.
    pub fn measure(
        &mut self,
        rounds: usize,
        tokens: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<T5Cost, ModelError> {
        assert!(tokens >= 2, "there should be a step besides the first");
        let mut cost = T5Cost::default();
        for round in 0..=rounds {
            if round == 1 {
                cost = T5Cost::default();
            }
            self.round(tokens, &mut cost)?;
            progress(round);
        }
        cost.weight_bytes = self.weight_bytes;
        cost.dispatches = self.runner.step_dispatches();
        Ok(cost)
    }

    fn round(&mut self, tokens: usize, cost: &mut T5Cost) -> Result<(), ModelError> {
        cost.encode.resize_with(PROMPTS.len(), Default::default);
        cost.steps.resize_with(tokens, Default::default);
        for (length, (measured, samples)) in PROMPTS.into_iter().zip(&mut cost.encode) {
            *measured = length;
            let prompt = [self.prompt(length)];
            samples.push(timed(|| {
                self.runner.begin(&prompt, 1, tokens)?;
                self.runner.wait()
            })?);
        }
        // Not a step's own time: it waits for the encoder too.
        let first = self.first_token(tokens)?;
        cost.first_token.push(first);
        cost.steps[0].push(first);
        // Turns of about one length: each counts as much as the others.
        let turns = (tokens - 1).div_ceil(TURN);
        for steps in cost.steps[1..].chunks_mut((tokens - 1).div_ceil(turns)) {
            let times = self.decode(steps.len())?;
            let decoding: Duration = times.iter().sum();
            for (samples, time) in steps.iter_mut().zip(times) {
                samples.push(time);
            }
            let runs = steps.len();
            let products = timed(|| Ok(self.products.run(runs)?))?;
            cost.shares.push(products.as_secs_f64() / decoding.as_secs_f64());
            cost.products.push(products / runs as u32);
        }
        Ok(())
    }

    /// Reads a prompt of [`DECODE_PROMPT`], to be followed by `tokens` tokens, and writes the first: how long both take.
    fn first_token(&mut self, tokens: usize) -> Result<Duration, ModelError> {
        let prompt = [self.prompt(DECODE_PROMPT)];
        timed(|| {
            self.runner.begin(&prompt, 1, tokens)?;
            self.decode(1).map(|_| ())
        })
    }

    /// Writes so many tokens behind those that there are, as [`generate`] does it for anyone: how long each takes.
    fn decode(&mut self, tokens: usize) -> Result<Vec<Duration>, ModelError> {
        let T5Config { decoder_start_token_id: decoder_start, pad_token_id: pad, .. } = *self.runner.config();
        // However it goes on, it goes on.
        let special = SpecialIds { decoder_start, eos: vec![], pad };
        let options = GenerateOptions { max_new_tokens: tokens, ..GenerateOptions::default() };
        let mut times = Vec::with_capacity(tokens);
        let mut last = Instant::now();
        generate(&mut self.runner, 0..1, &special, &options, &mut |_, _| {
            let now = Instant::now();
            times.push(now - last);
            last = now;
            ControlFlow::Continue(())
        })?;
        Ok(times)
    }

    /// The time of a token behind a prompt of [`DECODE_PROMPT`]: the mean of `tokens` but the first, which waits for the
    /// encoder. As tokens arrive: the next step is under way before one is waited for.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    ///
    /// # Panics
    /// For fewer than 2 tokens.
    pub fn token(&mut self, tokens: usize) -> Result<Duration, ModelError> {
        assert!(tokens >= 2, "there should be a step besides the first");
        self.first_token(tokens)?;
        let others = tokens - 1;
        Ok(timed(|| self.decode(others).map(|_| ()))? / others as u32)
    }

    /// The time of the products alone, the mean over so many runs.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    ///
    /// # Panics
    /// For no run.
    pub fn products(&mut self, runs: usize) -> Result<Duration, ModelError> {
        Ok(timed(|| Ok(self.products.run(runs)?))? / runs as u32)
    }

    /// Where the time goes to encode a prompt of `tokens` tokens, keys and values for cross attention included.
    /// `progress` gets the number of rounds that are done.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure, and where the device has no timestamps.
    ///
    /// # Panics
    /// For no token, or more than the model reads.
    pub fn profile_encoder(
        &mut self,
        tokens: usize,
        rounds: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Profile, ModelError> {
        self.runner.profile_encoder(&self.prompt(tokens), rounds, progress)
    }

    /// The same of one step of the decoder behind such a prompt.
    ///
    /// # Errors
    /// Those of [`profile_encoder`](Self::profile_encoder).
    ///
    /// # Panics
    /// As [`profile_encoder`](Self::profile_encoder) does.
    pub fn profile_step(
        &mut self,
        tokens: usize,
        rounds: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Profile, ModelError> {
        self.runner.profile_step(&self.prompt(tokens), rounds, progress)
    }

    /// The sizes of the model.
    pub fn config(&self) -> &T5Config {
        self.runner.config()
    }

    /// A prompt of tokens from all over the vocabulary.
    fn prompt(&self, tokens: usize) -> Vec<u32> {
        const STEP: usize = 7919; // a prime, so that neighbours are far apart
        (0..tokens).map(|token| (token * STEP % self.runner.config().vocab_size) as u32).collect()
    }
}

impl Products {
    fn load(
        device: &Device,
        depth: usize,
        weights: usize,
        precision: Precision,
    ) -> Result<Products, EngineError> {
        let mut g = GraphBuilder::new("products");
        let x = g.input("x", &[1, depth], DType::F32);
        let mut rest = weights / depth;
        let mut index = 0;
        while rest > 0 {
            let rows = rest.min(PRODUCT_ROWS);
            let mut weight = g.constant(&format!("{index}.weight"), &[rows, depth]);
            if precision == Precision::F16 {
                weight = g.pack_half(weight)?;
            }
            let product = g.linear(x, weight, None)?;
            g.output(&index.to_string(), product);
            rest -= rows;
            index += 1;
        }
        let graph = g.finish();
        let mut session = Session::new(device);
        let plan = session.load(&graph, &SeededWeights::of(&graph))?;
        Ok(Products { session, plan })
    }

    /// Runs them so many times; like the steps of a text, the next before one is waited for.
    fn run(&mut self, times: usize) -> Result<(), EngineError> {
        self.session.repeat(self.plan, times)
    }
}

/// How many weights a step of the decoder multiplies by.
fn step_weights(config: &T5Config) -> usize {
    let T5Config { d_model, d_ff, vocab_size, num_decoder_layers, gated, .. } = *config;
    // Query, key, value and output; query and output of the cross attention.
    let attention = 6 * config.inner() * d_model;
    let feed_forward = (2 + usize::from(gated)) * d_ff * d_model;
    num_decoder_layers * (attention + feed_forward) + vocab_size * d_model
}

fn timed(run: impl FnOnce() -> Result<(), ModelError>) -> Result<Duration, ModelError> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_flan_t5_small_reads_154_megabytes() {
        assert_eq!(step_weights(&T5Config::flan_t5_small()) * 4, 153_878_528);
    }
}
