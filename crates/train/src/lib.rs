//! Training: from files to batches, from batches to steps, from steps to a network on the disk.
//!
//! A [`Run`](run::Run) is all of it: what it is asked to do ([`config`]), its loop over epochs, its
//! [checkpoints](checkpoint), and its [pictures](plot). It tells what happens as [`events`], and needs something
//! that learns: a [`Trainer`](trainer::Trainer) on a device.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use kiln_gpu::{AdapterChoice, Gpu};
//! use kiln_train::config::RunOptions;
//! use kiln_train::events::Event;
//! use kiln_train::learner;
//! use kiln_train::run::{Control, Outcome, Run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let options = RunOptions {
//!     arch: Some("bn".to_owned()),
//!     data: Some("fashion-mnist".into()),
//!     train_limit: Some(10_000),
//!     ..RunOptions::default()
//! };
//! let (config, network) = options.resolve()?;
//! let run = Run::start(Path::new("run"), config, network, learner::on(&gpu))?;
//! let mut tell = |event: &Event| println!("{event:?}");
//! if let Outcome::Finished(finished) = run.train(&Control::default(), &mut tell)? {
//!     println!("test error {:?}", finished.test_error);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The parts can be had alone. [`data::Source`] finds a data set in a folder, [`data::Dataset`] is a part of it, and
//! [`Loader`] makes batches of one, ahead of whoever takes them; [`schedule`], [`early_stop`] and [`metrics`] keep
//! count. [`sweep`] makes many runs from one file.
//!
//! Whatever is drawn by chance is a pure function of the seed, the epoch and the example ([`random`]): the same
//! command gives the same batches, however many threads make them, and a run that goes on after a stop sees what it
//! would have seen.

pub mod augment;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod early_stop;
mod error;
pub mod events;
pub mod init;
pub mod learner;
pub mod loader;
pub mod measure;
pub mod metrics;
pub mod normalization;
pub mod order;
pub mod plot;
pub mod predict;
mod prefetch;
pub mod progress;
pub mod random;
pub mod run;
pub mod schedule;
pub mod state;
pub mod sweep;
pub mod trainer;
mod words;

pub use error::TrainError;
pub use loader::Loader;
