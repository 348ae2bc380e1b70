//! The store in memory: exact, every row scored on each search; kept in a folder, or nowhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::metric::{Metric, squared_norm};
use super::{About, Filter, Hit, Indexed, KNOWN, KNOWN_BY_NAME, Memory, Record, VectorStore, folder};
use crate::atomic::Known;
use crate::chunk::Chunk;
use crate::load::Document;
use crate::similarity::Similarity;
use crate::{DocqaError, embedder};

/// Holds everything in memory and scores every row.
pub struct MemoryStore {
    similarity: Box<dyn Similarity>,
    home: Option<(PathBuf, Known<'static>)>,
    content: Content,
    /// The squared length of each row, and whether `similarity` holds the rows: both in the order of the documents.
    in_place: Option<Vec<f64>>,
}

/// What a store holds, and a folder keeps.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(super) about: Option<About>,
    /// For each document the same place in both lists.
    pub(super) records: Vec<Record>,
    pub(super) held: Vec<Held>,
}

/// A document in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) document: Arc<Document>,
    pub(super) chunks: Vec<Chunk>,
    /// The embeddings of the chunks, one after the other.
    pub(super) rows: Vec<f32>,
}

impl MemoryStore {
    /// An empty store that is kept nowhere.
    pub fn new(similarity: Box<dyn Similarity>) -> Self {
        Self { similarity, home: None, content: Content::default(), in_place: None }
    }

    /// The store that was saved in a folder.
    pub fn open(folder: &Path, similarity: Box<dyn Similarity>) -> Result<Self, DocqaError> {
        let mut store = Self::create(folder, similarity);
        store.load()?;
        Ok(store)
    }

    /// An empty store that is to be saved in a folder, whatever is there.
    pub fn create(folder: &Path, similarity: Box<dyn Similarity>) -> Self {
        Self { home: Some((folder.into(), KNOWN)), ..Self::new(similarity) }
    }

    /// The same in a folder where whatever has the names of a store's files is one.
    pub(crate) fn create_in_cache(folder: &Path, similarity: Box<dyn Similarity>) -> Self {
        Self { home: Some((folder.into(), KNOWN_BY_NAME)), ..Self::new(similarity) }
    }

    /// How it measures distance.
    pub fn metric(&self) -> Metric {
        self.content.about.as_ref().map(|about| about.options.metric).unwrap_or_default()
    }

    /// The length of its embeddings; 0 before it knows.
    pub fn dim(&self) -> usize {
        self.content.about.as_ref().map_or(0, |about| about.dim)
    }

    /// All passages, document by document.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.content.held.iter().flat_map(|held| &held.chunks)
    }

    /// Takes what its folder holds in place of its own content, which stays where that fails.
    pub(super) fn load(&mut self) -> Result<(), DocqaError> {
        if let Some((home, _)) = &self.home {
            self.content = folder::read(home)?;
            self.in_place = None;
        }
        Ok(())
    }

    fn position(&self, source: &str) -> Option<usize> {
        self.content.records.iter().position(|record| record.source == source)
    }

    /// Hands the rows to `similarity` where it does not hold them.
    fn place(&mut self) -> Result<(), DocqaError> {
        if self.in_place.is_some() {
            return Ok(());
        }
        let dim = self.dim();
        let rows: Vec<f32> = self.content.held.iter().flat_map(|held| &held.rows).copied().collect();
        self.similarity.set_rows(&rows, dim)?;
        self.in_place = Some(rows.chunks_exact(dim.max(1)).map(squared_norm).collect());
        Ok(())
    }
}

impl VectorStore for MemoryStore {
    fn about(&self) -> Option<&About> {
        self.content.about.as_ref()
    }

    fn reset(&mut self, about: About) -> Result<(), DocqaError> {
        self.in_place = None;
        self.content = Content { about: Some(about), ..Content::default() };
        Ok(())
    }

    fn set_about(&mut self, about: About) -> Result<(), DocqaError> {
        self.content.about = Some(about);
        Ok(())
    }

    fn records(&self) -> &[Record] {
        &self.content.records
    }

    fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError> {
        if k == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        embedder::check(0, query, self.dim())?;
        self.place()?;
        let dots = self.similarity.dots(query)?;
        let (metric, norm) = (self.metric(), squared_norm(query));
        let norms = self.in_place.iter().flatten();
        let mut found: Vec<(f32, usize, &Chunk)> = self
            .chunks()
            .zip(dots.iter().zip(norms))
            .enumerate()
            .filter(|(_, (chunk, _))| filter.accepts(chunk))
            .map(|(row, (chunk, (&dot, &squared)))| (metric.distance(dot, norm, squared), row, chunk))
            .collect();
        let closest =
            |a: &(f32, usize, &Chunk), b: &(f32, usize, &Chunk)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if found.len() > k {
            found.select_nth_unstable_by(k, closest);
            found.truncate(k);
        }
        found.sort_unstable_by(closest);
        Ok(found.into_iter().map(|(distance, _, chunk)| Hit { chunk: chunk.clone(), distance }).collect())
    }

    fn document(&mut self, source: &str) -> Result<Option<Arc<Document>>, DocqaError> {
        Ok(self.position(source).map(|at| Arc::clone(&self.content.held[at].document)))
    }

    fn embedded(&mut self, source: &str) -> Result<Vec<(String, Vec<f32>)>, DocqaError> {
        let Some(at) = self.position(source) else { return Ok(Vec::new()) };
        let Held { chunks, rows, .. } = &self.content.held[at];
        let rows = rows.chunks_exact(self.dim().max(1));
        Ok(chunks.iter().zip(rows).map(|(chunk, row)| (chunk.text.clone(), row.to_vec())).collect())
    }

