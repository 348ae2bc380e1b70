//! The store in memory: exact, every row scored on each search.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CHUNKS_FILE, EMBEDDINGS_FILE, Filter, Hit, VectorStore};
use crate::chunk::Chunk;
use crate::similarity::Similarity;
use crate::{DocqaError, embedder, hex};

/// How distance is measured. For unit vectors both give the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The squared Euclidean distance, 0 to 4 for unit vectors (Chroma's default).
    #[default]
    SquaredL2,
    /// One minus the cosine of the angle, 0 to 2.
    Cosine,
}

impl Metric {
    /// The distance, from the dot product and both squared lengths. Rounding can make it fall just below
    /// 0 for equal vectors; it is 0 then.
    fn distance(self, dot: f32, query: f64, row: f64) -> f32 {
        let dot = f64::from(dot);
        let distance = match self {
            Self::SquaredL2 => query + row - 2.0 * dot,
            // A vector without direction is at a right angle to all.
            Self::Cosine if query == 0.0 || row == 0.0 => 1.0,
            Self::Cosine => 1.0 - dot / (query * row).sqrt(),
        };
        distance.max(0.0) as f32
    }
}

/// Holds everything in memory and scores every row.
pub struct MemoryStore {
    similarity: Box<dyn Similarity>,
    metric: Metric,
    content: Content,
    /// Whether `similarity` holds the rows of `content`.
    in_place: bool,
}

#[derive(Default)]
struct Content {
    chunks: Vec<Chunk>,
    /// 0 until the first chunk comes.
    dim: usize,
    /// One embedding after the other.
    rows: Vec<f32>,
    squared_norms: Vec<f64>,
}

impl Content {
    fn push(&mut self, chunk: Chunk, row: &[f32]) {
        self.chunks.push(chunk);
        self.rows.extend_from_slice(row);
        self.squared_norms.push(squared_norm(row));
    }
}

/// The file with the chunks. The number of rows and the hash tie the two files together.
#[derive(Serialize, Deserialize)]
struct ChunksFile<C> {
    format: String,
    metric: Metric,
    dim: usize,
    rows: usize,
    embeddings_sha256: String,
    chunks: C,
}

/// What is read first, so that a later format is named as such and not as damage.
#[derive(Deserialize)]
struct FormatOnly {
    format: String,
}

const FORMAT: &str = "kiln-vectors/1";
const TENSOR: &str = "embeddings";

impl MemoryStore {
    /// An empty store.
    pub fn new(similarity: Box<dyn Similarity>, metric: Metric) -> Self {
        Self { similarity, metric, content: Content::default(), in_place: false }
    }

    /// Forgets all chunks.
    pub fn clear(&mut self) {
        self.in_place = false;
        self.content = Content::default();
    }

    /// How it measures distance; a loaded store measures as it did when it was saved.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The length of its embeddings; 0 while it is empty.
    pub fn dim(&self) -> usize {
        self.content.dim
    }

    /// The chunks, in the order in which they were added.
    pub fn chunks(&self) -> &[Chunk] {
        &self.content.chunks
    }
}

