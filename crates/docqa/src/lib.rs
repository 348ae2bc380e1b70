//! Question answering over documents: text from PDF, plain text and Markdown files is split into
//! passages, embedded, kept in a vector store, and searched for the sentences that answer a question.
//!
//! [`index::Index`] holds documents ready to be questioned, and [`answer::ask`] questions them:
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! use kiln_docqa::answer::{Answerer, AskOptions, ask};
//! use kiln_docqa::index::{Index, IndexOptions};
//! use kiln_docqa::similarity::GpuSimilarity;
//! use kiln_gpu::{AdapterChoice, Gpu};
//! use kiln_models::SentenceEncoder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let mut encoder = SentenceEncoder::load(&gpu, Path::new("all-MiniLM-L6-v2"))?;
//! let mut index = Index::open_or_build(
//!     &["paper.pdf".into()],
//!     &IndexOptions::default(),
//!     &mut encoder,
//!     Path::new("cache"),
//!     Box::new(GpuSimilarity::new(&gpu)),
//!     &mut |progress| {
//!         println!("{progress:?}");
//!         ControlFlow::Continue(())
//!     },
//! )?;
//! let answer = ask(
//!     &mut index,
//!     &mut encoder,
//!     &mut Answerer::Extractive,
//!     "What is a receptive field?",
//!     &AskOptions::default(),
//!     &mut |_text| ControlFlow::Continue(()),
//! )?;
//! println!("{}", answer.answer);
//! # Ok(())
//! # }
//! ```
//!
//! [`chat::Conversation`] asks one question after the other, follow-ups among them, and a
//! [`answer::Generator`] such as [`kiln_models::TextGenerator`] writes answers where
//! [`Answerer::Extractive`](answer::Answerer) quotes them.
//!
//! The parts work alone too: [`load`] reads documents, [`split`] cuts text exactly as LangChain's recursive
//! splitter does, [`store`] keeps vectors, and [`embedder::Embedder`] and [`similarity::Similarity`] are the
//! places where another model or device fits in.

pub mod answer;
mod atomic;
pub mod chat;
pub mod chunk;
pub mod clean;
pub mod embedder;
mod error;
mod hex;
pub mod history;
pub mod index;
pub mod load;
pub mod measure;
pub mod prompt;
pub mod retrieve;
mod sentences;
pub mod similarity;
pub mod split;
pub mod store;

pub use error::DocqaError;
