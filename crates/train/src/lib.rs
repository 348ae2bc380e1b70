//! Training, so far its data half: from files to batches, and what a run keeps count of.
//!
//! [`data::Source`] finds a data set in a folder, [`data::Dataset`] is a part of it, and [`Loader`] makes batches of
//! one, ahead of whoever takes them:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use kiln_train::data::{FolderOptions, Source};
//! use kiln_train::loader::{Loader, LoaderOptions, Order};
//! use kiln_train::normalization::Normalization;
//! use kiln_train::schedule::Schedule;
//!
//! # fn main() -> Result<(), kiln_train::TrainError> {
//! let source = Source::open(Path::new("fashion-mnist"), &FolderOptions::default())?;
//! let parts = source.parts()?;
//! let (train, validation) = parts.train.slice(0, Some(10_000))?.split(0.1, 0)?;
//! let normalization = Normalization::of(&train, 2)?;
//! let options = LoaderOptions {
//!     order: Order::Shuffled,
//!     augmentation: "flip,crop4".parse()?,
//!     ..LoaderOptions::default()
//! };
//! let schedule: Schedule = "warmup2,cosine".parse()?;
//! let scheduler = schedule.start(0.1, 20)?;
//! for epoch in 0..20 {
//!     let rate = scheduler.rate(f64::from(epoch));
//!     for batch in Loader::start(&train, &normalization, &options, epoch, 0)? {
//!         let batch = batch?;
//!         println!("{:?} at {rate}", batch.shape);
//!     }
//! }
//! # let _ = validation;
//! # Ok(())
//! # }
//! ```
//!
//! Whatever is drawn by chance is a pure function of the seed, the epoch and the example ([`random`]): the same
//! command gives the same batches, however many threads make them, and a run that goes on after a stop sees what it
//! would have seen.

pub mod augment;
pub mod data;
pub mod early_stop;
mod error;
pub mod loader;
pub mod metrics;
pub mod normalization;
pub mod order;
mod prefetch;
pub mod random;
pub mod schedule;
mod words;

pub use error::TrainError;
pub use loader::Loader;
