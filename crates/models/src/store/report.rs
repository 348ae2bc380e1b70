//! What a store tells about models: where they are, how far a download is, whether files are right.

use std::fmt;
use std::path::PathBuf;

use super::catalogue::{Entry, Length};

/// A place where a model can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A directory that was named.
    Directory,
    /// The directory that `KILN_MODELS` names.
    KilnModels,
    /// Kiln's cache.
    Cache,
    /// The cache of the Hugging Face libraries.
    HuggingFace,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Directory => "a directory",
            Place::KilnModels => "KILN_MODELS",
            Place::Cache => "Kiln's cache",
            Place::HuggingFace => "the Hugging Face cache",
        })
    }
}

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it was found.
    pub place: Place,
    /// The directory with its files.
    pub path: PathBuf,
}

/// A row of [`ModelStore::list`](super::ModelStore::list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The model.
    pub entry: &'static Entry,
    /// Where it is on this machine, if it is.
    pub found: Option<Found>,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file that is coming.
    pub file: &'a str,
    /// Bytes of the model that are there, all files together.
    pub done: u64,
    /// Bytes of the model, all files together.
    pub total: u64,
}

/// What [`ModelStore::verify`](super::ModelStore::verify) found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The model whose files were expected.
    pub entry: &'static Entry,
    /// The directory that was checked.
    pub found: Found,
    /// Each file with its result, in the order of the catalogue.
    pub files: Vec<(&'static str, Check)>,
}

impl Verification {
    /// True where every file is there and none is known to be wrong.
    pub fn is_ok(&self) -> bool {
        self.files
            .iter()
            .all(|(_, check)| matches!(check, Check::Ok | Check::Declared | Check::Unknown { .. }))
    }

    /// How many files are known to be right.
    pub(crate) fn right(&self) -> usize {
        self.files.iter().filter(|(_, check)| matches!(check, Check::Ok | Check::Declared)).count()
    }
}

/// What became of one file in [`ModelStore::verify`](super::ModelStore::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The digest is the pinned one.
    Ok,
    /// None is pinned, and the digest is the one that the hub declared when the file was fetched.
    Declared,
    /// None is pinned, and nothing tells what the hub declared. The length is right.
    Unknown {
        /// The SHA-256 of the file.
        actual: String,
    },
    /// The digest is another.
    Mismatch {
        /// The SHA-256 that is pinned or was declared.
        expected: String,
        /// The SHA-256 of the file.
        actual: String,
    },
    /// No digest is known, and the length is another.
    Length {
        /// The length that is pinned.
        expected: Length,
        /// The length of the file.
        actual: u64,
    },
    /// There is no such file.
    Missing,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Ok => f.write_str("ok"),
            Check::Declared => f.write_str("ok, as the hub declared it; Kiln knows no checksum"),
            Check::Unknown { actual } => {
                write!(f, "not checked, Kiln knows no checksum; the length is right, sha256 {actual}")
            }
            Check::Mismatch { expected, actual } => {
                write!(f, "wrong checksum: expected sha256 {expected}, got {actual}")
            }
            Check::Length { expected, actual } => {
                write!(f, "wrong length: expected {expected} bytes, got {actual}")
            }
            Check::Missing => f.write_str("missing"),
        }
    }
}
