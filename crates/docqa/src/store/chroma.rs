//! A collection on a Chroma server, by its HTTP interface, version 2.
//!
//! Each passage is a record: its embedding, its text, and as metadata where it stands. Its id is made from its source,
//! place and text, so that writing it again changes nothing. White space between passages is kept with them, so that
//! the text of a document is that of its passages joined. The first passage of a document, its head, carries what is
//! known of the document and is written last: a document without a head is not there.

mod client;
mod record;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{About, ChromaAddress, Filter, Hit, Indexed, Metric, Record, VectorStore};
use crate::load::Document;
use crate::{DocqaError, embedder, hex};
use client::{Client, Collection};
use record::{Fetched, Passage};

/// How a server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChromaOptions {
    /// How long a connection may take.
    pub connect: Duration,
    /// How long an answer may take.
    pub answer: Duration,
    /// The most passages in a request.
    pub batch: usize,
    /// The folder in which the progress of indexing may be kept.
    pub progress: Option<PathBuf>,
}

impl Default for ChromaOptions {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(60), batch: 500, progress: None }
    }
}

/// How wide the server searches its graph, and how it builds it. Of 300 questions to 1,000 vectors of 384 values, all by
/// chance, the server's own settings (100, 100 and 16) get the nearest three of 288 right, these of all; among 10,000 it is
/// 52 and 300. Building takes twice as long.
const SEARCHED: usize = 512;
const CONSTRUCTED: usize = 256;
const NEIGHBOURS: usize = 32;

/// How many documents of late questions are kept.
const REMEMBERED: usize = 8;

/// Keeps everything in a collection on a Chroma server.
pub struct ChromaStore {
    client: Client,
    options: ChromaOptions,
    /// How messages name it.
    name: String,
    collection: Option<Collection>,
    about: Option<About>,
    /// The documents that have a head, by source.
    records: Vec<Record>,
    /// The ids of the heads, by source.
    heads: HashMap<String, String>,
    remembered: Vec<Arc<Document>>,
}

impl ChromaStore {
    /// Whether a server answers and has the collection. One that somebody else made is refused.
    pub fn is_there(address: &ChromaAddress, options: &ChromaOptions) -> Result<bool, DocqaError> {
        Ok(Self::look(address, options)?.collection.is_some())
    }

    /// Opens the collection, which may not be there yet. One that somebody else made is refused.
    pub fn connect(address: &ChromaAddress, options: &ChromaOptions) -> Result<Self, DocqaError> {
        let mut store = Self::look(address, options)?;
        if store.collection.is_some() {
            store.read_records()?;
        }
        Ok(store)
    }

    fn look(address: &ChromaAddress, options: &ChromaOptions) -> Result<Self, DocqaError> {
        let client = Client::new(address, options);
        client.greet()?;
        let mut store = Self {
            client,
            options: options.clone(),
            name: format!("chroma:{address}"),
            collection: None,
            about: None,
            records: Vec::new(),
            heads: HashMap::new(),
            remembered: Vec::new(),
        };
        store.collection = store.client.collection()?;
        if let Some(collection) = &store.collection {
            let foreign = |reason: String| DocqaError::NotACollection { store: store.name.clone(), reason };
            let about = record::about_of(&collection.metadata).map_err(foreign)?;
            if let Some(dim) = collection.dimension.filter(|&dim| dim != about.dim) {
                let reason =
                    format!("its embeddings have {dim} values, and it says that they have {}", about.dim);
                return Err(foreign(reason));
            }
            store.about = Some(about);
        }
        Ok(store)
    }

    fn collection(&self) -> Result<&Collection, DocqaError> {
        self.collection.as_ref().ok_or_else(|| DocqaError::NoCollection { store: self.name.clone() })
    }

    fn request(&self, method: &str, body: &Value) -> Result<Value, DocqaError> {
        self.client.of_collection(self.collection()?, method, body)
    }