    fn put(&mut self, documents: Vec<Indexed>) -> Result<(), DocqaError> {
        // All are checked before any is taken in.
        super::check(&documents, self.dim())?;
        self.in_place = None;
        let mut places: HashMap<String, usize> =
            self.content.records.iter().enumerate().map(|(at, record)| (record.source.clone(), at)).collect();
        let Content { records, held, .. } = &mut self.content;
        for Indexed { record, document, chunks, embeddings } in documents {
            let new = Held { document, chunks, rows: embeddings.concat() };
            match places.get(&record.source) {
                Some(&at) => {
                    records[at] = record;
                    held[at] = new;
                }
                None => {
                    places.insert(record.source.clone(), records.len());
                    records.push(record);
                    held.push(new);
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, sources: &[String]) -> Result<(), DocqaError> {
        self.in_place = None;
        self.retain_in_order(|source| (!sources.iter().any(|gone| gone == source)).then_some(0));
        Ok(())
    }

    fn arrange(&mut self, sources: &[String]) {
        let places: HashMap<&str, usize> =
            sources.iter().enumerate().map(|(at, source)| (source.as_str(), at)).collect();
        let place = |source: &str| places.get(source).copied().unwrap_or(usize::MAX);
        if !self.content.records.is_sorted_by_key(|record| place(&record.source)) {
            self.in_place = None;
            self.retain_in_order(|source| Some(place(source)));
        }
    }

    fn save(&mut self) -> Result<(), DocqaError> {
        match &self.home {
            Some((home, known)) => folder::write(home, *known, &self.content),
            None => Ok(()),
        }
    }

    fn progress_file(&self) -> Option<PathBuf> {
        let (home, _) = self.home.as_ref()?;
        Some(home.join(folder::PROGRESS_FILE))
    }

    fn memory(&self) -> Memory {
        let text = |chunk: &Chunk| size_of::<Chunk>() + chunk.text.len() + chunk.source.len();
        let held = |held: &Held| {
            let chunks: usize = held.chunks.iter().map(text).sum();
            held.document.text.len() + chunks + size_of_val(held.rows.as_slice())
        };
        let norms = self.in_place.iter().flatten().map(size_of_val).sum::<usize>();
        let host = self.content.held.iter().map(held).sum::<usize>() + norms;
        Memory { host: host as u64, device: self.similarity.memory() }
    }
}

impl MemoryStore {
    /// Keeps the documents to which `place` gives a place, in its order; equals stay as they are.
    fn retain_in_order(&mut self, place: impl Fn(&str) -> Option<usize>) {
        let Content { records, held, .. } = &mut self.content;
        let mut all: Vec<(usize, Record, Held)> = std::mem::take(records)
            .into_iter()
            .zip(std::mem::take(held))
            .filter_map(|(record, held)| Some((place(&record.source)?, record, held)))
            .collect();
        all.sort_by_key(|(place, ..)| *place);
        for (_, record, document) in all {
            records.push(record);
            held.push(document);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::similarity::HostSimilarity;
    use crate::store::tests::{about, documents, ids, unit};

    pub(in crate::store) fn empty(metric: Metric) -> MemoryStore {
        let mut store = MemoryStore::new(Box::new(HostSimilarity::default()));
        store.reset(about(metric)).unwrap();
        store
    }

    /// Eight passages of two documents, 0.3 of a turn apart.
    fn filled(metric: Metric) -> MemoryStore {
        let mut store = empty(metric);
        store.put(documents(&[("a", 4), ("b", 4)])).unwrap();
        store
    }

    #[test]
    fn the_closest_come_first() {
        for metric in [Metric::SquaredL2, Metric::Cosine] {
            let mut store = filled(metric);
            let hits = store.search(&unit(0.65), 3, &Filter::default()).unwrap();
            assert_eq!(ids(&hits), ["a2", "a3", "a1"]);
            let expected = match metric {
                Metric::SquaredL2 => 2.0 - 2.0 * 0.05_f32.cos(),
                Metric::Cosine => 1.0 - 0.05_f32.cos(),
            };
            assert!((hits[0].distance - expected).abs() < 1e-6, "{}", hits[0].distance);
            assert_eq!(ids(&store.search(&unit(0.0), 99, &Filter::default()).unwrap()).len(), 8);
            assert!(store.search(&unit(0.0), 0, &Filter::default()).unwrap().is_empty());
        }
    }

    #[test]
    fn filters_come_before_the_count() {
        let mut store = filled(Metric::SquaredL2);
        let in_b = Filter::default().source("b");
        assert_eq!(ids(&store.search(&unit(0.0), 2, &in_b).unwrap()), ["b0", "b1"]);
        assert_eq!(ids(&store.search(&unit(0.0), 9, &in_b.pages(2..=3)).unwrap()), ["b1", "b2"]);
        assert!(store.search(&unit(0.0), 9, &Filter::default().source("c")).unwrap().is_empty());
    }

    #[test]
    fn equals_come_in_the_order_of_their_documents() {
        let mut store = empty(Metric::SquaredL2);
        let mut equal = documents(&[("a", 3), ("b", 3)]);
        equal.iter_mut().for_each(|document| document.embeddings = vec![unit(1.0); 3]);
        store.put(equal).unwrap();
        let found = |store: &mut MemoryStore| ids(&store.search(&unit(0.0), 4, &Filter::default()).unwrap());
        assert_eq!(found(&mut store), ["a0", "a1", "a2", "b0"]);
        store.arrange(&["b".into(), "a".into()]);
        assert_eq!(found(&mut store), ["b0", "b1", "b2", "a0"]);
    }

    #[test]
    fn a_document_replaces_that_of_its_source() {
        let mut store = filled(Metric::SquaredL2);
        store.put(documents(&[("c", 1), ("a", 2)])).unwrap();
        assert_eq!((store.len(), store.records()[0].passages), (7, 2));
        assert_eq!(ids(&store.search(&unit(0.0), 9, &Filter::default().source("a")).unwrap()), ["a0", "a1"]);
        assert_eq!(store.embedded("a").unwrap()[1], ("passage 1 of a".into(), unit(0.6)));
        assert!(store.document("a").unwrap().unwrap().text.contains("passage 0 of a"));
        store.remove(&["a".into(), "nowhere".into()]).unwrap();
        assert_eq!(store.records().iter().map(|r| r.source.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert!(store.search(&unit(0.0), 9, &Filter::default().source("a")).unwrap().is_empty());
        assert!(store.embedded("a").unwrap().is_empty() && store.document("a").unwrap().is_none());
    }

    #[test]
    fn faults_of_embeddings_are_refused_whole() {
        let mut store = filled(Metric::SquaredL2);
        let with = |embeddings: Vec<Vec<f32>>| {
            let mut documents = documents(&[("new", 1), ("c", 2)]);
            documents[1].embeddings = embeddings;
            documents
        };
        assert!(store.put(with(vec![unit(0.0)])).is_err());
        let message = store.put(with(vec![unit(0.0), vec![1.0]])).unwrap_err().to_string();
        assert_eq!(message, "embedding 1: expected 2 values, got 1");
        assert!(store.put(with(vec![unit(0.0), vec![f32::INFINITY, 0.0]])).is_err());
        assert!(store.search(&[1.0, 0.0, 0.0], 1, &Filter::default()).is_err());
        assert!(store.search(&[f32::NAN, 0.0], 1, &Filter::default()).is_err());
        assert_eq!(store.len(), 8);
    }

    #[test]
    fn memory_counts_rows_and_text() {
        let mut store = filled(Metric::SquaredL2);
        let before = store.memory();
        assert!(before.host > 8 * (8 + 14) && before.device == 0);
        store.search(&unit(0.0), 1, &Filter::default()).unwrap();
        assert_eq!(store.memory().host, before.host + 64);
    }
}
