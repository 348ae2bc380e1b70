//! From a question to passages.

use crate::DocqaError;
use crate::embedder::{Embedder, embed_checked};
use crate::index::Index;
use crate::store::{Filter, Hit, VectorStore};

/// What was found for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieved {
    /// The question's embedding.
    pub question: Vec<f32>,
    /// The passages closest to it, the closest first.
    pub hits: Vec<Hit>,
}

/// Finds the `contexts` passages of an index that are closest to a question, among those that pass the
/// filter. An empty question, no contexts and an index made with another model are errors.
pub fn retrieve(
    index: &mut Index,
    embedder: &mut dyn Embedder,
    question: &str,
    contexts: usize,
    filter: &Filter,
) -> Result<Retrieved, DocqaError> {
    check(question, contexts)?;
    index.check_model(embedder)?;
    let mut rows = embed_checked(embedder, &[question.trim()], &mut |_| {})?;
    let question = rows.pop().unwrap_or_default();
    let hits = index.store_mut().search(&question, contexts, filter)?;
    Ok(Retrieved { question, hits })
}

/// Refuses what no index could answer; worth asking before one is built.
pub fn check(question: &str, contexts: usize) -> Result<(), DocqaError> {
    if question.trim().is_empty() {
        return Err(DocqaError::EmptyQuestion);
    }
    if contexts == 0 {
        return Err(DocqaError::NoContexts);
    }
    Ok(())
}
