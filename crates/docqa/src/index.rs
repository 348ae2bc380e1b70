//! Indexes: documents, their chunks and the embeddings of these, made once and kept.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic::Known;
use crate::chunk::{self, Chunk};
use crate::embedder::{Embedder, embed_checked};
use crate::load::{self, Document, Loaded, SourceFile};
use crate::similarity::Similarity;
use crate::split::SplitOptions;
use crate::store::{MemoryStore, Metric, VectorStore};
use crate::{DocqaError, atomic, hex, store};

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
    /// The files are being read and split.
    Reading {
        /// How many there are.
        files: usize,
    },
    /// Passages are being embedded.
    Embedding {
        /// How many are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
}

/// Documents that can be questioned.
pub struct Index {
    about: About,
    store: MemoryStore,
    building_time: Duration,
}

/// What an index keeps beside its vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct About {
    format: String,
    /// The fingerprint of the model that made the embeddings.
    model: String,
    options: IndexOptions,
    created: String,
    loaded: Loaded,
}

const ABOUT_FILE: &str = "index.json";
const FORMAT: &str = "kiln-index/1";

/// What tells a saved index from any other folder: all of its files, and a file that says so.
const KNOWN: Known<'_> = Known {
    files: &[ABOUT_FILE, store::CHUNKS_FILE, store::EMBEDDINGS_FILE],
    formats: &[(ABOUT_FILE, "kiln-index/"), (store::CHUNKS_FILE, store::VECTORS)],
};

/// Part of every key: raised whenever the same files would give other text, chunks or files in the cache.
const CACHE_VERSION: &str = "kiln-cache/1";

