//! Networks, weights, tokenizers and the model store.
//!
//! [`ModelStore`] finds a model's directory or fetches it from the hub. [`SentenceEncoder`] turns texts into
//! embeddings with it; [`Vgg`](vgg::Vgg) classifies an [`Image`] and shows what its layers make of it, and
//! [`Hed`](hed::Hed) finds edges. [`network`] knows all of them by name, [`summary`] says what they are made of, and
//! [`measure`] how long they take.
//!
//! ```no_run
//! use kiln_gpu::{AdapterChoice, Gpu};
//! use kiln_models::{ModelStore, SentenceEncoder, StoreConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = ModelStore::new(StoreConfig::from_env());
//! let dir = store.fetch("all-MiniLM-L6-v2", &mut |progress| {
//!     eprintln!("{}: {} of {} bytes", progress.file, progress.done, progress.total);
//! })?;
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let mut encoder = SentenceEncoder::load(&gpu, &dir)?;
//! let embeddings = encoder.encode(&["A kiln turns clay into stone."], &mut |_| {})?;
//! assert_eq!(embeddings[0].len(), encoder.dim());
//! # Ok(())
//! # }
//! ```

pub mod atomic;
pub mod bert;
pub mod cnn;
pub mod error;
pub mod filters;
pub mod generate;
pub mod hed;
pub mod image;
pub mod imagenet;
pub mod keras;
mod layout;
mod lock;
pub mod measure;
pub mod network;
mod pack;
pub mod quiet;
pub mod seeded;
pub mod sentence;
pub mod store;
pub mod summary;
pub mod t5;
pub mod text_generator;
pub mod tokenizer;
pub mod tuning;
pub mod vgg;
pub mod weights;

pub use error::ModelError;
pub use image::Image;
pub use sentence::SentenceEncoder;
pub use store::{ModelStore, StoreConfig};
pub use text_generator::TextGenerator;
pub use tuning::TuningStore;