impl VectorStore for MemoryStore {
    fn add(&mut self, chunks: Vec<Chunk>, embeddings: &[Vec<f32>]) -> Result<(), DocqaError> {
        if chunks.len() != embeddings.len() {
            let reason =
                format!("expected one for each of {} chunks, got {}", chunks.len(), embeddings.len());
            return Err(DocqaError::Embedding { row: embeddings.len(), reason });
        }
        let Some(first) = embeddings.first() else { return Ok(()) };
        let dim = if self.is_empty() { first.len() } else { self.content.dim };
        // All are checked before any is taken in.
        for (row, values) in embeddings.iter().enumerate() {
            embedder::check(row, values, dim)?;
        }
        self.in_place = false;
        self.content.dim = dim;
        for (chunk, values) in chunks.into_iter().zip(embeddings) {
            self.content.push(chunk, values);
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.content.chunks.len()
    }

    fn search(&mut self, query: &[f32], k: usize, filter: &Filter) -> Result<Vec<Hit>, DocqaError> {
        if k == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        let Content { chunks, dim, rows, squared_norms } = &self.content;
        embedder::check(0, query, *dim)?;
        if !self.in_place {
            self.similarity.set_rows(rows, *dim)?;
            self.in_place = true;
        }
        let dots = self.similarity.dots(query)?;
        let norm = squared_norm(query);
        let mut found: Vec<(f32, usize)> = (0..chunks.len())
            .filter(|&row| filter.accepts(&chunks[row]))
            .map(|row| (self.metric.distance(dots[row], norm, squared_norms[row]), row))
            .collect();
        let closest = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if found.len() > k {
            found.select_nth_unstable_by(k, closest);
            found.truncate(k);
        }
        found.sort_unstable_by(closest);
        Ok(found.into_iter().map(|(distance, row)| Hit { chunk: chunks[row].clone(), distance }).collect())
    }

    fn write(&self, folder: &Path) -> Result<(), DocqaError> {
        let Content { chunks, dim, rows, .. } = &self.content;
        let data: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = |name: &str| folder.join(name);
        let embeddings = TensorView::new(Dtype::F32, vec![chunks.len(), *dim], &data)
            .and_then(|tensor| safetensors::serialize([(TENSOR, tensor)], None))
            .map_err(|error| DocqaError::writing(file(EMBEDDINGS_FILE), std::io::Error::other(error)))?;
        let head = ChunksFile {
            format: FORMAT.into(),
            metric: self.metric,
            dim: *dim,
            rows: chunks.len(),
            embeddings_sha256: hex::encode(&Sha256::digest(&embeddings)),
            chunks: chunks.as_slice(),
        };
        let json = serde_json::to_vec(&head)
            .map_err(|error| DocqaError::writing(file(CHUNKS_FILE), error.into()))?;
        for (name, bytes) in [(EMBEDDINGS_FILE, embeddings), (CHUNKS_FILE, json)] {
            fs::write(file(name), bytes).map_err(|error| DocqaError::writing(file(name), error))?;
        }
        Ok(())
    }

    fn load(&mut self, folder: &Path) -> Result<(), DocqaError> {
        let json = read(folder, CHUNKS_FILE)?;
        let embeddings = read(folder, EMBEDDINGS_FILE)?;
        let damaged =
            |file: &str, reason: String| DocqaError::DamagedStore { path: folder.join(file), reason };
        check_format(folder, CHUNKS_FILE, &json, FORMAT)?;
        let head: ChunksFile<Vec<Chunk>> =
            serde_json::from_slice(&json).map_err(|error| damaged(CHUNKS_FILE, error.to_string()))?;
        if head.chunks.len() != head.rows {
            let reason = format!("expected {} chunks, got {}", head.rows, head.chunks.len());
            return Err(damaged(CHUNKS_FILE, reason));
        }
        if hex::encode(&Sha256::digest(&embeddings)) != head.embeddings_sha256 {
            let reason = format!("its SHA-256 is not the one in {CHUNKS_FILE}");
            return Err(damaged(EMBEDDINGS_FILE, reason));
        }
        let rows =
            read_rows(&embeddings, head.rows, head.dim).map_err(|reason| damaged(EMBEDDINGS_FILE, reason))?;

        let mut content = Content { dim: head.dim, ..Content::default() };
        for (row, chunk) in head.chunks.into_iter().enumerate() {
            let values = &rows[row * head.dim..(row + 1) * head.dim];
            embedder::check(row, values, head.dim)
                .map_err(|error| damaged(EMBEDDINGS_FILE, error.to_string()))?;
            content.push(chunk, values);
        }
        self.in_place = false;
        self.content = content;
        self.metric = head.metric;
        Ok(())
    }
}

fn read_rows(bytes: &[u8], rows: usize, dim: usize) -> Result<Vec<f32>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = file.tensor(TENSOR).map_err(|error| error.to_string())?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != [rows, dim] {
        return Err(format!(
            "expected {TENSOR} F32 [{rows}, {dim}], got {:?} {:?}",
            tensor.dtype(),
            tensor.shape()
        ));
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// Reads a file of a store.
pub(crate) fn read(folder: &Path, file: &'static str) -> Result<Vec<u8>, DocqaError> {
    fs::read(folder.join(file)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => DocqaError::NoStore { path: folder.to_path_buf(), file },
        _ => DocqaError::reading(folder.join(file), error),
    })
}

/// Refuses a JSON file whose `format` is not the one expected.
pub(crate) fn check_format(folder: &Path, file: &str, json: &[u8], expected: &str) -> Result<(), DocqaError> {
    let found: FormatOnly = serde_json::from_slice(json)
        .map_err(|error| DocqaError::DamagedStore { path: folder.join(file), reason: error.to_string() })?;
    if found.format != expected {
        let (path, expected) = (folder.to_path_buf(), expected.to_string());
        return Err(DocqaError::StoreVersion { path, found: found.format, expected });
    }
    Ok(())
}

/// Whether a JSON file of a store has a `format` that begins so. One that was cut off has too, if it does so
/// at its very beginning, where a store writes it.
pub(crate) fn format_begins(json: &[u8], expected: &str) -> bool {
    match serde_json::from_slice::<FormatOnly>(json) {
        Ok(found) => found.format.starts_with(expected),
        Err(_) => json.starts_with(format!("{{\"format\":\"{expected}").as_bytes()),
    }
}

fn squared_norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::HostSimilarity;

