//! From a question to passages.

use std::sync::Arc;

use crate::DocqaError;
use crate::embedder::{Embedder, embed_checked, normalize};
use crate::index::Index;
use crate::load::Document;
use crate::store::{Filter, Hit};

/// What was found for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieved {
    /// The question's embedding.
    pub question: Vec<f32>,
    /// The passages closest to it, the closest first.
    pub hits: Vec<Hit>,
    /// The documents in which these stand, in the index's order.
    pub documents: Vec<Arc<Document>>,
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
    retrieve_after(&[], index, embedder, question, contexts, filter)
}

/// How many earlier questions a follow-up is joined to.
const EARLIER: usize = 3;

/// What the question counts by itself, where one together with the earlier ones counts 1.
///
/// Questions on the sample document, with MiniLM and three passages each: of 32 follow-ups (`Who introduced it?`),
/// 9 find their passage by themselves, 30 joined to the earlier ones, and 29 by the sum of both. Of 14 that change
/// the subject, it is 13, 6 and 13.
const ALONE: f32 = 2.0;

/// As [`retrieve`], for a question that may be a follow-up of `earlier` ones, the newest last: what is searched for
/// lies between the question and the same joined to the last three of them.
pub fn retrieve_after(
    earlier: &[&str],
    index: &mut Index,
    embedder: &mut dyn Embedder,
    question: &str,
    contexts: usize,
    filter: &Filter,
) -> Result<Retrieved, DocqaError> {
    check(question, contexts)?;
    index.check_model(embedder)?;
    let question = question.trim();
    let mut joined = earlier[earlier.len().saturating_sub(EARLIER)..].join(" ");
    let mut texts = vec![question];
    if !joined.is_empty() {
        joined = format!("{joined} {question}");
        texts.push(&joined);
    }
    let mut rows = embed_checked(embedder, &texts, &mut |_| {})?.into_iter();
    let mut question = rows.next().unwrap_or_default();
    if let Some(joined) = rows.next() {
        question.iter_mut().zip(joined).for_each(|(value, joined)| *value = *value * ALONE + joined);
        normalize(&mut question);
    }
    let hits = index.search(&question, contexts, filter)?;
    let is_found = |source: &str| hits.iter().any(|hit| hit.chunk.source == source);
    let sources: Vec<String> = index
        .records()
        .iter()
        .map(|record| record.source.clone())
        .filter(|source| is_found(source))
        .collect();
    let mut documents = Vec::with_capacity(sources.len());
    for source in sources {
        documents.extend(index.document(&source)?);
    }
    Ok(Retrieved { question, hits, documents })
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
