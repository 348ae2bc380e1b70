//! What writes answers.

use std::ops::ControlFlow;

use kiln_models::TextGenerator;
use kiln_models::generate::{Finish, GenerateOptions};

use crate::DocqaError;

/// Writes an answer to a prompt: a language model, or a stand-in for one.
pub trait Generator {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// How many tokens a prompt may have.
    fn window(&self) -> usize;

    /// How many tokens a prompt has, those counted that the generator itself adds. Never fewer than a part of it
    /// that ends at white space has.
    fn tokens(&mut self, text: &str) -> Result<usize, DocqaError>;

    /// Writes. `on_text` gets the text piece by piece, as it comes; together the pieces make up the text returned. A
    /// piece is empty where there is nothing to show yet. Where it answers `Break`, the text ends there. The same prompt
    /// and options give the same text.
    fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, DocqaError>;
}

/// What a generator wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The text.
    pub text: String,
    /// Why it ends where it ends.
    pub finish: Finish,
}

impl Generator for TextGenerator {
    fn name(&self) -> &str {
        TextGenerator::name(self)
    }

    fn window(&self) -> usize {
        TextGenerator::window(self)
    }

    fn tokens(&mut self, text: &str) -> Result<usize, DocqaError> {
        Ok(TextGenerator::tokens(self, text)?)
    }

    fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, DocqaError> {
        let mut texts = TextGenerator::generate(self, &[prompt], options, &mut |_, text| on_text(text))?;
        // One prompt, one text.
        let text = texts.remove(0);
        Ok(Generation { text: text.text, finish: text.finish })
    }
}

/// A deterministic stand-in for a model: a token is a word, and the answer repeats the words of the context.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    pub(crate) struct WordGenerator {
        pub(crate) window: usize,
        /// The prompts that it got.
        pub(crate) prompts: Vec<String>,
        /// What it writes.
        pub(crate) text: String,
    }

    impl WordGenerator {
        pub(crate) fn new(window: usize) -> Self {
            Self { window, prompts: Vec::new(), text: "With plenty of air.".into() }
        }
    }

    impl Generator for WordGenerator {
        fn name(&self) -> &str {
            "words-t5"
        }

        fn window(&self) -> usize {
            self.window
        }

        fn tokens(&mut self, text: &str) -> Result<usize, DocqaError> {
            Ok(text.split_whitespace().count() + 1)
        }

        fn generate(
            &mut self,
            prompt: &str,
            options: &GenerateOptions,
            on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
        ) -> Result<Generation, DocqaError> {
            assert!(self.tokens(prompt)? <= self.window, "a prompt beyond the window: {prompt}");
            self.prompts.push(prompt.into());
            let mut text = String::new();
            for (at, word) in self.text.split_inclusive(' ').enumerate() {
                if at == options.max_new_tokens {
                    return Ok(Generation { text, finish: Finish::Length });
                }
                text.push_str(word);
                if on_text(word).is_break() {
                    return Ok(Generation { text, finish: Finish::Stopped });
                }
            }
            Ok(Generation { text, finish: Finish::Eos })
        }
    }
}
