//! Data sets: found in a folder, checked, and read as bytes.
//!
//! [`Source`] tells what kind of data set a folder holds: IDX files as MNIST comes in ([`idx`]), the binary batches of
//! CIFAR-10 ([`cifar10`]), or images in a folder for each class ([`folder`]); and the word `xor` stands for one that is
//! built in ([`xor`]). Whatever it is, a [`Dataset`] comes out: examples of one shape, 8 bits a value, each with its
//! label, always in the same order.

pub mod cifar10;
mod dataset;
pub mod folder;
pub mod idx;
mod images;
mod names;
mod raw;
mod source;
pub mod xor;

pub use dataset::Dataset;
pub use folder::FolderOptions;
pub(crate) use images::{example, luma};
pub use source::{Format, Parts, Source};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a network learns from.
    Train,
    /// What it is judged by in the end.
    Test,
}

impl std::fmt::Display for Part {
    /// `training part` or `test part`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Train => "training part",
            Part::Test => "test part",
        })
    }
}