    /// Reads the heads.
    fn read_records(&mut self) -> Result<(), DocqaError> {
        self.records.clear();
        self.heads.clear();
        let heads = json!({ record::PASSAGES: { "$gte": 1 } });
        let mut found = Vec::new();
        self.pages(Some(heads), &["metadatas"], &mut |fetched| {
            found.push((record::record_of(&fetched.id, &fetched.metadata), fetched.id));
            Ok(())
        })?;
        for (record, id) in found {
            let record = record.map_err(|reason| self.damaged(reason))?;
            self.heads.insert(record.source.clone(), id);
            self.records.push(record);
        }
        self.records.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(())
    }

    /// Gets records page by page.
    fn pages(
        &self,
        condition: Option<Value>,
        include: &[&str],
        take: &mut dyn FnMut(Fetched) -> Result<(), DocqaError>,
    ) -> Result<(), DocqaError> {
        let limit = self.options.batch;
        let (mut offset, mut first) = (0, None);
        loop {
            let mut body = json!({ "include": include, "limit": limit, "offset": offset });
            if let Some(condition) = &condition {
                body["where"] = condition.clone();
            }
            let answer = self.request("get", &body)?;
            let fetched = record::fetched(answer).map_err(|reason| self.odd(reason))?;
            let count = fetched.len();
            // Of a server that knows no offset there would be no end.
            let begins = fetched.first().map(|fetched| fetched.id.clone());
            if count > limit || begins.is_some() && begins == first {
                return Err(self.odd("the answer to `get` is not the part that was asked for".into()));
            }
            first = begins;
            fetched.into_iter().try_for_each(&mut *take)?;
            if count < limit {
                return Ok(());
            }
            offset += count;
        }
    }

    /// The passages of a document that are there, in the order of their places.
    fn passages(&self, source: &str, include: &[&str]) -> Result<Vec<(Passage, Vec<f32>)>, DocqaError> {
        let mut passages = Vec::new();
        self.pages(Some(json!({ record::SOURCE: source })), include, &mut |mut fetched| {
            let embedding = std::mem::take(&mut fetched.embedding);
            let passage = Passage::of(fetched).map_err(|reason| self.damaged(reason))?;
            passages.push((passage, embedding));
            Ok(())
        })?;
        passages.sort_by_key(|(passage, _)| passage.chunk.chunk_id);
        Ok(passages)
    }

    fn delete(&self, ids: &[String]) -> Result<(), DocqaError> {
        for ids in ids.chunks(self.options.batch) {
            self.request("delete", &json!({ "ids": ids }))?;
        }
        Ok(())
    }

    /// Writes passages, each in place of the one with its id.
    fn upsert<'a>(
        &self,
        passages: impl Iterator<Item = (&'a Passage, &'a Vec<f32>)>,
    ) -> Result<(), DocqaError> {
        let all: Vec<(&Passage, &Vec<f32>)> = passages.collect();
        for part in all.chunks(self.options.batch) {
            let column = |of: &dyn Fn(&Passage) -> Value| part.iter().map(|(p, _)| of(p)).collect::<Vec<_>>();
            self.request(
                "upsert",
                &json!({
                    "ids": column(&|passage| passage.id().into()),
                    "documents": column(&|passage| passage.chunk.text.clone().into()),
                    "metadatas": column(&|passage| passage.metadata()),
                    "embeddings": part.iter().map(|(_, embedding)| embedding).collect::<Vec<_>>(),
                }),
            )?;
        }
        Ok(())
    }

    /// The collection contradicts itself.
    fn damaged(&self, reason: String) -> DocqaError {
        DocqaError::DamagedStore { path: PathBuf::from(&self.name), reason }
    }

    /// The server's answer is not what it should be.
    fn odd(&self, reason: String) -> DocqaError {
        DocqaError::Server { server: self.client.server().into(), reason }
    }

    /// Whether a passage belongs to a document that is there, as it is now.
    fn is_current(&self, passage: &Passage) -> bool {
        let record = |at: usize| &self.records[at];
        let found = self.records.binary_search_by(|record| record.source.cmp(&passage.chunk.source));
        found.is_ok_and(|at| record::revision(record(at)) == passage.revision)
    }
}

