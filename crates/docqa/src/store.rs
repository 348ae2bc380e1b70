//! Vector stores: documents, their passages, the embeddings of these, and the search among them.

mod address;
mod chroma;
mod filter;
mod folder;
mod location;
mod memory;
mod metric;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use address::ChromaAddress;
pub use chroma::{ChromaOptions, ChromaStore};
pub use filter::Filter;
pub(crate) use folder::{KNOWN, KNOWN_BY_NAME};
pub use location::StoreLocation;
pub(crate) use location::open_or_create;
pub use memory::MemoryStore;
pub use metric::Metric;

use crate::DocqaError;
use crate::chunk::Chunk;
use crate::index::IndexOptions;
use crate::load::{Document, SkippedFile, SkippedPage};

/// A chunk that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The chunk.
    pub chunk: Chunk,
    /// How far its embedding is from the query's; never below 0.
    pub distance: f32,
}

/// What a store was made with, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The fingerprint of the model that made the embeddings.
    pub model: String,
    /// The length of an embedding.
    pub dim: usize,
    /// How documents were split and how distance is measured.
    pub options: IndexOptions,
    /// Which text the files were read as: differs between versions that would read other text from the same file.
    pub reading: u32,
    /// When it was made: RFC 3339, in UTC.
    pub created: String,
    /// The files and folders that it holds, as absolute paths.
    pub roots: Vec<String>,
    /// Files of these folders that could not be read.
    pub skipped: Vec<SkippedFile>,
    /// Whether it is being brought up to date, or was when that was interrupted.
    pub unfinished: bool,
}

/// What a store knows of a document besides its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The path as it was given (for a file in a folder: the folder's path and the file's within it).
    pub source: String,
    /// The SHA-256 of the file's bytes, in hexadecimal.
    pub sha256: String,
    /// How many passages it has.
    pub passages: usize,
    /// Pages that could not be read.
    pub skipped: Vec<SkippedPage>,
}

/// A document with everything that a store keeps of it.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// What is known of it.
    pub record: Record,
    /// The document itself.
    pub document: Arc<Document>,
    /// Its passages, in order.
    pub chunks: Vec<Chunk>,
    /// An embedding for each.
    pub embeddings: Vec<Vec<f32>>,
}

/// Keeps documents with their passages and embeddings, and finds the passages closest to a query.
///
/// A document is there whole or not at all, under its source: [`put`](Self::put) replaces the one of the same source.
pub trait VectorStore: Send {
    /// What it was made with; `None` where it never was.
    fn about(&self) -> Option<&About>;

    /// Forgets everything, and begins anew with this.
    fn reset(&mut self, about: About) -> Result<(), DocqaError>;

    /// Changes what it says of itself; model, options and the length of embeddings stay.
    fn set_about(&mut self, about: About) -> Result<(), DocqaError>;

    /// Its documents.
    fn records(&self) -> &[Record];

    /// How many passages it holds.
    fn len(&self) -> usize {
        self.records().iter().map(|record| record.passages).sum()
    }

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` passages closest to `query` among those that pass the filter, the closest first; fewer where fewer pass.
    /// Passages at the same distance come in the order of their documents.
    fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError>;

    /// A document with its text; `None` where there is none of this source.
    fn document(&mut self, source: &str) -> Result<Option<Arc<Document>>, DocqaError>;

    /// The passages of a document with their embeddings, in any order; none where there is no such document.
    fn embedded(&mut self, source: &str) -> Result<Vec<(String, Vec<f32>)>, DocqaError>;

    /// Takes in documents, each in place of the one of its source.
    fn put(&mut self, documents: Vec<Indexed>) -> Result<(), DocqaError>;

    /// Forgets the documents of these sources; those that are not there are passed over.
    fn remove(&mut self, sources: &[String]) -> Result<(), DocqaError>;

    /// Clears away what an interrupted [`put`](Self::put) or [`remove`](Self::remove) of another process left.
    fn mend(&mut self) -> Result<(), DocqaError> {
        Ok(())
    }

    /// Brings documents into the order of these sources, where a store has one.
    fn arrange(&mut self, sources: &[String]) {
        let _ = sources;
    }

    /// Makes what it holds last, where it does not by itself.
    fn save(&mut self) -> Result<(), DocqaError> {
        Ok(())
    }

    /// The file in which the making of embeddings for it may keep its progress.
    fn progress_file(&self) -> Option<PathBuf> {
        None
    }

    /// The bytes that it takes: in this process, and on the device.
    fn memory(&self) -> Memory {
        Memory::default()
    }
}

/// Bytes that a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// In the process: embeddings, passages and the text of documents.
    pub host: u64,
    /// On the device.
    pub device: u64,
}

/// Refuses documents whose embeddings do not fit their passages or the store.
fn check(documents: &[Indexed], dim: usize) -> Result<(), DocqaError> {
    for Indexed { chunks, embeddings, .. } in documents {
        if chunks.len() != embeddings.len() {
            let reason =
                format!("expected one for each of {} chunks, got {}", chunks.len(), embeddings.len());
            return Err(DocqaError::Embedding { row: embeddings.len(), reason });
        }
        for (row, values) in embeddings.iter().enumerate() {
            crate::embedder::check(row, values, dim)?;
        }
    }
    Ok(())
}