    fn chunk(id: usize, source: &str, page: u32) -> Chunk {
        Chunk {
            text: format!("chunk {id}"),
            source: source.into(),
            page: Some(page),
            page_end: None,
            chunk_id: id,
            chunk_size: 7,
            timestamp: "2026-01-02T03:04:05Z".into(),
            start: id * 10,
        }
    }

    fn empty(metric: Metric) -> MemoryStore {
        MemoryStore::new(Box::new(HostSimilarity::default()), metric)
    }

    fn unit(angle: f32) -> Vec<f32> {
        vec![angle.cos(), angle.sin()]
    }

    fn filled(metric: Metric) -> MemoryStore {
        let mut store = empty(metric);
        let chunks = (0..8).map(|id| chunk(id, if id < 4 { "a" } else { "b" }, id as u32)).collect();
        let rows: Vec<Vec<f32>> = (0..8).map(|id| unit(id as f32 * 0.3)).collect();
        store.add(chunks, &rows).unwrap();
        store
    }

    fn ids(hits: &[Hit]) -> Vec<usize> {
        hits.iter().map(|hit| hit.chunk.chunk_id).collect()
    }

    #[test]
    fn the_closest_come_first() {
        for metric in [Metric::SquaredL2, Metric::Cosine] {
            let mut store = filled(metric);
            let hits = store.search(&unit(0.65), 3, &Filter::default()).unwrap();
            assert_eq!(ids(&hits), [2, 3, 1]);
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
    fn distances_never_fall_below_zero() {
        let mut store = empty(Metric::SquaredL2);
        let rows: Vec<Vec<f32>> = (0..100).map(|n| unit(n as f32)).collect();
        store.add((0..100).map(|id| chunk(id, "a", 1)).collect(), &rows).unwrap();
        for row in &rows {
            let hits = store.search(row, 1, &Filter::default()).unwrap();
            assert!((0.0..1e-6).contains(&hits[0].distance));
        }
        assert_eq!(Metric::SquaredL2.distance(1.1, 1.0, 1.0), 0.0);
        assert_eq!(Metric::Cosine.distance(1.1, 1.0, 1.0), 0.0);
        assert_eq!(Metric::Cosine.distance(0.0, 0.0, 1.0), 1.0);
        // Lengths other than one count in one and not in the other.
        assert_eq!(Metric::SquaredL2.distance(6.0, 9.0, 4.0), 1.0);
        assert_eq!(Metric::Cosine.distance(6.0, 9.0, 4.0), 0.0);
    }

    #[test]
    fn filters_come_before_the_count() {
        let mut store = filled(Metric::SquaredL2);
        let in_b = Filter::default().source("b");
        assert_eq!(ids(&store.search(&unit(0.0), 2, &in_b).unwrap()), [4, 5]);
        assert_eq!(ids(&store.search(&unit(0.0), 9, &in_b.pages(6..=7)).unwrap()), [6, 7]);
        assert!(store.search(&unit(0.0), 9, &Filter::default().source("c")).unwrap().is_empty());
    }

    #[test]
    fn equals_come_in_the_order_they_were_added() {
        let mut store = empty(Metric::SquaredL2);
        store.add((0..20).map(|id| chunk(id, "a", 1)).collect(), &vec![unit(1.0); 20]).unwrap();
        assert_eq!(ids(&store.search(&unit(0.0), 5, &Filter::default()).unwrap()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn faults_of_embeddings_are_refused_whole() {
        let mut store = filled(Metric::SquaredL2);
        let two = || vec![chunk(8, "a", 1), chunk(9, "a", 1)];
        assert!(store.add(two(), &[unit(0.0)]).is_err());
        let message = store.add(two(), &[unit(0.0), vec![1.0]]).unwrap_err().to_string();
        assert_eq!(message, "embedding 1: expected 2 values, got 1");
        assert!(store.add(two(), &[unit(0.0), vec![f32::INFINITY, 0.0]]).is_err());
        assert!(store.search(&[1.0, 0.0, 0.0], 1, &Filter::default()).is_err());
        assert!(store.search(&[f32::NAN, 0.0], 1, &Filter::default()).is_err());
        assert_eq!(store.len(), 8);
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/store");
        let mut store = filled(Metric::Cosine);
        store.save(&path).unwrap();
        store.save(&path).unwrap();
        let mut loaded = empty(Metric::SquaredL2);
        loaded.load(&path).unwrap();
        assert_eq!((loaded.metric(), loaded.len(), loaded.dim()), (Metric::Cosine, 8, 2));
        assert_eq!(loaded.chunks(), store.chunks());
        let everything = Filter::default();
        assert_eq!(
            loaded.search(&unit(0.4), 8, &everything).unwrap(),
            store.search(&unit(0.4), 8, &everything).unwrap()
        );

        let nothing = folder.path().join("nothing");
        empty(Metric::SquaredL2).save(&nothing).unwrap();
        loaded.load(&nothing).unwrap();
        assert!(loaded.is_empty());
    }

    #[test]
    fn damage_is_named_and_leaves_the_store_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut store = filled(Metric::SquaredL2);
        let mut fault = |change: &dyn Fn(&Path)| {
            filled(Metric::SquaredL2).save(&path).unwrap();
            change(&path);
            let error = store.load(&path).unwrap_err();
            assert!(error.is_input_error());
            assert_eq!(store.len(), 8);
            error.to_string()
        };
        let edit = |file: &'static str, from: &'static str, to: &'static str| {
            move |path: &Path| {
                let text = fs::read_to_string(path.join(file)).unwrap();
                assert!(text.contains(from));
                fs::write(path.join(file), text.replacen(from, to, 1)).unwrap();
            }
        };
        let truncate = |file: &'static str| {
            move |path: &Path| {
                let bytes = fs::read(path.join(file)).unwrap();
                fs::write(path.join(file), &bytes[..bytes.len() - 9]).unwrap();
            }
        };
        assert!(fault(&truncate(CHUNKS_FILE)).contains("chunks.json: the store is damaged: EOF"));
        assert!(fault(&truncate(EMBEDDINGS_FILE)).contains("its SHA-256 is not the one in chunks.json"));
        assert!(fault(&edit(CHUNKS_FILE, "\"rows\":8", "\"rows\":9")).contains("expected 9 chunks, got 8"));
        assert!(
            fault(&edit(CHUNKS_FILE, "\"dim\":2", "\"dim\":3"))
                .contains("expected embeddings F32 [8, 3], got F32 [8, 2]")
        );
        let message = fault(&edit(CHUNKS_FILE, FORMAT, "kiln-vectors/9"));
        assert!(
            message.contains("store format \"kiln-vectors/9\", expected \"kiln-vectors/1\""),
            "{message}"
        );
        assert!(
            fault(&|path| fs::remove_file(path.join(EMBEDDINGS_FILE)).unwrap())
                .contains("there is no embeddings.safetensors")
        );
        let message = store.load(&folder.path().join("none")).unwrap_err().to_string();
        assert!(message.contains("none: no store here (there is no chunks.json)"), "{message}");
    }
}
