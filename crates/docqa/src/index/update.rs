//! Bringing a store up to date with its files.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::journal::Journal;
use super::{Changes, IndexOptions, Progress};
use crate::chunk::{self, Chunk};
use crate::embedder::{Embedder, embed_checked};
use crate::load::{self, Document, SkippedFile, SourceFile};
use crate::store::{About, Indexed, Record, VectorStore};
use crate::{DocqaError, hex};

/// Raised whenever the same file would be read as another text.
const READING: u32 = 1;

/// So many passages are embedded at a time: what a killed process loses. On two cores without a GPU these are some six
/// seconds' work, and larger parts would hardly be quicker.
const PART: usize = 64;

/// A store takes documents in groups of so many passages.
const GROUP: usize = 256;

/// The files and folders of an index as absolute paths, in the order of their names.
pub(super) fn roots(paths: &[PathBuf]) -> Vec<String> {
    let absolute = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let mut roots: Vec<String> = paths.iter().map(|path| load::name_of(&absolute(path))).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// Makes a store hold the documents of `files`, which are all that there is in `paths`, and no others. Nothing is saved.
pub(super) fn update<F: Borrow<SourceFile>>(
    store: &mut dyn VectorStore,
    paths: &[PathBuf],
    files: impl ExactSizeIterator<Item = Result<F, DocqaError>>,
    options: &IndexOptions,
    embedder: &mut dyn Embedder,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Changes, DocqaError> {
    options.split.check()?;
    let mut tell = |step| if progress(step).is_break() { Err(DocqaError::Interrupted) } else { Ok(()) };
    let about = About {
        model: embedder.fingerprint().into(),
        dim: embedder.dim(),
        options: options.clone(),
        reading: READING,
        created: chunk::now(),
        roots: roots(paths),
        skipped: Vec::new(),
        unfinished: true,
    };
    let fits = store.about().is_some_and(|there| is_made_alike(there, &about));
    let there: HashMap<String, Record> = if fits {
        store.mend()?;
        store.records().iter().map(|record| (record.source.clone(), record.clone())).collect()
    } else {
        HashMap::new()
    };

    let read = read(files, &there, options, &mut tell)?;
    let mut changes = read.changes;
    changes.remade = !fits && store.about().is_some();
    // From here on the store is written to; whatever is wrong with the files has been said.
    let created = store.about().filter(|_| fits).map_or(about.created.clone(), |there| there.created.clone());
    let about = About { created, skipped: read.skipped, ..about };
    if !fits {
        store.reset(about.clone())?;
    } else if !changes.is_empty() {
        store.set_about(about.clone())?;
    }
    if !read.new.is_empty() {
        let journal = Journal::open(store.progress_file(), &about.model, about.dim);
        let (there, moved) = (&there, &read.moved);
        let mut work = Work { store, embedder, journal, options, there, moved, changes };
        work.run(read.new, &mut tell)?;
        changes = work.changes;
        work.journal.remove();
    }
    if !read.gone.is_empty() {
        store.remove(&read.gone)?;
    }
    store.arrange(&read.order);
    let finished = About { unfinished: false, ..about };
    if store.about() != Some(&finished) {
        store.set_about(finished)?;
    }
    Ok(changes)
}

/// Whether documents of one store can stay in the other.
fn is_made_alike(there: &About, wanted: &About) -> bool {
    let of = |about: &About| (about.model.clone(), about.dim, about.options.clone(), about.reading);
    of(there) == of(wanted)
}

/// What the files say.
struct Read {
    /// The documents that are not in the store as they are.
    new: Vec<Prepared>,
    /// Where the store has a document with the same bytes as a new one: its source, by theirs.
    moved: HashMap<String, String>,
    /// Sources that are in the store and not among the files.
    gone: Vec<String>,
    /// All sources in order.
    order: Vec<String>,
    skipped: Vec<SkippedFile>,
    changes: Changes,
}

/// A document on its way into the store.
struct Prepared {
    document: Document,
    sha256: String,
    passages: usize,
}

/// The passages of a document.
fn passages(document: &Document, options: &IndexOptions) -> Result<Vec<Chunk>, DocqaError> {
    let mut chunks = chunk::chunks(std::slice::from_ref(document), &options.split)?;
    // A long run of white space can make a chunk; there is nothing to find in it.
    chunks.retain(|chunk| !chunk.text.trim().is_empty());
    Ok(chunks)
}

/// Reads all files, and parses and splits those that are new or have changed.
fn read<F: Borrow<SourceFile>>(
    files: impl ExactSizeIterator<Item = Result<F, DocqaError>>,
    there: &HashMap<String, Record>,
    options: &IndexOptions,
    tell: &mut dyn FnMut(Progress) -> Result<(), DocqaError>,
) -> Result<Read, DocqaError> {
    let (mut new, mut order, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    let mut changes = Changes::default();
    let mut first_error = None;
    let count = files.len();
    tell(Progress::Reading { done: 0, files: count })?;
    for (at, file) in files.enumerate() {
        let file = file?;
        let file = file.borrow();
        let source = file.source();
        let sha256 = hex::encode(&Sha256::digest(file.bytes()));
        if there.get(&source).is_some_and(|record| record.sha256 == sha256) {
            changes.kept += 1;
            order.push(source);
        } else {
            match load::parse_or_skip(file)? {
                Ok(document) => {
                    order.push(source);
                    // They are kept when their turn comes: all at once would take twice the room of the documents.
                    let passages = passages(&document, options)?.len();
                    new.push(Prepared { document, sha256, passages });
                }
                Err(error) => {
                    skipped.push(SkippedFile::new(file, &error));
                    first_error.get_or_insert(error);
                }
            }
        }
        tell(Progress::Reading { done: at + 1, files: count })?;
    }
    if let Some(error) = first_error.filter(|_| order.is_empty()) {
        return Err(error);
    }

    let present: HashSet<&str> = order.iter().map(String::as_str).collect();
    let mut gone: Vec<String> =
        there.keys().filter(|source| !present.contains(source.as_str())).cloned().collect();
    gone.sort();
    // Two files with the same bytes have the same embeddings. One that is gone has moved; each moves once.
    let mut by_bytes: HashMap<&str, Vec<&str>> = HashMap::new();
    for source in there.keys().filter(|source| present.contains(source.as_str())).chain(&gone) {
        by_bytes.entry(&there[source].sha256).or_default().push(source);
    }
    let mut moved = HashMap::new();
    for Prepared { document, sha256, .. } in &new {
        let source = &document.source;
        let twins = by_bytes.get_mut(sha256.as_str()).filter(|twins| !twins.is_empty());
        if there.contains_key(source) {
            changes.changed += 1;
        } else if let Some(twins) = twins {
            let twin = twins[twins.len() - 1];
            moved.insert(source.clone(), twin.to_string());
            if present.contains(twin) {
                changes.new += 1;
            } else {
                changes.renamed += 1;
                twins.pop();
            }
        } else {
            changes.new += 1;
        }
    }
    changes.removed = gone.len() - changes.renamed;
    Ok(Read { new, moved, gone, order, skipped, changes })
}

/// Embedding what has no embedding yet, and handing over what has.
struct Work<'a> {
    store: &'a mut dyn VectorStore,
    embedder: &'a mut dyn Embedder,
    journal: Journal,
    options: &'a IndexOptions,
    there: &'a HashMap<String, Record>,
    moved: &'a HashMap<String, String>,
    changes: Changes,
}

/// A document whose passages have some of their embeddings.
struct Waiting {
    prepared: Prepared,
    chunks: Vec<Chunk>,
    rows: Vec<Option<Vec<f32>>>,
}

impl Waiting {
    fn missing(&self) -> usize {
        self.rows.iter().filter(|row| row.is_none()).count()
    }
}

impl Work<'_> {
    fn run(
        &mut self,
        documents: Vec<Prepared>,
        tell: &mut dyn FnMut(Progress) -> Result<(), DocqaError>,
    ) -> Result<(), DocqaError> {
        let total = documents.iter().map(|document| document.passages).sum();
        let mut done = 0;
        tell(Progress::Embedding { done, total })?;
        let (mut waiting, mut ready): (VecDeque<Waiting>, Vec<Indexed>) = Default::default();
        let mut documents = documents.into_iter().peekable();
        while documents.peek().is_some() || !waiting.is_empty() {
            while waiting.iter().map(Waiting::missing).sum::<usize>() < PART
                && let Some(prepared) = documents.next()
            {
                let document = self.known(prepared)?;
                let known = document.rows.len() - document.missing();
                self.changes.reused += known;
                done += known;
                waiting.push_back(document);
            }
            // Where a store is slow, so is an interruption that waits for it: it is told before.
            let told = self.embed(&mut waiting, &mut done, total, tell);
            while waiting.front().is_some_and(|document| document.missing() == 0) {
                ready.extend(waiting.pop_front().map(Waiting::into_indexed));
            }
            let passages: usize = ready.iter().map(|document| document.chunks.len()).sum();
            let is_last = told.is_err() || documents.peek().is_none() && waiting.is_empty();
            if passages >= GROUP || is_last {
                self.store.put(std::mem::take(&mut ready))?;
            }
            told?;
        }
        Ok(())
    }

    /// A document with the embeddings that there are: of equal passages in its older version, in a file with the same
    /// bytes, and in the journal.
    fn known(&mut self, prepared: Prepared) -> Result<Waiting, DocqaError> {
        let source = &prepared.document.source;
        let before = self.there.get(source).map(|record| &record.source).or_else(|| self.moved.get(source));
        let known: HashMap<String, Vec<f32>> = match before {
            Some(before) => self.store.embedded(before)?.into_iter().collect(),
            None => HashMap::new(),
        };
        let chunks = passages(&prepared.document, self.options)?;
        let row = |chunk: &Chunk| known.get(&chunk.text).cloned().or_else(|| self.journal.get(&chunk.text));
        let rows: Vec<Option<Vec<f32>>> = chunks.iter().map(row).collect();
        // What the store is about to replace would be lost where this process is killed then.
        let texts = chunks.iter().map(|chunk| chunk.text.as_str());
        self.journal.append(texts.filter_map(|text| Some((text, known.get(text)?.as_slice()))));
        Ok(Waiting { prepared, chunks, rows })
    }

    /// Embeds a part of what is missing.
    fn embed(
        &mut self,
        waiting: &mut VecDeque<Waiting>,
        done: &mut usize,
        total: usize,
        tell: &mut dyn FnMut(Progress) -> Result<(), DocqaError>,
    ) -> Result<(), DocqaError> {
        let mut texts: Vec<&str> = Vec::with_capacity(PART);
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(PART);
        let missing = waiting.iter().enumerate().flat_map(|(document, Waiting { chunks, rows, .. })| {
            let missing = rows.iter().enumerate().filter(|(_, values)| values.is_none());
            missing.map(move |(row, _)| (document, row, &chunks[row]))
        });
        for (document, row, chunk) in missing.take(PART) {
            texts.push(&chunk.text);
            places.push((document, row));
        }
        if texts.is_empty() {
            return Ok(());
        }
        // The part is finished first: to be told of an interruption is enough once it is safe.
        let mut told = Ok(());
        let before = *done;
        let rows = embed_checked(self.embedder, &texts, &mut |count| {
            if told.is_ok() {
                told = tell(Progress::Embedding { done: before + count, total });
            }
        })?;
        self.journal.append(texts.iter().copied().zip(rows.iter().map(Vec::as_slice)));
        self.journal.sync();
        *done += rows.len();
        self.changes.embedded += rows.len();
        for ((document, row), values) in places.into_iter().zip(rows) {
            waiting[document].rows[row] = Some(values);
        }
        told
    }
}

impl Waiting {
    fn into_indexed(self) -> Indexed {
        let Waiting { prepared: Prepared { document, sha256, .. }, chunks, rows } = self;
        let (source, skipped) = (document.source.clone(), document.skipped.clone());
        Indexed {
            record: Record { source, sha256, passages: chunks.len(), skipped },
            document: Arc::new(document),
            chunks,
            embeddings: rows.into_iter().flatten().collect(),
        }
    }
}
