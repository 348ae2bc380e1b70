//! What can go wrong with a model: one enum, one clear line each.

use std::fmt;
use std::path::{Path, PathBuf};

use kiln_engine::EngineError;

/// Why a model could not be found, read, built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A directory that should hold a model lacks files.
    #[error("{}: not a model directory: {} missing{hint}", dir.display(), list(missing))]
    MissingFiles {
        /// The directory that was looked into.
        dir: PathBuf,
        /// The files that are not there.
        missing: Vec<String>,
        /// More that helps, starting with its own separator, or nothing.
        hint: String,
    },

    /// A configuration file is not what it should be.
    #[error("{}: {message}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A file asks for something that Kiln does not have.
    #[error("{}: {what} is not supported; {instead}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The option and its value.
        what: String,
        /// What is supported.
        instead: String,
    },

    /// A safetensors file has a header that cannot be right.
    #[error("{}: not a safetensors file: {message}", file.display())]
    WeightsHeader {
        /// The file.
        file: PathBuf,
        /// What is wrong with the header.
        message: String,
    },

    /// A safetensors file ends before its tensors do.
    #[error("{}: truncated: tensor {tensor} ends at byte {expected}, the file has {actual} bytes", file.display())]
    TruncatedWeights {
        /// The file.
        file: PathBuf,
        /// The first tensor that is not whole.
        tensor: String,
        /// Where its last byte should be, counted from the start of the file.
        expected: u64,
        /// The length of the file, in bytes.
        actual: u64,
    },

    /// A safetensors file holds other tensors than the model needs.
    #[error("{}: wrong tensors for this model: {differences}", file.display())]
    WrongTensors {
        /// The file.
        file: PathBuf,
        /// All that is missing, extra or has another shape.
        differences: TensorDifferences,
    },

    /// A tokenizer file cannot be read or belongs to another model.
    #[error("{}: {message}", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// No model has this name.
    #[error("unknown model {name:?}: expected {} or a directory that holds a model", known.join(", "))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },

    /// A directory has no file of any model whose checksums Kiln knows.
    #[error("{}: not a model that Kiln knows: no file has the checksum of one of {}", dir.display(), known.join(" or "))]
    UnknownFiles {
        /// The directory that was to be verified.
        dir: PathBuf,
        /// The names of the models there are.
        known: Vec<String>,
    },

    /// The model is nowhere.
    #[error("model {name} not found: tried {}; {advice}", tried.join("; "))]
    NotFound {
        /// The model's name.
        name: String,
        /// Each place, and what was wrong with it.
        tried: Vec<String>,
        /// What to do.
        advice: String,
    },

    /// The model is not on this machine, and the hub did not give it.
    #[error("model {name} could not be fetched: {reason}; also tried {}; {advice}", tried.join("; "))]
    Fetch {
        /// The model's name.
        name: String,
        /// What went wrong with the download.
        reason: Box<ModelError>,
        /// Each other place, and what was wrong with it.
        tried: Vec<String>,
        /// What to do.
        advice: String,
    },

    /// A download failed.
    #[error("{url}: {message}")]
    Download {
        /// The address.
        url: String,
        /// What went wrong, and where it is known, what to do.
        message: String,
    },

    /// A file is not the one whose checksum Kiln knows.
    #[error("{file}: wrong checksum: expected sha256 {expected}, got {actual}")]
    Checksum {
        /// The file or its address.
        file: String,
        /// The pinned digest, in hexadecimal.
        expected: String,
        /// The digest found.
        actual: String,
    },

    /// A wheel does not hold a model that Kiln knows.
    #[error("{}: {message}", file.display())]
    Wheel {
        /// The wheel.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A text came out as something that is not a number.
    #[error(
        "{model}: the embedding of text {index} has a value that is not finite (element {element} is {value})"
    )]
    NotFinite {
        /// The model's name.
        model: String,
        /// Which of the texts, counted from 0.
        index: usize,
        /// Which element of its embedding.
        element: usize,
        /// The value.
        value: f32,
    },

    /// The engine refused the graph or failed to run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ModelError {
    /// True where the user's input is at fault (exit code 2), false for a failure at run time (exit code 1).
    pub fn is_input_error(&self) -> bool {
        match self {
            ModelError::Io { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::PermissionDenied
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::IsADirectory
            ),
            ModelError::MissingFiles { .. }
            | ModelError::Config { .. }
            | ModelError::Unsupported { .. }
            | ModelError::WeightsHeader { .. }
            | ModelError::TruncatedWeights { .. }
            | ModelError::WrongTensors { .. }
            | ModelError::Tokenizer { .. }
            | ModelError::UnknownModel { .. }
            | ModelError::UnknownFiles { .. }
            | ModelError::NotFound { .. }
            | ModelError::Checksum { .. }
            | ModelError::Wheel { .. } => true,
            ModelError::Fetch { .. }
            | ModelError::Download { .. }
            | ModelError::NotFinite { .. }
            | ModelError::Engine(_) => false,
        }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> ModelError {
        ModelError::Io { path: path.to_owned(), source }
    }

    pub(crate) fn config(file: &Path, message: impl Into<String>) -> ModelError {
        ModelError::Config { file: file.to_owned(), message: message.into() }
    }
}

/// How the tensors of a file differ from those that a model needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TensorDifferences {
    /// Tensors that the model needs and the file does not have.
    pub missing: Vec<String>,
    /// Tensors that the file has and the model neither needs nor ignores.
    pub extra: Vec<String>,
    /// Tensors of another shape: name, expected shape, shape in the file.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors whose element type is not one that Kiln converts to f32: name, type in the file.
    pub mistyped: Vec<(String, String)>,
}

impl TensorDifferences {
    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        *self == TensorDifferences::default()
    }
}

impl fmt::Display for TensorDifferences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", list(&self.missing)));
        }
        if !self.extra.is_empty() {
            parts.push(format!("not known to the model {}", list(&self.extra)));
        }
        for (name, expected, actual) in &self.misshapen {
            parts.push(format!("{name} has shape {actual:?}, expected {expected:?}"));
        }
        for (name, dtype) in &self.mistyped {
            parts.push(format!("{name} has elements of type {dtype}, expected F32, F16 or BF16"));
        }
        f.write_str(&parts.join("; "))
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(list(&names(&["a"])), "a");
        assert_eq!(list(&names(&["a", "b"])), "a and b");
        assert_eq!(list(&names(&["a", "b", "c"])), "a, b and c");
    }

    #[test]
    fn differences_name_everything() {
        let differences = TensorDifferences {
            missing: names(&["x", "y"]),
            extra: names(&["z"]),
            misshapen: vec![("w".to_owned(), vec![2, 3], vec![3, 2])],
            mistyped: vec![("v".to_owned(), "I8".to_owned())],
        };
        assert_eq!(
            differences.to_string(),
            "missing x and y; not known to the model z; w has shape [3, 2], expected [2, 3]; \
             v has elements of type I8, expected F32, F16 or BF16"
        );
    }

    #[test]
    fn input_errors_are_told_from_failures() {
        let missing = ModelError::MissingFiles {
            dir: "empty".into(),
            missing: names(&["config.json"]),
            hint: String::new(),
        };
        assert!(missing.is_input_error());
        assert_eq!(missing.to_string(), "empty: not a model directory: config.json missing");
        let download = ModelError::Download { url: "u".to_owned(), message: "m".to_owned() };
        assert!(!download.is_input_error());
    }
}