impl VectorStore for ChromaStore {
    fn about(&self) -> Option<&About> {
        self.about.as_ref()
    }

    fn reset(&mut self, about: About) -> Result<(), DocqaError> {
        if self.collection.take().is_some() {
            self.client.delete_collection()?;
        }
        self.records.clear();
        self.heads.clear();
        self.remembered.clear();
        let space = match about.options.metric {
            Metric::SquaredL2 => "l2",
            Metric::Cosine => "cosine",
        };
        let collection = self.client.create_collection(
            &record::metadata_of(&about),
            &json!({
                "hnsw": {
                    "space": space,
                    "ef_search": SEARCHED,
                    "ef_construction": CONSTRUCTED,
                    "max_neighbors": NEIGHBOURS,
                }
            }),
        )?;
        self.collection = Some(collection);
        self.about = Some(about);
        Ok(())
    }

    fn set_about(&mut self, about: About) -> Result<(), DocqaError> {
        self.client.set_metadata(self.collection()?, &record::metadata_of(&about))?;
        self.about = Some(about);
        Ok(())
    }

    fn records(&self) -> &[Record] {
        &self.records
    }

    fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError> {
        if k == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        let dim = self.about.as_ref().map_or(0, |about| about.dim);
        embedder::check(0, query, dim)?;
        let (mut asked, mut is_fresh) = (k, false);
        loop {
            let mut body = json!({
                "query_embeddings": [query],
                "n_results": asked,
                "include": ["documents", "metadatas", "distances"],
            });
            if let Some(condition) = record::condition_of(filter) {
                body["where"] = condition;
            }
            let found = record::found(self.request("query", &body)?).map_err(|reason| self.odd(reason))?;
            let count = found.len();
            let mut hits = Vec::with_capacity(count);
            let mut others = 0;
            for (fetched, distance) in found {
                let passage = Passage::of(fetched).map_err(|reason| self.damaged(reason))?;
                if self.is_current(&passage) {
                    hits.push(Hit { chunk: passage.chunk, distance: distance.max(0.0) });
                } else {
                    others += 1;
                }
            }
            // Somebody has written since the records were read, or was killed while writing.
            if others > 0 && !is_fresh {
                self.read_records()?;
                self.remembered.clear();
                is_fresh = true;
                continue;
            }
            if hits.len() >= k || count < asked {
                hits.sort_by(|a, b| {
                    let place = |hit: &Hit| (hit.chunk.source.clone(), hit.chunk.chunk_id);
                    a.distance.total_cmp(&b.distance).then_with(|| place(a).cmp(&place(b)))
                });
                hits.truncate(k);
                return Ok(hits);
            }
            asked = asked.saturating_mul(2).max(k + others);
        }
    }

    fn document(&mut self, source: &str) -> Result<Option<Arc<Document>>, DocqaError> {
        if let Some(document) = self.remembered.iter().find(|document| document.source == source) {
            return Ok(Some(Arc::clone(document)));
        }
        let Some(record) = self.records.iter().find(|record| record.source == source) else {
            return Ok(None);
        };
        let passages: Vec<Passage> = self
            .passages(source, &["documents", "metadatas"])?
            .into_iter()
            .map(|(passage, _)| passage)
            .filter(|passage| passage.revision == record::revision(record))
            .collect();
        let document = record::document(record, &passages).map_err(|reason| self.damaged(reason))?;
        let document = Arc::new(document);
        self.remembered.truncate(REMEMBERED - 1);
        self.remembered.insert(0, Arc::clone(&document));
        Ok(Some(document))
    }

    fn embedded(&mut self, source: &str) -> Result<Vec<(String, Vec<f32>)>, DocqaError> {
        if self.collection.is_none() {
            return Ok(Vec::new());
        }
        let passages = self.passages(source, &["documents", "metadatas", "embeddings"])?;
        Ok(passages.into_iter().map(|(passage, embedding)| (passage.chunk.text, embedding)).collect())
    }