impl Index {
    /// Makes an index of files.
    pub fn build(
        files: &[SourceFile],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        similarity: Box<dyn Similarity>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DocqaError> {
        let store = MemoryStore::new(similarity, options.metric);
        Self::build_in(store, files, options, embedder, progress)
    }

    /// Makes an index of files in a store that is empty.
    fn build_in(
        mut store: MemoryStore,
        files: &[SourceFile],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DocqaError> {
        let started = Instant::now();
        options.split.check()?;
        progress(Progress::Reading { files: files.len() });
        let loaded = load::parse(files)?;
        let mut chunks = chunk::chunks(&loaded.documents, &options.split)?;
        // A long run of white space can make a chunk; there is nothing to find in it.
        chunks.retain(|chunk| !chunk.text.trim().is_empty());

        let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        let total = texts.len();
        progress(Progress::Embedding { done: 0, total });
        let rows =
            embed_checked(embedder, &texts, &mut |done| progress(Progress::Embedding { done, total }))?;
        store.add(chunks, &rows)?;
        let about = About {
            format: FORMAT.into(),
            model: embedder.fingerprint().into(),
            options: options.clone(),
            created: chunk::now(),
            loaded,
        };
        Ok(Self { about, store, building_time: started.elapsed() })
    }

    /// Opens an index that was saved in a folder.
    pub fn open(folder: &Path, similarity: Box<dyn Similarity>) -> Result<Self, DocqaError> {
        let mut store = MemoryStore::new(similarity, Metric::default());
        let about = open_in(&mut store, folder)?;
        Ok(Self { about, store, building_time: Duration::ZERO })
    }

    /// Saves into a folder, which is replaced whole or not at all. A folder that [`check_target`] refuses is
    /// left alone.
    pub fn save(&self, folder: &Path) -> Result<(), DocqaError> {
        self.save_as(folder, KNOWN)
    }

    fn save_as(&self, folder: &Path, known: Known<'_>) -> Result<(), DocqaError> {
        atomic::replace_folder(folder, known, |new| {
            self.store.write(new)?;
            let path = new.join(ABOUT_FILE);
            let json =
                serde_json::to_vec(&self.about).map_err(|error| DocqaError::writing(&path, error.into()))?;
            fs::write(&path, json).map_err(|error| DocqaError::writing(&path, error))
        })
    }

    /// The index of files and folders, from `cache` where it was made before, else made now and kept there.
    ///
    /// It is found by the hashes of the files' bytes and paths, of the model, and of the options, so a
    /// changed file gets a new index. A cached index that is damaged is made again, and a cache that
    /// cannot be written only costs the next run its time; both are logged.
    pub fn open_or_build(
        paths: &[PathBuf],
        options: &IndexOptions,
        embedder: &mut dyn Embedder,
        cache: &Path,
        similarity: Box<dyn Similarity>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DocqaError> {
        options.split.check()?;
        let files = load::read(paths)?;
        let folder = cache.join(key(&files, options, embedder.fingerprint()));
        let mut store = MemoryStore::new(similarity, options.metric);
        let mut damage = None;
        match open_in(&mut store, &folder) {
            Ok(about) => {
                log::info!("the index is in the cache: {}", folder.display());
                return Ok(Self { about, store, building_time: Duration::ZERO });
            }
            Err(DocqaError::NoStore { .. }) => {}
            Err(error) => {
                store.clear();
                damage = Some(error);
            }
        }
        let index = Self::build_in(store, &files, options, embedder, progress)?;
        // The cache is Kiln's own, so the names are enough, and a damaged index is replaced.
        if let Err(error) = index.save_as(&folder, Known { formats: &[], ..KNOWN }) {
            log::warn!("the index is not kept, so the next question has to make it again: {error}");
        } else if let Some(error) = damage {
            log::warn!("the index in the cache was made again: {error}");
        }
        Ok(index)
    }

    /// Its documents, with their text.
    pub fn documents(&self) -> &[Document] {
        &self.about.loaded.documents
    }

    /// One line for each file and page that was left out when it was made.
    pub fn notices(&self) -> Vec<String> {
        self.about.loaded.notices()
    }

    /// How it was made.
    pub fn options(&self) -> &IndexOptions {
        &self.about.options
    }

    /// When it was made: RFC 3339, in UTC.
    pub fn created(&self) -> &str {
        &self.about.created
    }

    /// How long it took to read and embed the documents; zero for an index that was opened, from a folder or
    /// the cache.
    pub fn building_time(&self) -> Duration {
        self.building_time
    }

    /// Its chunks, document by document.
    pub fn chunks(&self) -> &[Chunk] {
        self.store.chunks()
    }

    /// Its vectors.
    pub fn store_mut(&mut self) -> &mut MemoryStore {
        &mut self.store
    }

    /// Refuses an embedder whose vectors mean something else than those of this index.
    pub fn check_model(&self, embedder: &dyn Embedder) -> Result<(), DocqaError> {
        if self.about.model == embedder.fingerprint() {
            return Ok(());
        }
        // Enough of a hash to tell two models apart.
        let short = |fingerprint: &str| fingerprint.chars().take(12).collect();
        Err(DocqaError::OtherModel {
            found: short(&self.about.model),
            expected: short(embedder.fingerprint()),
        })
    }
}

/// Refuses a folder into which [`Index::save`] would not save: a file, one that cannot be made, and one that
/// is neither empty nor a saved index with nothing beside it. Worth asking before an index is built.
pub fn check_target(folder: &Path) -> Result<(), DocqaError> {
    atomic::check_target(folder, KNOWN)
}

/// Refuses a folder in which no index was ever saved. Worth asking before a model is loaded for one.
pub fn check_store(folder: &Path) -> Result<(), DocqaError> {
    if folder.join(ABOUT_FILE).exists() {
        return Ok(());
    }
    Err(DocqaError::NoStore { path: folder.to_path_buf(), file: ABOUT_FILE })
}

/// Reads the files of an index, its vectors into `store`.
fn open_in(store: &mut MemoryStore, folder: &Path) -> Result<About, DocqaError> {
    let json = store::read(folder, ABOUT_FILE)?;
    store::check_format(folder, ABOUT_FILE, &json, FORMAT)?;
    let damaged = |file: &str, reason: String| DocqaError::DamagedStore { path: folder.join(file), reason };
    let about: About =
        serde_json::from_slice(&json).map_err(|error| damaged(ABOUT_FILE, error.to_string()))?;
    store.load(folder)?;
    let texts: HashMap<&str, &str> = about
        .loaded
        .documents
        .iter()
        .map(|document| (document.source.as_str(), document.text.as_str()))
        .collect();
    for chunk in store.chunks() {
        let text = texts.get(chunk.source.as_str()).and_then(|text| text.get(chunk.start..chunk.end()));
        if text != Some(chunk.text.as_str()) {
            let reason = format!("chunk {} of {} is not in its document", chunk.chunk_id, chunk.source);
            return Err(damaged(store::CHUNKS_FILE, reason));
        }
    }
    Ok(about)
}

/// Everything that decides on the content of an index, hashed. Each part is preceded by its length, so
/// that no two lists of parts run together into the same bytes.
fn key(files: &[SourceFile], options: &IndexOptions, model: &str) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(CACHE_VERSION.as_bytes());
    part(model.as_bytes());
    part(format!("{options:?}").as_bytes());
    for file in files {
        part(file.path().as_os_str().as_encoded_bytes());
        part(file.bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedder::fake::WordEmbedder;
    use crate::similarity::HostSimilarity;
    use crate::store::Filter;

    fn host() -> Box<dyn Similarity> {
        Box::new(HostSimilarity::default())
    }

    struct Fixture {
        folder: tempfile::TempDir,
        embedder: WordEmbedder,
        options: IndexOptions,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("docs")).unwrap();
            let fixture = Self { folder, embedder: WordEmbedder::new(), options: IndexOptions::default() };
            fixture.write("a.txt", "A kiln is an oven. It fires clay.");
            fixture.write("b.md", "# Glaze\n\nA glaze is glass on a pot.");
            fixture
        }

        fn docs(&self) -> PathBuf {
            self.folder.path().join("docs")
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.docs().join(name), text).unwrap();
        }

        fn cache(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        /// Opens or builds, and says how many texts were embedded for it.
        fn open(&mut self) -> (Index, usize) {
            let before = self.embedder.embedded;
            let (paths, cache) = ([self.docs()], self.cache());
            let index =
                Index::open_or_build(&paths, &self.options, &mut self.embedder, &cache, host(), &mut |_| {});
            (index.unwrap(), self.embedder.embedded - before)
        }

        fn build(&mut self) -> Index {
            let files = load::read(&[self.docs()]).unwrap();
            Index::build(&files, &self.options, &mut self.embedder, host(), &mut |_| {}).unwrap()
        }
    }

    #[test]
    fn a_second_question_embeds_no_passage() {
        let mut fixture = Fixture::new();
        let (first, embedded) = fixture.open();
        assert_eq!((first.chunks().len(), embedded), (2, 2));
        let (second, embedded) = fixture.open();
        assert_eq!(embedded, 0);
        assert_eq!(second.chunks(), first.chunks());
        assert_eq!(second.documents(), first.documents());
        assert_eq!(second.created(), first.created());
        assert!(first.building_time() > Duration::ZERO);
        assert_eq!(second.building_time(), Duration::ZERO);
    }

    #[test]
    fn whatever_changes_the_content_changes_the_index() {
        let mut fixture = Fixture::new();
        fixture.open();
        fixture.write("a.txt", "A kiln is an oven. It fires pots.");
        assert_eq!(fixture.open().1, 2);
        fixture.write("c.txt", "Another one.");
        assert_eq!(fixture.open().1, 3);
        fixture.options.split.chunk_overlap = 40;
        assert_eq!(fixture.open().1, 3);
        fixture.options.metric = Metric::Cosine;
        assert_eq!(fixture.open().1, 3);
        fixture.embedder.fingerprint = "words-2".into();
        assert_eq!(fixture.open().1, 3);
        assert_eq!(fixture.open().1, 0);
        assert_eq!(std::fs::read_dir(fixture.cache()).unwrap().count(), 6);
    }

    #[test]
    fn a_damaged_cache_is_made_again_and_a_lost_one_is_done_without() {
        let mut fixture = Fixture::new();
        fixture.open();
        let entry = std::fs::read_dir(fixture.cache()).unwrap().next().unwrap().unwrap().path();
        for file in ["chunks.json", "index.json", "embeddings.safetensors"] {
            std::fs::write(entry.join(file), "{").unwrap();
            assert_eq!(fixture.open().1, 2, "{file}");
        }
        let about = std::fs::read_to_string(entry.join("index.json")).unwrap();
        std::fs::write(entry.join("index.json"), about.replace("A kiln is", "The kiln is")).unwrap();
        let (index, embedded) = fixture.open();
        assert_eq!((index.chunks().len(), embedded), (2, 2));
        assert_eq!(fixture.open().1, 0);

        std::fs::remove_dir_all(fixture.cache()).unwrap();
        std::fs::write(fixture.cache(), "a file where the cache should be").unwrap();
        assert_eq!(fixture.open().1, 2);
    }

    #[test]
    fn progress_goes_from_reading_to_the_last_passage() {
        let mut fixture = Fixture::new();
        let files = load::read(&[fixture.docs()]).unwrap();
        let mut seen = Vec::new();
        Index::build(&files, &fixture.options, &mut fixture.embedder, host(), &mut |p| seen.push(p)).unwrap();
        assert_eq!(seen.first(), Some(&Progress::Reading { files: 2 }));
        assert_eq!(seen[1], Progress::Embedding { done: 0, total: 2 });
        assert_eq!(seen.last(), Some(&Progress::Embedding { done: 2, total: 2 }));
    }

    #[test]
    fn what_is_saved_is_what_is_opened() {
        let mut fixture = Fixture::new();
        fixture.write("broken.txt", "");
        let store = fixture.folder.path().join("store");
        let mut index = fixture.build();
        index.save(&store).unwrap();
        index.save(&store).unwrap();
        let mut opened = Index::open(&store, host()).unwrap();
        assert_eq!(opened.about, index.about);
        assert_eq!(opened.notices().len(), 1);
        let query = fixture.embedder.embed(&["glaze glass"], &mut |_| {}).unwrap().remove(0);
        let hits = opened.store_mut().search(&query, 1, &Filter::default()).unwrap();
        assert!(hits[0].chunk.text.contains("glaze is glass"));
        assert_eq!(hits, index.store_mut().search(&query, 1, &Filter::default()).unwrap());
        let mut names: Vec<_> =
            std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["chunks.json", "embeddings.safetensors", "index.json"]);
    }

    #[test]
    fn faults_of_a_store_are_named() {
        let mut fixture = Fixture::new();
        let store = fixture.folder.path().join("store");
        let open = |store: &Path| {
            let error = Index::open(store, host()).err().unwrap();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert!(open(&store).contains("store: no store here (there is no index.json)"));
        assert!(open(&fixture.docs()).contains("docs: no store here (there is no index.json)"));
        let index = fixture.build();
        let damage = |file: &str, from: &str, to: &str| {
            index.save(&store).unwrap();
            let text = std::fs::read_to_string(store.join(file)).unwrap();
            assert!(text.contains(from));
            std::fs::write(store.join(file), text.replacen(from, to, 1)).unwrap();
            open(&store)
        };
        assert!(
            damage("index.json", "kiln-index/1", "kiln-index/7").contains("store format \"kiln-index/7\"")
        );
        assert!(damage("index.json", "{", "").contains("index.json: the store is damaged"));
        assert!(damage("index.json", "A kiln is an oven", "A kiln is no oven").contains("chunk 0 of "));

        let mut other = WordEmbedder::new();
        other.fingerprint = "words-9".into();
        let message = index.check_model(&other).unwrap_err().to_string();
        assert!(message.contains("made with the model words-1, expected words-9"), "{message}");

        let error = index.save(&fixture.docs()).unwrap_err();
        assert!(matches!(error, DocqaError::NotAStore { .. }));
    }

    #[test]
    fn a_folder_that_is_not_a_store_alone_is_never_replaced() {
        let mut fixture = Fixture::new();
        let index = fixture.build();
        let folder = fixture.folder.path();
        let refused = |store: &Path| {
            let [told, error] = [check_target(store), index.save(store)].map(|done| done.unwrap_err());
            assert!(error.is_input_error());
            assert_eq!(told.to_string(), error.to_string());
            error.to_string()
        };

        let project = folder.join("project");
        std::fs::create_dir_all(project.join("sub")).unwrap();
        std::fs::write(project.join("sub/thesis.txt"), "years of work").unwrap();
        std::fs::write(project.join("index.json"), r#"{"name": "my project"}"#).unwrap();
        assert!(refused(&project).ends_with("other than a store: it holds sub; it is left alone"));
        assert!(project.join("sub/thesis.txt").exists());
        std::fs::remove_dir_all(project.join("sub")).unwrap();
        assert!(refused(&project).contains("its index.json was not written by Kiln"));
        assert!(project.join("index.json").exists());

        let store = folder.join("store");
        index.save(&store).unwrap();
        check_target(&store).unwrap();
        for name in ["a.txt", "b.txt", "c.txt", "d.txt"] {
            std::fs::write(store.join(name), "").unwrap();
        }
        assert!(refused(&store).contains("it holds a.txt, b.txt and 2 more"));
        assert!(store.join("d.txt").exists());
        for name in ["a.txt", "b.txt", "c.txt", "d.txt"] {
            std::fs::remove_file(store.join(name)).unwrap();
        }

        // A store that is damaged, or of another version, is still one.
        let about = std::fs::read_to_string(store.join("index.json")).unwrap();
        std::fs::write(store.join("chunks.json"), "{").unwrap();
        for content in [about.replace("kiln-index/1", "kiln-index/9"), about[..40].to_string()] {
            std::fs::write(store.join("index.json"), content).unwrap();
            check_target(&store).unwrap();
        }
        index.save(&store).unwrap();
        assert!(Index::open(&store, host()).is_ok());
    }
}
