//! The folder that keeps a store in memory: one file, which is replaced whole, so that it can be loaded at any moment.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::memory::{Content, Held};
use super::{About, Record};
use crate::atomic::Known;
use crate::chunk::Chunk;
use crate::load::Document;
use crate::{DocqaError, atomic, embedder, hex};

/// The file that makes a folder a store: a safetensors file with the embeddings as f32 and, as bytes, the JSON of
/// everything else. Its metadata holds the format and the SHA-256 of both.
pub(super) const INDEX_FILE: &str = "index.safetensors";
/// The file beside it while embeddings are made.
pub(super) const PROGRESS_FILE: &str = "progress";

const FORMAT: &str = "kiln-index/2";
const EMBEDDINGS: &str = "embeddings";
const INDEX: &str = "index";

/// What tells a store from any other folder: its files, those of the first format among them, and that Kiln wrote one.
pub(crate) const KNOWN: Known<'_> = Known {
    files: &[INDEX_FILE, PROGRESS_FILE, "index.json", "chunks.json", "embeddings.safetensors"],
    // In each format it stands right at the beginning, so a file that was cut off is known too.
    mark: "\"format\":\"kiln-",
};

/// The same where no file can be anybody else's.
pub(crate) const KNOWN_BY_NAME: Known<'_> = Known { mark: "", ..KNOWN };

/// Everything but the embeddings.
#[derive(Serialize, Deserialize)]
struct Stored<A, D> {
    about: A,
    documents: D,
}

#[derive(Serialize)]
struct DocumentOut<'a> {
    record: &'a Record,
    document: &'a Document,
    timestamp: &'a str,
    chunks: Vec<StoredChunk>,
}

#[derive(Deserialize)]
struct DocumentIn {
    record: Record,
    document: Document,
    timestamp: String,
    chunks: Vec<StoredChunk>,
}

/// A chunk whose text and source are those of its document.
#[derive(Serialize, Deserialize)]
struct StoredChunk {
    chunk_id: usize,
    start: usize,
    end: usize,
    page: Option<u32>,
    page_end: Option<u32>,
}

/// Saves into a folder, which is made where it is missing. One that holds anything but what is known is left alone.
pub(super) fn write(folder: &Path, known: Known<'_>, content: &Content) -> Result<(), DocqaError> {
    let Some(about) = &content.about else { return Ok(()) };
    atomic::check_target(folder, known)?;
    let file = folder.join(INDEX_FILE);
    let failed =
        |error: &dyn std::error::Error| DocqaError::writing(&file, std::io::Error::other(error.to_string()));
    let documents: Vec<DocumentOut<'_>> = content
        .records
        .iter()
        .zip(&content.held)
        .map(|(record, held)| DocumentOut {
            record,
            document: &held.document,
            timestamp: held.chunks.first().map_or("", |chunk| &chunk.timestamp),
            chunks: held.chunks.iter().map(StoredChunk::new).collect(),
        })
        .collect();
    let index = serde_json::to_vec(&Stored { about, documents }).map_err(|error| failed(&error))?;
    let rows: usize = content.held.iter().map(|held| held.chunks.len()).sum();
    let mut embeddings = Vec::with_capacity(4 * rows * about.dim);
    for value in content.held.iter().flat_map(|held| &held.rows) {
        embeddings.extend_from_slice(&value.to_le_bytes());
    }

    let metadata = [("format".into(), FORMAT.into()), ("sha256".into(), digest(&index, &embeddings))];
    let bytes = TensorView::new(Dtype::F32, vec![rows, about.dim], &embeddings)
        .and_then(|embeddings| {
            let index = TensorView::new(Dtype::U8, vec![index.len()], &index)?;
            safetensors::serialize([(EMBEDDINGS, embeddings), (INDEX, index)], Some(metadata.into()))
        })
        .map_err(|error| failed(&error))?;
    atomic::write_file(&file, &bytes)?;
    for old in KNOWN.files.iter().filter(|name| ![INDEX_FILE, PROGRESS_FILE].contains(name)) {
        // What an earlier format left; nobody looks at it any more.
        let _ = fs::remove_file(folder.join(old));
    }
    atomic::remove_abandoned(folder);
    Ok(())
}

