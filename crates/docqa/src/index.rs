//! Indexes: documents, their chunks and the embeddings of these, made once, kept, and brought up to date.

mod changes;
mod journal;
mod update;

#[cfg(test)]
mod tests;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use changes::Changes;

use crate::embedder::Embedder;
use crate::load::{self, Document, FoundFile, SkippedFile, SourceFile};
use crate::similarity::Similarity;
use crate::split::SplitOptions;
use crate::store::{Filter, Hit, MemoryStore, Metric, Record, VectorStore, open_or_create};
use crate::{DocqaError, hex};

/// How an index is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexOptions {
    /// How documents are split.
    pub split: SplitOptions,
    /// How distance is measured.
    pub metric: Metric,
}

/// How far the making of an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The files are being read, and those that are new or changed are split.
    Reading {
        /// How many have been.
        done: usize,
        /// How many there are.
        files: usize,
    },
    /// The passages of new and changed files are being embedded.
    Embedding {
        /// How many are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
}

/// Documents that can be questioned.
pub struct Index {
    store: Box<dyn VectorStore>,
    building_time: Duration,
    changes: Option<Changes>,
}

/// Part of every key: raised whenever the cache keeps other things.
const CACHE_VERSION: &str = "kiln-cache/2";

impl Index {
    /// Makes an index of files in memory.
    pub fn build(
        files: &[SourceFile],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        similarity: Box<dyn Similarity>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DocqaError> {
        let mut index = Self::open(Box::new(MemoryStore::new(similarity)));
        index.set_files(files, options, embedder, &mut |step| {
            progress(step);
            ControlFlow::Continue(())
        })?;
        Ok(index)
    }

    /// Takes a store as it is.
    pub fn open(store: Box<dyn VectorStore>) -> Self {
        Self { store, building_time: Duration::ZERO, changes: None }
    }

    /// Brings its store up to date, so that it holds the documents of these files and folders and no others, and saves
    /// it.
    ///
    /// Files are compared by the SHA-256 of their bytes. Of those that are new or have changed, passages are embedded
    /// that neither the store nor an interrupted run before this one has embedded already. A store that was made with
    /// another model or other options is made anew.
    ///
    /// Where `progress` answers `Break`, it ends with [`DocqaError::Interrupted`]; what has been embedded is kept, as it
    /// is where the process is killed, less the last few seconds.
    pub fn update(
        &mut self,
        paths: &[PathBuf],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), DocqaError> {
        if self.refresh(paths, options, embedder, progress)? { self.store.save() } else { Ok(()) }
    }

    /// Brings it up to date with files at hand, so that it holds their documents and no others, in the way of
    /// [`update`](Self::update). Nothing is saved.
    ///
    /// Where a file is at fault, it stays as it was. Where `progress` answers `Break` it holds all, some or none of the
    /// new documents, until it is brought up to date again.
    pub fn set_files(
        &mut self,
        files: &[SourceFile],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), DocqaError> {
        let started = Instant::now();
        // Names of files at hand are no paths.
        let changes =
            update::update(&mut *self.store, &[], files.iter().map(Ok), options, embedder, progress)?;
        self.building_time = started.elapsed();
        self.changes = Some(changes);
        Ok(())
    }

    /// The index of files and folders in the folder `cache`, brought up to date, or made and kept there.
    ///
    /// It is found by the paths, the model and the options. A cached index that is damaged is made again, and a cache
    /// that cannot be written only costs the next run its time; both are logged.
    pub fn open_or_build(
        paths: &[PathBuf],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        cache: &Path,
        similarity: Box<dyn Similarity>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DocqaError> {
        options.split.check()?;
        let folder = cache.join(key(paths, options, embedder.fingerprint()));
        let mut index =
            Self::open(Box::new(open_or_create(MemoryStore::create_in_cache(&folder, similarity))?));
        if index.refresh(paths, options, embedder, progress)?
            && let Err(error) = index.store.save()
        {
            log::warn!("the index is not kept, so the next question has to make it again: {error}");
        }
        Ok(index)
    }

    /// Brings the store up to date and says whether anything is to be saved.
    fn refresh(
        &mut self,
        paths: &[PathBuf],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<bool, DocqaError> {
        let started = Instant::now();
        options.split.check()?;
        let found = load::find(paths)?;
        let files = found.iter().map(FoundFile::read);
        let before = self.store.about().cloned();
        let changes = update::update(&mut *self.store, paths, files, options, embedder, progress)?;
        let changed = !changes.is_empty() || before.as_ref() != self.store.about();
        if changed {
            self.building_time = started.elapsed();
        }
        self.changes = Some(changes);
        Ok(changed)
    }

    /// What it knows of its documents.
    pub fn records(&self) -> &[Record] {
        self.store.records()
    }

    /// A document with its text; `None` where there is none of this source.
    pub fn document(&mut self, source: &str) -> Result<Option<Arc<Document>>, DocqaError> {
        self.store.document(source)
    }

    /// How many passages it holds.
    pub fn passages(&self) -> usize {
        self.store.len()
    }

    /// See [`VectorStore::search`].
    pub fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError> {
        self.store.search(query, k, filter)
    }

    /// One line for each file and page that was left out when it was made, and one if the making was interrupted.
    pub fn notices(&self) -> Vec<String> {
        let about = self.store.about();
        let unfinished = about.is_some_and(|about| about.unfinished).then(|| {
            "indexing was interrupted, so documents may be missing; `kiln index` goes on with it".to_string()
        });
        let files = about.iter().flat_map(|about| &about.skipped).map(SkippedFile::notice);
        let pages = self
            .records()
            .iter()
            .flat_map(|record| record.skipped.iter().map(|page| page.notice(&record.source)));
        unfinished.into_iter().chain(files).chain(pages).collect()
    }

    /// How it was made.
    pub fn options(&self) -> IndexOptions {
        self.store.about().map(|about| about.options.clone()).unwrap_or_default()
    }

    /// When it was made: RFC 3339, in UTC.
    pub fn created(&self) -> &str {
        self.store.about().map(|about| about.created.as_str()).unwrap_or_default()
    }

    /// The time that it took to read and embed what was new; zero where nothing was.
    pub fn building_time(&self) -> Duration {
        self.building_time
    }

    /// What bringing it up to date changed; `None` for one that was opened as it is.
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_ref()
    }

    /// Its store.
    pub fn store(&self) -> &dyn VectorStore {
        &*self.store
    }

    /// Whether it holds what was found under these paths, and under no others, when it was last brought up to date.
    pub fn is_of(&self, paths: &[PathBuf]) -> bool {
        self.store.about().is_some_and(|about| about.roots == update::roots(paths))
    }

    /// Refuses an embedder whose vectors mean something else than those of this index.
    pub fn check_model(&self, embedder: &dyn Embedder) -> Result<(), DocqaError> {
        let Some(about) = self.store.about() else { return Ok(()) };
        if about.model == embedder.fingerprint() {
            return Ok(());
        }
        // Enough of a hash to tell two models apart.
        let short = |fingerprint: &str| fingerprint.chars().take(12).collect();
        Err(DocqaError::OtherModel { found: short(&about.model), expected: short(embedder.fingerprint()) })
    }
}

/// Everything that decides on which index is meant, hashed. Each part is preceded by its length, so that no two lists
/// of parts run together into the same bytes.
fn key(paths: &[PathBuf], options: &IndexOptions, model: &str) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(CACHE_VERSION.as_bytes());
    part(model.as_bytes());
    part(format!("{options:?}").as_bytes());
    for path in paths {
        // Documents are named by the path as it was given, which says where they are together with the full one.
        part(path.as_os_str().as_encoded_bytes());
        part(fs::canonicalize(path).unwrap_or_default().as_os_str().as_encoded_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}
