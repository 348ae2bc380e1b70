//! Measuring how long a question to a store takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chunk::{self, Chunk};
use crate::embedder::{Embedder, embed_checked, normalize};
use crate::index::IndexOptions;
use crate::load::Document;
use crate::similarity::Similarity;
use crate::store::{About, Filter, Indexed, Memory, MemoryStore, Record, VectorStore};
use crate::{DocqaError, split};

/// A store of made-up passages, and questions to it.
pub struct SearchBench {
    store: MemoryStore,
    asked: usize,
}

/// What a question took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// Embedding it.
    pub embedding: Duration,
    /// Finding the three passages closest to it.
    pub searching: Duration,
}

impl Took {
    /// Both.
    pub fn total(self) -> Duration {
        self.embedding + self.searching
    }
}

/// Some of the length that questions have.
const QUESTIONS: [&str; 4] = [
    "Why do deep learning libraries not flip the kernel?",
    "At about which temperature does cone 6 bend?",
    "How does the receptive field of a unit grow with the depth of the network?",
    "Who introduced dropout, and when?",
];

const CONTEXTS: usize = 3;
/// How many passages a document has.
const PASSAGES: usize = 100;

impl SearchBench {
    /// Fills a store in memory with `passages` passages of the usual length. Their embeddings are vectors of length 1
    /// from a formula; the time does not depend on them.
    pub fn new(
        passages: usize,
        embedder: &dyn Embedder,
        similarity: Box<dyn Similarity>,
    ) -> Result<Self, DocqaError> {
        let mut store = MemoryStore::new(similarity);
        let dim = embedder.dim();
        store.reset(About {
            model: embedder.fingerprint().into(),
            dim,
            options: IndexOptions::default(),
            reading: 0,
            created: chunk::now(),
            roots: Vec::new(),
            skipped: Vec::new(),
            unfinished: false,
        })?;
        let counts = (0..passages).step_by(PASSAGES).map(|first| (first, PASSAGES.min(passages - first)));
        store.put(counts.map(|(first, count)| document(first, count, dim)).collect())?;
        Ok(Self { store, asked: 0 })
    }

    /// How many passages there are.
    pub fn passages(&self) -> usize {
        self.store.len()
    }

    /// The bytes that they take.
    pub fn memory(&self) -> Memory {
        self.store.memory()
    }

    /// Asks the next question, a few of which take turns.
    pub fn run(&mut self, embedder: &mut dyn Embedder) -> Result<Took, DocqaError> {
        let question = QUESTIONS[self.asked % QUESTIONS.len()];
        self.asked += 1;
        let started = Instant::now();
        let rows = embed_checked(embedder, &[question], &mut |_| {})?;
        let embedded = Instant::now();
        self.store.search(&rows[0], CONTEXTS, &Filter::default())?;
        Ok(Took { embedding: embedded - started, searching: embedded.elapsed() })
    }
}

/// A document whose passages are numbered from `first`.
fn document(first: usize, count: usize, dim: usize) -> Indexed {
    let source = format!("synthetic/{first}.txt");
    let options = split::SplitOptions::default();
    let (mut text, mut chunks) = (String::new(), Vec::with_capacity(count));
    for chunk_id in 0..count {
        let start = text.len();
        let passage = format!("Passage {} of many. ", first + chunk_id);
        let passage = passage.repeat(options.chunk_size / passage.len());
        text.push_str(&passage);
        let (chunk_size, timestamp) = (passage.len(), String::new());
        let (page, page_end, source) = (None, None, source.clone());
        chunks.push(Chunk { text: passage, source, page, page_end, chunk_id, chunk_size, timestamp, start });
    }
    let document = Document { source: source.clone(), text, pages: Vec::new(), skipped: Vec::new() };
    Indexed {
        record: Record { source, sha256: String::new(), passages: count, skipped: Vec::new() },
        document: Arc::new(document),
        chunks,
        embeddings: (first..first + count).map(|number| vector(number as u64, dim)).collect(),
    }
}

/// A vector of length 1 in a direction of its own.
fn vector(number: u64, dim: usize) -> Vec<f32> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut values: Vec<f32> = (0..dim)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect();
    normalize(&mut values);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedder::fake::WordEmbedder;
    use crate::similarity::HostSimilarity;

    #[test]
    fn a_store_of_any_size_is_asked() {
        for passages in [1, 100, 250] {
            let mut embedder = WordEmbedder::new();
            let mut bench =
                SearchBench::new(passages, &embedder, Box::new(HostSimilarity::default())).unwrap();
            assert_eq!(bench.passages(), passages);
            // Passages and their embeddings, at the least.
            assert!(bench.memory().host > (passages * (450 + 64 * 4)) as u64);
            let took = bench.run(&mut embedder).unwrap();
            assert_eq!((embedder.embedded, took.total()), (1, took.embedding + took.searching));
        }
    }
}
