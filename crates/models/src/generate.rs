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
pub trait Decoder {
    /// How many tokens there are: the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Goes on by one token: row `r` takes the history that row `parents[r]` had after the step before (none before
    /// the first), and then `tokens[r]`. Returns the logits of what comes next, f32 `[rows][vocab_size]`.
    ///
    /// # Errors
    /// What keeps it from computing them.
    fn logits(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// As [`logits`](Self::logits), but the id of the largest logit of each row, the first of equals.
    ///
    /// # Errors
    /// As there, and [`ModelError::NotFiniteToken`], with the row for the prompt, where the largest is no number.
    fn argmax(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<u32>, ModelError>;
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
