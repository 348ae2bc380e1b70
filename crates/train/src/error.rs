use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use kiln_engine::EngineError;
use kiln_models::ModelError;

/// What can go wrong between a folder of data and a trained network. Each message is one line that names the thing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder holds no data set of a known kind.
    #[error("{}: {message}", .path.display())]
    NoDataset {
        /// The path as it was given.
        path: PathBuf,
        /// What was expected.
        message: String,
    },
    /// A data set lacks files.
    #[error("{}: {} missing", .folder.display(), .missing.join(", "))]
    MissingFiles {
        /// The folder that was looked into.
        folder: PathBuf,
        /// What is not there.
        missing: Vec<String>,
    },
    /// A file ends before its data does.
    #[error("{}: truncated: expected {expected} bytes{}, found {found}", .file.display(), unpacked(*.compressed))]
    Truncated {
        /// The file.
        file: PathBuf,
        /// How many bytes there should be.
        expected: u64,
        /// How many there are.
        found: u64,
        /// Whether the bytes are counted as gzip unpacks them.
        compressed: bool,
    },
    /// A file goes on after its data.
    #[error("{}: too long: expected {expected} bytes{}, found more", .file.display(), unpacked(*.compressed))]
    TooLong {
        /// The file.
        file: PathBuf,
        /// How many bytes there should be.
        expected: u64,
        /// Whether the bytes are counted as gzip unpacks them.
        compressed: bool,
    },
    /// A compressed file cannot be unpacked.
    #[error("{}: not a sound gzip file: {source}", .file.display())]
    Compressed {
        /// The file.
        file: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },
    /// A file begins like something else.
    #[error("{}: magic number {found:#010x}, expected {expected:#010x} ({kind})", .file.display())]
    Magic {
        /// The file.
        file: PathBuf,
        /// What the file should begin with.
        expected: u32,
        /// What it begins with.
        found: u32,
        /// What the expected number stands for.
        kind: &'static str,
    },
    /// A file contradicts itself, or says what cannot be.
    #[error("{}: {message}", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Images and labels that should belong together do not.
    #[error("{}: {found} labels, expected {expected}, one for each image of {}", .labels.display(), .images.display())]
    Counts {
        /// The file of images.
        images: PathBuf,
        /// The file of labels.
        labels: PathBuf,
        /// How many images there are.
        expected: u64,
        /// How many labels there are.
        found: u64,
    },
    /// A label that stands for no class.
    #[error("{}: example {example} has label {label}, expected 0 to {}", .file.display(), .classes.saturating_sub(1))]
    Label {
        /// The file.
        file: PathBuf,
        /// Which example, counted from 0.
        example: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// The two parts of a data set hold examples of different shapes.
    #[error(
        "{}: training examples are {train:?} (channels, height, width), test examples {test:?}",
        .path.display()
    )]
    Shapes {
        /// The data set.
        path: PathBuf,
        /// The shape of a training example.
        train: [usize; 3],
        /// The shape of a test example.
        test: [usize; 3],
    },
    /// More of a part was asked for than it has.
    #[error("{name}: examples {start} to {end} were asked for, there are {available}")]
    Range {
        /// The part.
        name: String,
        /// The first example asked for, counted from 0.
        start: usize,
        /// One past the last.
        end: usize,
        /// How many there are.
        available: usize,
    },
    /// An option has a value that it cannot have.
    #[error("{option} {value}: {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A word in a list of words is not known or not well formed.
    #[error("{list} {word:?}: {problem}; known: {known}")]
    Word {
        /// What the list is for: `augmentation`, `schedule`.
        list: &'static str,
        /// The word as it was given.
        word: String,
        /// What is wrong with it.
        problem: String,
        /// The words there are.
        known: &'static str,
    },
    /// A loader could not start its threads.
    #[error("loader: a thread cannot be started: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// Making a batch, or what else is made ahead, panicked: a mistake of ours.
    #[error("loader: making item {item} panicked: {message}")]
    Panicked {
        /// Which batch, counted from 0.
        item: usize,
        /// The panic's message.
        message: String,
    },
    /// A state does not fit the network that is trained.
    #[error("tensor \"{name}\": {problem}")]
    State {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of options is not what it should be.
    #[error("{origin}: {message}")]
    Config {
        /// The file, or what else the options stand in.
        origin: String,
        /// What is wrong with them.
        message: String,
    },
    /// A file is not the checkpoint that it should be.
    #[error("{}: {message}", .file.display())]
    Checkpoint {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A folder cannot be that of a run.
    #[error("{}: {message}", .folder.display())]
    RunFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A run that is to go on was started with other options than those given now.
    #[error("{}: the run cannot go on with other options: {}", .folder.display(), .differences.join("; "))]
    OtherRun {
        /// The run's folder.
        folder: PathBuf,
        /// `epochs is 20 in the run, 40 was given`.
        differences: Vec<String>,
    },
    /// Network and data do not belong together.
    #[error("network {network} and data {data}: {message}")]
    Unsuited {
        /// The network's name.
        network: String,
        /// The data set.
        data: String,
        /// What does not fit.
        message: String,
    },
    /// The loss, or the norm of the gradients, is not a number any more.
    #[error(
        "step {step} (epoch {epoch}): the {what} is {value} at a learning rate of {rate:?}; the last good checkpoint is \
         {} (step {saved})",
        .checkpoint.display()
    )]
    NotFinite {
        /// Which step, counted from 1 over the whole run.
        step: u64,
        /// Its epoch, counted from 1.
        epoch: u32,
        /// What is not finite: `loss`, `gradient norm`, `validation loss`.
        what: &'static str,
        /// What it is instead.
        value: f64,
        /// The learning rate of the step.
        rate: f64,
        /// The last checkpoint that was written before.
        checkpoint: PathBuf,
        /// How many steps the network in it has made.
        saved: u64,
    },
    /// A picture of a run cannot be drawn: a mistake of ours.
    #[error("{}: cannot be drawn: {message}", .file.display())]
    Drawing {
        /// The picture.
        file: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// A network's description, its weights or an image is not what it should be.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine refused a graph, or the device failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl TrainError {
    /// Whether what the user gave is at fault (exit code 2), rather than the machine (1).
    pub fn is_input_error(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ),
            Self::Model(error) => error.is_input_error(),
            Self::Engine(error) => !matches!(error, EngineError::Gpu(_)),
            Self::Thread { .. } | Self::Panicked { .. } | Self::NotFinite { .. } | Self::Drawing { .. } => {
                false
            }
            _ => true,
        }
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn content(file: &Path, message: impl Into<String>) -> Self {
        Self::Content { file: file.to_owned(), message: message.into() }
    }

    pub(crate) fn config(origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { origin: origin.into(), message: message.into() }
    }

    pub(crate) fn checkpoint(file: &Path, message: impl Into<String>) -> Self {
        Self::Checkpoint { file: file.to_owned(), message: message.into() }
    }

    pub(crate) fn folder(folder: &Path, message: impl Into<String>) -> Self {
        Self::RunFolder { folder: folder.to_owned(), message: message.into() }
    }

    pub(crate) fn option(option: &'static str, value: impl Display, expected: impl Into<String>) -> Self {
        Self::Option { option, value: value.to_string(), expected: expected.into() }
    }
}

fn unpacked(compressed: bool) -> &'static str {
    if compressed { " once unpacked" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_user_are_told_from_those_of_the_machine() {
        let io = |kind| TrainError::io(Path::new("a"), io::Error::from(kind));
        assert!(io(io::ErrorKind::NotFound).is_input_error());
        assert!(!io(io::ErrorKind::OutOfMemory).is_input_error());
        assert!(TrainError::option("batch size", 0, "expected at least 1").is_input_error());
        assert!(!TrainError::Panicked { item: 3, message: "words".into() }.is_input_error());
        assert!(
            TrainError::Model(ModelError::Image { file: "a.png".into(), message: "empty file".into() })
                .is_input_error()
        );
    }
}
