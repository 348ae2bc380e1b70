//! Options as words: `flip,crop4,rotate15`.

use std::str::FromStr;

use crate::TrainError;

/// What a list of words is for, and the words it may hold, for messages.
pub(crate) struct Words {
    pub(crate) list: &'static str,
    pub(crate) known: &'static str,
}

impl Words {
    /// The words between commas, without the space around them.
    pub(crate) fn split<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        text.split(',').map(str::trim)
    }

    /// A word's letters, and what follows them.
    pub(crate) fn name<'a>(&self, word: &'a str) -> (&'a str, &'a str) {
        let end = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
        word.split_at(end)
    }

    /// The number in a word, which must fit.
    pub(crate) fn number<T: FromStr>(
        &self,
        word: &str,
        number: &str,
        expected: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, TrainError> {
        // "+4" and "inf" are numbers to Rust and slips here.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b".-e".contains(&byte));
        let parsed = if plain { number.parse().ok() } else { None };
        parsed.filter(fits).ok_or_else(|| self.error(word, format!("expected {expected}")))
    }

    /// Refuses what follows a word that takes nothing.
    pub(crate) fn alone(&self, word: &str, rest: &str) -> Result<(), TrainError> {
        if rest.is_empty() { Ok(()) } else { Err(self.error(word, format!("{rest:?} is not expected here"))) }
    }

    pub(crate) fn unknown(&self, word: &str) -> TrainError {
        self.error(word, if word.is_empty() { "a word is missing" } else { "unknown word" })
    }

    pub(crate) fn error(&self, word: &str, problem: impl Into<String>) -> TrainError {
        TrainError::Word {
            list: self.list,
            word: word.to_owned(),
            problem: problem.into(),
            known: self.known,
        }
    }
}
