//! Text generation's host side: from rows of logits to chosen ids, on any decoder.
//!
//! [`generate`] asks a [`Decoder`] for the logits of one more token at a time and chooses: the likeliest token,
//! one drawn by chance, or the best of several sequences that are followed at once (beam search). What the options
//! mean, and the order in which they apply, are those of `generate()` in Hugging Face transformers 4.41, for an
//! encoder-decoder model: the ids so far are those of the decoder, the start token included.

mod beams;
mod hypotheses;
mod numbers;
mod options;
mod processors;
mod random;
mod single;

#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};

pub use options::{GenerateOptions, Sampling};

use crate::error::ModelError;

/// What makes the logits of the next tokens.
///
/// It decodes `prompts * beams` rows at once, as many through one generation; row `prompt * beams + beam`.
///
/// A step is either asked for at once ([`logits`](Self::logits), [`argmax`](Self::argmax)), or started and taken later:
/// whoever takes the likeliest token of each row as it is need not know it before the next step is on its way.
///
/// ```
/// # use kiln_models::ModelError;
/// # use kiln_models::generate::{Decoder, Likeliest};
/// # fn greedy(decoder: &mut dyn Decoder, start: u32, most: usize) -> Result<Vec<Likeliest>, ModelError> {
/// let mut text = vec![];
/// decoder.start(&[start], &[0])?;
/// for step in 1..=most {
///     if step < most {
///         decoder.follow()?;
///     }
///     text.extend(decoder.chosen()?);
/// }
/// # Ok(text)
/// # }
/// ```
pub trait Decoder {
    /// How many tokens there are: the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Goes on by one token: row `r` takes the history that row `parents[r]` had after the step before (none before
    /// the first), and then `tokens[r]`. Returns the logits of what comes next, f32 `[rows][vocab_size]`.
    ///
    /// Steps that were started and not [taken](Self::chosen) are given up: the one before is then the last that was taken.
    ///
    /// # Errors
    /// What keeps it from computing them.
    ///
    /// # Panics
    /// For another number of tokens or parents than rows, for a parent that is no row, and where the rows have all the tokens
    /// that there is room for.
    fn logits(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// Starts such a step, of whose logits only the largest are wanted, and returns without waiting for it. Steps under
    /// way are given up as by [`logits`](Self::logits).
    ///
    /// # Errors
    /// What keeps it from starting.
    ///
    /// # Panics
    /// Where [`logits`](Self::logits) does.
    fn start(&mut self, tokens: &[u32], parents: &[usize]) -> Result<(), ModelError>;

    /// Starts the step after the last that was [started](Self::start) or followed, before anybody knows what that one
    /// chooses: row `r` takes its own history, and then the id that the step before has for it.
    ///
    /// # Errors
    /// What keeps it from starting.
    ///
    /// # Panics
    /// Where no step is under way, and where the rows have all the tokens that there is room for, those of the steps under way
    /// among them.
    fn follow(&mut self) -> Result<(), ModelError>;

    /// Waits for the oldest step that is under way, and takes what it chose: of each row the largest logit, the first of
    /// equals. What is not a number is larger than all.
    ///
    /// # Errors
    /// What kept it from computing them; all steps under way are then given up.
    ///
    /// # Panics
    /// Where no step is under way.
    fn chosen(&mut self) -> Result<Vec<Likeliest>, ModelError>;

    /// As [`logits`](Self::logits), but the largest logit of each row: a step that is [started](Self::start) and taken.
    ///
    /// # Errors
    /// What keeps it from computing them.
    ///
    /// # Panics
    /// Where [`logits`](Self::logits) does.
    fn argmax(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<Likeliest>, ModelError> {
        self.start(tokens, parents)?;
        self.chosen()
    }
}

/// The largest logit of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeliest {
    /// The token that has it.
    pub id: u32,
    /// The logit. Where it is not finite, the row is no basis for a choice.
    pub logit: f32,
}

/// The ids that mean something to the generation itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialIds {
    /// What the decoder reads first.
    pub decoder_start: u32,
    /// What ends a sequence: any of these. Where there are none, only the length does.
    pub eos: Vec<u32>,
    /// What the decoder reads for a prompt whose sequence has ended, while others go on.
    pub pad: u32,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// With an EOS token.
    Eos,
    /// At `max_new_tokens`.
    Length,
    /// Because the caller said so.
    Stopped,
}

/// What was generated for a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// The new ids: without the decoder's start token and without padding, with the EOS token where that ended it.
    /// Beam search ends with the first of several EOS ids, whichever it met.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Of a beam search, the sum of the log-probabilities of the ids over their number to the power of the length
    /// penalty. Of the other ways, nothing.
    pub score: Option<f32>,
}

/// Generates a sequence for each of some prompts, for whose rows the decoder is set up: `prompts.len() * options.beams`.
/// `prompts` are their places among all that are asked for, of which these may be a part: what is drawn by chance goes by
/// them.
///
/// `on_token` gets the place of a prompt and each of its ids, in order and as soon as it is settled; of a beam search
/// that is once all sequences that could still win share it. After a step that settled none of a prompt whose search
/// goes on it gets `None`, so that it is asked at every step whether to go on. The ids that it got are always the
/// beginning of what is returned, and all of it unless it answered `Break`, which ends the generation for all prompts.
///
/// # Errors
/// [`ModelError::GenerateOption`], [`ModelError::NotFiniteToken`], and what the decoder says.
pub fn generate(
    decoder: &mut dyn Decoder,
    prompts: Range<usize>,
    special: &SpecialIds,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, Option<u32>) -> ControlFlow<()>,
) -> Result<Vec<Sequence>, ModelError> {
    options.check()?;
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    if options.beams > 1 {
        beams::search(decoder, prompts, special, options, on_token)
    } else {
        single::search(decoder, prompts, special, options, on_token)
    }
}