/// Reads what [`write`] saved, and holds it to itself.
pub(super) fn read(folder: &Path) -> Result<Content, DocqaError> {
    let file = folder.join(INDEX_FILE);
    let bytes = fs::read(&file).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => absent(folder),
        _ => DocqaError::reading(&file, error),
    })?;
    parse(folder, &bytes).map_err(|fault| match fault {
        Fault::Version(found) => {
            DocqaError::StoreVersion { path: folder.into(), found, expected: FORMAT.into() }
        }
        Fault::Damage(reason) => DocqaError::DamagedStore { path: file, reason },
    })
}

/// Refuses a folder without a store of this format.
pub(super) fn check_present(folder: &Path) -> Result<(), DocqaError> {
    if folder.join(INDEX_FILE).exists() { Ok(()) } else { Err(absent(folder)) }
}

/// What is wrong with a folder without the file: an earlier format, or no store at all.
fn absent(folder: &Path) -> DocqaError {
    if folder.join("index.json").exists() && atomic::has_mark(&folder.join("index.json"), KNOWN.mark) {
        let found = "kiln-index/1".into();
        return DocqaError::StoreVersion { path: folder.into(), found, expected: FORMAT.into() };
    }
    DocqaError::NoStore { path: folder.into(), file: INDEX_FILE }
}

enum Fault {
    Version(String),
    Damage(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Damage(reason)
    }
}

fn parse(folder: &Path, bytes: &[u8]) -> Result<Content, Fault> {
    log::debug!("{}: {} bytes", folder.display(), bytes.len());
    let damage = |error: &dyn std::fmt::Display| Fault::Damage(error.to_string());
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(|error| damage(&error))?;
    let metadata = head.metadata().clone().unwrap_or_default();
    let of = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
    if of("format") != FORMAT {
        return Err(Fault::Version(of("format").into()));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| damage(&error))?;
    let tensor = |name: &str| file.tensor(name).map_err(|error| damage(&error));
    let (index, embeddings) = (tensor(INDEX)?, tensor(EMBEDDINGS)?);
    if digest(index.data(), embeddings.data()) != of("sha256") {
        return Err(Fault::Damage("its SHA-256 is not the one that it names".into()));
    }
    let stored: Stored<About, Vec<DocumentIn>> =
        serde_json::from_slice(index.data()).map_err(|error| damage(&error))?;
    let dim = stored.about.dim;
    let count: usize = stored.documents.iter().map(|document| document.chunks.len()).sum();
    if embeddings.dtype() != Dtype::F32 || embeddings.shape() != [count, dim] {
        let (dtype, shape) = (embeddings.dtype(), embeddings.shape());
        return Err(format!("expected {EMBEDDINGS} F32 [{count}, {dim}], got {dtype:?} {shape:?}").into());
    }
    let (values, _) = embeddings.data().as_chunks::<4>();
    let mut values = values.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let mut content = Content { about: Some(stored.about), ..Content::default() };
    for DocumentIn { record, document, timestamp, chunks } in stored.documents {
        let rows: Vec<f32> = values.by_ref().take(chunks.len() * dim).collect();
        for (row, values) in rows.chunks_exact(dim.max(1)).enumerate() {
            embedder::check(row, values, dim).map_err(|error| damage(&error))?;
        }
        let chunks: Vec<Chunk> =
            chunks.into_iter().map(|chunk| chunk.of(&document, &timestamp)).collect::<Result<_, _>>()?;
        if record.source != document.source || record.passages != chunks.len() {
            return Err(format!("{} is not what its record says", document.source).into());
        }
        content.records.push(record);
        content.held.push(Held { document: Arc::new(document), chunks, rows });
    }
    Ok(content)
}

impl StoredChunk {
    fn new(chunk: &Chunk) -> Self {
        let Chunk { chunk_id, start, page, page_end, .. } = *chunk;
        Self { chunk_id, start, end: chunk.end(), page, page_end }
    }

    fn of(self, document: &Document, timestamp: &str) -> Result<Chunk, String> {
        let Self { chunk_id, start, end, page, page_end } = self;
        let source = document.source.clone();
        let text = document
            .text
            .get(start..end)
            .ok_or_else(|| format!("chunk {chunk_id} of {source} is not in its document"))?;
        let chunk_size = text.chars().count();
        let (text, timestamp) = (text.to_string(), timestamp.to_string());
        Ok(Chunk { text, source, page, page_end, chunk_id, chunk_size, timestamp, start })
    }
}

