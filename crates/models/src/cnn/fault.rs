//! What is wrong with a description, before it is known which file it stands in.

use kiln_engine::EngineError;

use crate::error::ModelError;

/// Something wrong: where, from the outside in, and what.
#[derive(Debug)]
pub(super) struct Fault {
    /// `layer 3 (conv2d "conv3")`, `body layer 1 ("relu")`.
    places: Vec<String>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    /// In the description.
    Text(String),
    /// Anything else that the engine says.
    Engine(Box<EngineError>),
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault { places: vec![], problem: Problem::Text(message.into()) }
    }

    /// The same fault, seen from outside of a layer.
    pub(super) fn within(mut self, place: String) -> Fault {
        self.places.insert(0, place);
        self
    }

    /// The error, for a description that comes from `origin`.
    pub(super) fn of(self, origin: &str) -> ModelError {
        match self.problem {
            Problem::Text(text) => {
                let places: String = self.places.iter().map(|place| format!("{place}: ")).collect();
                ModelError::Architecture { origin: origin.to_owned(), message: format!("{places}{text}") }
            }
            Problem::Engine(error) => ModelError::Engine(*error),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Fault {
        match error {
            // The path says again what the places say.
            EngineError::Op { mismatch, .. } => Fault::new(mismatch.to_string()),
            EngineError::Graph { problem, .. } => Fault::new(problem),
            error => Fault { places: vec![], problem: Problem::Engine(Box::new(error)) },
        }
    }
}

/// `, did you mean conv2d?` where a known word is near, else all of them: `, expected one of ...`.
pub(super) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_ascii_lowercase(), known);
    // As good as the half of it right, a start of it, or written another way: `Conv2d`, `kernel`, `batchnorm2d`.
    let plain = |word: &str| word.to_ascii_lowercase().replace(['_', '-'], "");
    let is_near = |known: &&str| {
        let (word, known_plain) = (plain(word), plain(known));
        let starts = word.len() >= 3 && (known_plain.starts_with(&word) || word.starts_with(&known_plain));
        starts || distance(known) * 2 < known.len().max(1)
    };
    let nearest = known.iter().copied().filter(|known| is_near(known)).min_by_key(|known| distance(known));
    match (nearest, known.as_slice()) {
        (Some(nearest), _) => format!(", did you mean {nearest}?"),
        (None, []) => ", there are none".to_owned(),
        (None, known) => format!(", expected one of {}", known.join(", ")),
    }
}
