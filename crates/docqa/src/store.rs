//! Vector stores: chunks, their embeddings, and the search among them.

mod filter;
mod memory;

pub(crate) use memory::{check_format, format_begins, read};

use std::path::Path;

pub use filter::Filter;
pub use memory::{MemoryStore, Metric};

use crate::chunk::Chunk;
use crate::{DocqaError, atomic};

/// A chunk that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The chunk.
    pub chunk: Chunk,
    /// How far its embedding is from the query's; never below 0.
    pub distance: f32,
}

/// Keeps chunks with their embeddings and finds those closest to a query.
pub trait VectorStore {
    /// Takes in chunks, one embedding each, all of the same length as those already there.
    fn add(&mut self, chunks: Vec<Chunk>, embeddings: &[Vec<f32>]) -> Result<(), DocqaError>;

    /// How many chunks it holds.
    fn len(&self) -> usize;

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` chunks closest to `query` among those that pass the filter, the closest first; fewer where
    /// fewer pass. Chunks at the same distance come in the order in which they were added.
    fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError>;

    /// Writes its files into a folder that is there and that nobody reads yet.
    fn write(&self, folder: &Path) -> Result<(), DocqaError>;

    /// Saves into a folder, which is replaced as a whole or, on any failure, not at all. One that holds
    /// anything but the files of such a store is left alone.
    fn save(&self, folder: &Path) -> Result<(), DocqaError> {
        let files = [CHUNKS_FILE, EMBEDDINGS_FILE];
        let known = atomic::Known { files: &files, formats: &[(CHUNKS_FILE, VECTORS)] };
        atomic::replace_folder(folder, known, |new| self.write(new))
    }

    /// Takes the content of a folder in place of its own, which is kept where that fails.
    fn load(&mut self, folder: &Path) -> Result<(), DocqaError>;
}

/// The file of a store that holds the chunks.
pub(crate) const CHUNKS_FILE: &str = "chunks.json";
/// How the `format` in it begins, whatever the version.
pub(crate) const VECTORS: &str = "kiln-vectors/";
/// The file of a store that holds their embeddings.
pub(crate) const EMBEDDINGS_FILE: &str = "embeddings.safetensors";