/// The SHA-256 of both parts, the first preceded by its length.
fn digest(index: &[u8], embeddings: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update((index.len() as u64).to_le_bytes());
    hash.update(index);
    hash.update(embeddings);
    hex::encode(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::HostSimilarity;
    use crate::store::tests::{about, documents, unit};
    use crate::store::{Filter, MemoryStore, Metric, VectorStore};

    fn host() -> Box<HostSimilarity> {
        Box::default()
    }

    fn filled(folder: &Path, metric: Metric) -> MemoryStore {
        let mut store = MemoryStore::create(folder, host());
        store.reset(about(metric)).unwrap();
        store.put(documents(&[("a", 4), ("ö/b", 3)])).unwrap();
        store
    }

    #[test]
    fn what_is_saved_is_what_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/store");
        let mut store = filled(&path, Metric::Cosine);
        store.save().unwrap();
        store.save().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        let mut opened = MemoryStore::open(&path, host()).unwrap();
        assert_eq!((opened.metric(), opened.len(), opened.dim()), (Metric::Cosine, 7, 2));
        assert_eq!((opened.about(), opened.records()), (store.about(), store.records()));
        assert!(opened.chunks().eq(store.chunks()));
        assert_eq!(opened.document("ö/b").unwrap(), store.document("ö/b").unwrap());
        let everything = Filter::default();
        let [a, b] = [&mut opened, &mut store].map(|store| store.search(&unit(0.4), 7, &everything).unwrap());
        assert_eq!(a, b);

        store.reset(about(Metric::SquaredL2)).unwrap();
        store.save().unwrap();
        assert!(MemoryStore::open(&path, host()).unwrap().is_empty());
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(INDEX_FILE);
        filled(folder.path(), Metric::SquaredL2).save().unwrap();
        let whole = fs::read(&file).unwrap();
        let fault = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            let error = MemoryStore::open(folder.path(), host()).err().expect("it should be refused");
            assert!(error.is_input_error());
            error.to_string()
        };
        // However much is missing, and whichever byte is another one.
        for cut in (0..whole.len()).step_by(11) {
            let message = fault(&whole[..cut]);
            assert!(message.contains("index.safetensors: the store is damaged: "), "{cut}: {message}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fault(&bytes);
        }
        let at = whole.windows(FORMAT.len()).position(|window| window == FORMAT.as_bytes()).unwrap();
        assert!(at < 300, "it is what a folder is known by");
        let mut later = whole.clone();
        later[at + FORMAT.len() - 1] = b'9';
        let message = fault(&later);
        assert!(message.contains("store format \"kiln-index/9\", expected \"kiln-index/2\""), "{message}");
        fs::write(&file, &whole).unwrap();
        assert!(MemoryStore::open(folder.path(), host()).is_ok());
    }

    #[test]
    fn a_folder_without_a_store_is_refused_and_one_of_an_earlier_format_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open =
            || MemoryStore::open(folder.path(), host()).err().expect("it should be refused").to_string();
        assert!(open().contains("no store here (there is no index.safetensors)"));
        for name in ["index.json", "chunks.json", "embeddings.safetensors"] {
            fs::write(folder.path().join(name), "{\"format\":\"kiln-index/1\",").unwrap();
        }
        let message = open();
        assert!(message.contains("store format \"kiln-index/1\", expected \"kiln-index/2\""), "{message}");
        filled(folder.path(), Metric::SquaredL2).save().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = || filled(folder.path(), Metric::SquaredL2).save().map_err(|error| error.to_string());
        fs::write(folder.path().join("index.json"), r#"{"name": "my project"}"#).unwrap();
        assert!(store().unwrap_err().contains("its index.json was not written by Kiln"));
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        assert!(store().unwrap_err().ends_with("it holds letter.txt; it is left alone"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        fs::remove_file(folder.path().join("letter.txt")).unwrap();
        fs::remove_file(folder.path().join("index.json")).unwrap();
        store().unwrap();
    }
}
