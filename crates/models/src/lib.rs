//! Networks, weights, tokenizers and the model store.
//!
//! [`ModelStore`](store::ModelStore) finds a model's directory or fetches it from the hub;
//! [`SentenceEncoder`](sentence::SentenceEncoder) turns texts into embeddings with it.

pub mod bert;
pub mod error;
mod layout;
pub mod sentence;
pub mod store;
pub mod tokenizer;
pub mod weights;

pub use error::ModelError;
pub use sentence::SentenceEncoder;
pub use store::{ModelStore, StoreConfig};