    fn put(&mut self, documents: Vec<Indexed>) -> Result<(), DocqaError> {
        if documents.is_empty() {
            return Ok(());
        }
        super::check(&documents, self.about.as_ref().map_or(0, |about| about.dim))?;
        let sources: HashSet<&str> =
            documents.iter().map(|document| document.record.source.as_str()).collect();
        self.remembered.retain(|document| !sources.contains(document.source.as_str()));
        // Documents that are replaced are not there until they are whole again.
        let replaced: Vec<&str> =
            sources.iter().copied().filter(|source| self.heads.contains_key(*source)).collect();
        let heads: Vec<String> = replaced.iter().map(|source| self.heads[*source].clone()).collect();
        self.delete(&heads)?;
        self.records.retain(|record| !sources.contains(record.source.as_str()));
        let (replaced, revisions): (Vec<String>, Vec<String>) = (
            replaced.into_iter().map(str::to_string).collect(),
            documents.iter().map(|document| record::revision(&document.record).to_string()).collect(),
        );

        let passages: Vec<Vec<Passage>> = documents.iter().map(record::passages).collect();
        let rows = || {
            passages
                .iter()
                .zip(&documents)
                .map(|(passages, document)| passages.iter().zip(&document.embeddings))
        };
        self.upsert(rows().flat_map(|rows| rows.skip(1)))?;
        if !replaced.is_empty() {
            // What the new version does not have has another revision still.
            let old = json!({ "$and": [
                { record::SOURCE: { "$in": replaced } },
                { record::REVISION: { "$nin": revisions } },
            ] });
            self.request("delete", &json!({ "where": old }))?;
        }
        self.upsert(rows().flat_map(|rows| rows.take(1)))?;
        for (passages, Indexed { record, .. }) in passages.iter().zip(documents) {
            self.heads.insert(record.source.clone(), passages[0].id());
            self.records.push(record);
        }
        self.records.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(())
    }

    fn remove(&mut self, sources: &[String]) -> Result<(), DocqaError> {
        let there: Vec<&String> = sources.iter().filter(|source| self.heads.contains_key(*source)).collect();
        let heads: Vec<String> = there.iter().map(|source| self.heads[*source].clone()).collect();
        self.delete(&heads)?;
        for sources in there.chunks(self.options.batch) {
            self.request("delete", &json!({ "where": { record::SOURCE: { "$in": sources } } }))?;
        }
        self.records.retain(|record| !sources.contains(&record.source));
        self.heads.retain(|source, _| !sources.contains(source));
        self.remembered.retain(|document| !sources.contains(&document.source));
        Ok(())
    }

    fn mend(&mut self) -> Result<(), DocqaError> {
        if self.client.count(self.collection()?)? == self.len() {
            return Ok(());
        }
        log::warn!("{}: clearing away what an interrupted run left", self.name);
        let (mut strays, mut counts) = (Vec::new(), HashMap::<String, usize>::new());
        self.pages(None, &["documents", "metadatas"], &mut |fetched| {
            let id = fetched.id.clone();
            match Passage::of(fetched) {
                Ok(passage) if self.is_current(&passage) => {
                    *counts.entry(passage.chunk.source).or_default() += 1;
                }
                _ => strays.push(id),
            }
            Ok(())
        })?;
        self.delete(&strays)?;
        // A document that somebody took passages from is not there either.
        let broken: Vec<String> = self
            .records
            .iter()
            .filter(|record| counts.get(&record.source) != Some(&record.passages))
            .map(|record| record.source.clone())
            .collect();
        self.remove(&broken)
    }

    fn progress_file(&self) -> Option<PathBuf> {
        let name = hex::encode(&Sha256::digest(&self.name)[..16]);
        Some(self.options.progress.as_ref()?.join(name))
    }
}
