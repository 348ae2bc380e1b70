//! Prompts to texts: a T5 model with its tokenizer.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use kiln_engine::Device;

use crate::error::ModelError;
use crate::generate::{self, Finish, GenerateOptions, Sequence, SpecialIds};
use crate::layout;
use crate::sentence::name_of;
use crate::t5::tokenizer::{T5Tokenizer, TextStream};
use crate::t5::{Precision, Runner, T5, T5Config};
use crate::weights::Weights;

/// A T5 model from the files of Hugging Face, such as flan-t5-small.
///
/// ```no_run
/// use std::ops::{ControlFlow, Range};
/// use std::path::Path;
///
/// use kiln_gpu::{AdapterChoice, Gpu};
/// use kiln_models::TextGenerator;
/// use kiln_models::generate::GenerateOptions;
/// use kiln_models::t5::Precision;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gpu = Gpu::open(&AdapterChoice::Strongest)?;
/// let mut generator = TextGenerator::load(&gpu, Path::new("flan-t5-small"), Precision::F32)?;
/// let prompts = ["translate English to German: The kiln is hot."];
/// let texts = generator.generate(&prompts, &GenerateOptions::default(), &mut |_, text| {
///     print!("{text}");
///     ControlFlow::Continue(())
/// })?;
/// println!("\n{} tokens", texts[0].ids.len());
/// # Ok(())
/// # }
/// ```
pub struct TextGenerator {
    name: String,
    tokenizer: T5Tokenizer,
    runner: Runner,
}

/// What was generated for a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The new ids, the EOS token included where it came.
    pub ids: Vec<u32>,
    /// The text of these ids, without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Of a beam search, the score of the text: see [`generate::Sequence::score`].
    pub score: Option<f32>,
    /// How many tokens the prompt has, EOS included, as far as the model read it.
    pub prompt_tokens: usize,
}

impl Generated {
    /// For a prompt that it did not come to.
    fn none(prompt: &[u32]) -> Generated {
        let (ids, text) = (vec![], String::new());
        Generated { ids, text, finish: Finish::Stopped, score: None, prompt_tokens: prompt.len() }
    }
}

/// The most texts that grow together; more prompts are taken in turns.
const MAX_ROWS: usize = 16;

impl TextGenerator {
    /// Reads the model of a directory: `config.json`, `model.safetensors` and `tokenizer.json`.
    ///
    /// All files are checked here; weights go to the device with the first prompt.
    ///
    /// # Errors
    /// [`ModelError`] for missing files, and for files that are not those of a T5 model or do not fit each other.
    pub fn load(
        device: impl Into<Device>,
        dir: &Path,
        precision: Precision,
    ) -> Result<TextGenerator, ModelError> {
        layout::require(dir)?;
        let config = T5Config::open(&dir.join(layout::CONFIG))?;
        let weights = Weights::open(&dir.join(layout::WEIGHTS))?;
        let tokenizer = T5Tokenizer::open(&dir.join(layout::TOKENIZER), config.vocab_size)?;
        let t5 = T5::new(config, &weights, precision)?;
        Ok(TextGenerator {
            name: name_of(dir),
            tokenizer,
            runner: Runner::new(device, t5, Box::new(weights)),
        })
    }

    /// The model's name: its directory's, or its repository's in a Hugging Face cache.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> &T5Config {
        self.runner.config()
    }

    /// The most tokens of a prompt, EOS included.
    pub fn window(&self) -> usize {
        self.config().n_positions
    }

    /// How many tokens a text has, EOS included.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] where the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<usize, ModelError> {
        Ok(self.tokenizer.encode(text)?.len())
    }

    /// Generates a text for each prompt, in the order given.
    ///
    /// `on_text` gets the place of a prompt and pieces of its text as soon as they are settled; joined they are the
    /// text. A step that adds nothing to show gives an empty piece. `Break` ends the generation, and what has come until
    /// then is returned: prompts that were still to come have an empty text.
    ///
    /// # Errors
    /// [`ModelError::PromptTooLong`] for a prompt that is longer than the [window](Self::window), unless the options
    /// say that it may be cut; [`ModelError::GenerateOption`]; [`ModelError::NotFiniteToken`]; [`ModelError::Engine`]
    /// for a device failure.
    pub fn generate(
        &mut self,
        prompts: &[&str],
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        options.check()?;
        let sequences = self.encode(prompts, options.truncate)?;
        let most = (MAX_ROWS / options.beams).max(1);
        let mut stopped = false;
        let mut generated = vec![];
        for (index, batch) in sequences.chunks(most).enumerate() {
            if stopped {
                generated.extend(batch.iter().map(|prompt| Generated::none(prompt)));
                continue;
            }
            // Who has said `Break` hears no more, though other texts of the batch may have something left to show.
            let mut heard = |prompt: usize, text: &str| {
                if !stopped {
                    stopped = on_text(prompt, text).is_break();
                }
                if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let first = index * most;
            generated.extend(self.grow(first..first + batch.len(), batch, options, &mut heard)?);
        }
        Ok(generated)
    }

    /// One batch of prompts, with their places among all.
    fn grow(
        &mut self,
        places: Range<usize>,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        self.runner.begin(prompts, options.beams, options.max_new_tokens)?;
        let config = self.runner.config();
        let special = SpecialIds {
            decoder_start: config.decoder_start_token_id,
            eos: config.eos_token_ids.clone(),
            pad: config.pad_token_id,
        };
        let first = places.start;
        let mut streams: Vec<TextStream<'_>> = prompts.iter().map(|_| self.tokenizer.stream()).collect();
        // A callback cannot fail, so what the tokenizer says is kept until the generation has stopped.
        let mut failed = None;
        let mut on_token = |prompt: usize, id: Option<u32>| {
            let stream = &mut streams[prompt - first];
            match id.map_or(Ok(String::new()), |id| stream.push(id)) {
                Ok(text) => on_text(prompt, &text),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let sequences = generate::generate(&mut self.runner, places, &special, options, &mut on_token)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut generated = vec![];
        for ((sequence, prompt), (stream, place)) in
            sequences.into_iter().zip(prompts).zip(streams.iter_mut().zip(first..))
        {
            let text = self.tokenizer.decode(&sequence.ids)?;
            let rest = stream.finish()?;
            if !rest.is_empty() && sequence.finish != Finish::Stopped {
                let _ = on_text(place, &rest); // of this batch there is nothing left to stop
            }
            let Sequence { ids, finish, score } = sequence;
            generated.push(Generated { ids, text, finish, score, prompt_tokens: prompt.len() });
        }
        Ok(generated)
    }

    /// The ids of prompts, none longer than the window.
    fn encode(&self, prompts: &[&str], truncate: bool) -> Result<Vec<Vec<u32>>, ModelError> {
        let window = self.window();
        let mut sequences = vec![];
        for (index, prompt) in prompts.iter().enumerate() {
            let mut ids = self.tokenizer.encode(prompt)?;
            if ids.len() > window {
                if !truncate {
                    return Err(ModelError::PromptTooLong { index, tokens: ids.len(), window });
                }
                // As transformers cuts: the EOS token stays.
                let end = ids[ids.len() - 1];
                ids.truncate(window);
                ids[window - 1] = end;
            }
            sequences.push(ids);
        }
        Ok(sequences)
    }
}

impl fmt::Debug for TextGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextGenerator")
            .field("name", &self.name)
            .field("window", &self.window())
            .finish_non_exhaustive()
    }
}
