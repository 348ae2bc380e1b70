use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;
use crate::embedder::fake::WordEmbedder;
use crate::similarity::HostSimilarity;
use crate::store::StoreLocation;

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
        fs::create_dir(folder.path().join("docs")).unwrap();
        let fixture = Self { folder, embedder: WordEmbedder::new(), options: IndexOptions::default() };
        fixture.write("a.txt", "A kiln is an oven. It fires clay.");
        fixture.write("b.md", "# Glaze\n\nA glaze is glass on a pot.");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn docs(&self) -> PathBuf {
        self.path("docs")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.docs().join(name), text).unwrap();
    }

    /// Passages that are none of another file's.
    fn write_passages(&self, name: &str, numbers: impl Iterator<Item = usize>) {
        let passage =
            |number: usize| format!("Passage {number} of {name} is about {}.", "clay ".repeat(80 + number));
        self.write(name, &numbers.map(passage).collect::<Vec<_>>().join("\n\n"));
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// The index in the cache, and how many texts were embedded for it.
    fn cached(&mut self) -> (Index, usize) {
        let before = self.embedder.embedded;
        let (paths, cache) = ([self.docs()], self.cache());
        let progress = &mut |_| ControlFlow::Continue(());
        let index = Index::open_or_build(&paths, &self.options, &mut self.embedder, &cache, host(), progress)
            .unwrap();
        (index, self.embedder.embedded - before)
    }

    fn build(&mut self) -> Index {
        let files = load::read(&[self.docs()]).unwrap();
        Index::build(&files, &self.options, &mut self.embedder, host(), &mut |_| {}).unwrap()
    }

    fn location(&self) -> StoreLocation {
        StoreLocation::Folder(self.path("store"))
    }

    /// Brings the store in the folder up to date.
    fn update(&mut self) -> Index {
        self.update_until(&mut |_| ControlFlow::Continue(())).unwrap()
    }

    fn update_until(
        &mut self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Index, DocqaError> {
        let mut index = Index::open(self.location().open_or_create(host(), None)?);
        index.update(&[self.docs()], &self.options, &mut self.embedder, progress)?;
        Ok(index)
    }

    fn open(&self) -> Index {
        Index::open(self.location().open(host(), None).unwrap())
    }

    /// What the store holds is what a new index of the same files holds.
    #[track_caller]
    fn assert_as_new(&mut self, index: &mut Index) {
        let mut new = self.build();
        assert_eq!(index.records(), new.records());
        let [there, wanted] = [index, &mut new].map(|index| {
            let sources: Vec<String> = index.records().iter().map(|record| record.source.clone()).collect();
            let texts: Vec<String> =
                sources.iter().map(|source| index.document(source).unwrap().unwrap().text.clone()).collect();
            let query = self.embedder.embed(&["clay passage 7 glaze"], &mut |_| {}).unwrap().remove(0);
            let hits = index.search(&query, 1000, &Filter::default()).unwrap().into_iter();
            let hits: Vec<_> = hits.map(|hit| (hit.chunk.source, hit.chunk.text, hit.distance)).collect();
            (texts, hits)
        });
        assert_eq!(there, wanted);
    }
}

fn changes(index: &Index) -> String {
    index.changes().unwrap().to_string()
}

#[test]
fn a_second_question_embeds_no_passage() {
    let mut fixture = Fixture::new();
    let (first, embedded) = fixture.cached();
    assert_eq!((first.passages(), embedded), (2, 2));
    let (mut second, embedded) = fixture.cached();
    assert_eq!(embedded, 0);
    assert_eq!(second.created(), first.created());
    assert!(first.building_time() > Duration::ZERO);
    assert_eq!(second.building_time(), Duration::ZERO);
    assert_eq!(changes(&second), "0 new, 0 changed, 0 removed, 2 kept");
    fixture.assert_as_new(&mut second);
}

#[test]
fn the_cache_has_an_index_for_each_way_to_make_it_and_keeps_it_up_to_date() {
    let mut fixture = Fixture::new();
    fixture.cached();
    fixture.write("a.txt", "A kiln is an oven. It fires pots.");
    assert_eq!(fixture.cached().1, 1);
    fixture.write("c.txt", "Another one.");
    assert_eq!(fixture.cached().1, 1);
    assert_eq!(fs::read_dir(fixture.cache()).unwrap().count(), 1);
    fixture.options.split.chunk_overlap = 40;
    assert_eq!(fixture.cached().1, 3);
    fixture.options.metric = Metric::Cosine;
    assert_eq!(fixture.cached().1, 3);
    fixture.embedder.fingerprint = "words-2".into();
    assert_eq!(fixture.cached().1, 3);
    assert_eq!(fixture.cached().1, 0);
    assert_eq!(fs::read_dir(fixture.cache()).unwrap().count(), 4);
}

#[test]
fn a_damaged_cache_is_made_again_and_a_lost_one_is_done_without() {
    let mut fixture = Fixture::new();
    fixture.cached();
    let entry = fs::read_dir(fixture.cache()).unwrap().next().unwrap().unwrap().path();
    for damage in ["{", ""] {
        fs::write(entry.join("index.safetensors"), damage).unwrap();
        assert_eq!(fixture.cached().1, 2);
        assert_eq!(fixture.cached().1, 0);
    }
    fs::remove_dir_all(fixture.cache()).unwrap();
    fs::write(fixture.cache(), "a file where the cache should be").unwrap();
    assert_eq!(fixture.cached().1, 2);
}

#[test]
fn only_what_changed_is_embedded_and_the_store_is_as_if_made_anew() {
    let mut fixture = Fixture::new();
    fixture.write_passages("big.txt", 0..9);
    let first = fixture.update();
    assert_eq!(changes(&first), "3 new, 0 changed, 0 removed, 0 kept");
    assert_eq!((first.changes().unwrap().embedded, first.passages()), (11, 11));

    let mut again = fixture.update();
    assert_eq!(changes(&again), "0 new, 0 changed, 0 removed, 3 kept");
    assert_eq!(again.changes().unwrap().embedded, 0);
    fixture.assert_as_new(&mut again);

    // One passage of nine is another one, and one comes before all.
    fixture.write_passages("big.txt", [20].into_iter().chain(0..4).chain([30]).chain(5..9));
    fixture.write("aa.txt", "A new one, in between.");
    fs::remove_file(fixture.docs().join("b.md")).unwrap();
    let mut third = fixture.update();
    assert_eq!(changes(&third), "1 new, 1 changed, 1 removed, 1 kept");
    assert_eq!((third.changes().unwrap().embedded, third.changes().unwrap().reused), (3, 8));
    fixture.assert_as_new(&mut third);
    fixture.assert_as_new(&mut fixture.open());
}

#[test]
fn a_renamed_file_is_not_embedded_again() {
    let mut fixture = Fixture::new();
    fixture.update();
    fs::create_dir(fixture.docs().join("deep")).unwrap();
    fs::rename(fixture.docs().join("a.txt"), fixture.docs().join("deep/z.txt")).unwrap();
    let mut index = fixture.update();
    assert_eq!(changes(&index), "0 new, 0 changed, 1 renamed, 0 removed, 1 kept");
    assert_eq!(index.changes().unwrap().embedded, 0);
    fixture.assert_as_new(&mut index);

    // Copies are new files with known passages; one of two that share their bytes moves, the other goes.
    fs::copy(fixture.docs().join("b.md"), fixture.docs().join("c.md")).unwrap();
    let index = fixture.update();
    assert_eq!(
        (changes(&index).as_str(), index.changes().unwrap().embedded),
        ("1 new, 0 changed, 0 removed, 2 kept", 0)
    );
    fs::rename(fixture.docs().join("b.md"), fixture.docs().join("d.md")).unwrap();
    fs::remove_file(fixture.docs().join("c.md")).unwrap();
    let mut index = fixture.update();
    assert_eq!(changes(&index), "0 new, 0 changed, 1 renamed, 1 removed, 1 kept");
    fixture.assert_as_new(&mut index);
}

#[test]
fn another_model_or_other_options_make_the_store_anew() {
    let mut fixture = Fixture::new();
    fixture.update();
    assert!(!fixture.update().changes().unwrap().remade);
    fixture.options.split.chunk_size = 300;
    let index = fixture.update();
    assert!(index.changes().unwrap().remade);
    assert_eq!(index.changes().unwrap().embedded, 2);
    fixture.embedder.fingerprint = "words-2".into();
    let mut index = fixture.update();
    assert_eq!(changes(&index), "2 new, 0 changed, 0 removed, 0 kept");
    fixture.assert_as_new(&mut index);
    assert!(!fixture.update().changes().unwrap().remade);
}

#[test]
fn files_that_cannot_be_read_are_named_and_leave_the_store() {
    let mut fixture = Fixture::new();
    fixture.update();
    fixture.write("a.txt", "");
    let index = fixture.update();
    assert_eq!(changes(&index), "0 new, 0 changed, 1 removed, 1 kept");
    assert!(index.notices()[0].ends_with("a.txt: the file is empty"), "{:?}", index.notices());
    assert_eq!(fixture.open().notices(), index.notices());
    assert!(fixture.update().changes().unwrap().is_empty());

    // Where none is left, the store is not emptied.
    fixture.write("b.md", " ");
    let error = fixture.update_until(&mut |_| ControlFlow::Continue(())).err().unwrap();
    assert!(error.to_string().ends_with("a.txt: the file is empty"), "{error}");
    assert_eq!(fixture.open().records().len(), 1);
}

#[test]
fn a_store_is_of_its_paths_and_no_others() {
    let mut fixture = Fixture::new();
    let index = fixture.update();
    assert!(index.is_of(&[fixture.docs()]));
    assert!(index.is_of(&[fixture.docs().join("../docs/.")]));
    assert!(!index.is_of(&[fixture.docs().join("a.txt")]));
    assert!(!index.is_of(&[fixture.docs(), fixture.path("")]));
}

#[test]
fn progress_goes_from_reading_to_the_last_passage() {
    let mut fixture = Fixture::new();
    let files = load::read(&[fixture.docs()]).unwrap();
    let mut seen = Vec::new();
    Index::build(&files, &fixture.options, &mut fixture.embedder, host(), &mut |p| seen.push(p)).unwrap();
    let reading = |done| Progress::Reading { done, files: 2 };
    let embedding = |done| Progress::Embedding { done, total: 2 };
    assert_eq!(seen, [reading(0), reading(1), reading(2), embedding(0), embedding(2)]);
}

#[test]
fn what_was_embedded_before_an_interruption_is_not_embedded_again() {
    let mut fixture = Fixture::new();
    fixture.write_passages("big.txt", 0..150);
    let total = 152;
    let interrupted = |fixture: &mut Fixture, after: usize| {
        let before = fixture.embedder.embedded;
        let stop = |step: Progress| match step {
            Progress::Embedding { done, .. } if done >= after => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error = fixture.update_until(&mut { stop }).err().unwrap();
        assert!(matches!(error, DocqaError::Interrupted) && !error.is_input_error());
        fixture.embedder.embedded - before
    };
    // Parts are finished, so that nothing of them is lost.
    assert_eq!(interrupted(&mut fixture, 1), 64);
    assert!(fixture.location().check_present().is_err(), "half an index is none");
    fixture.location().check_target().unwrap();
    assert_eq!(interrupted(&mut fixture, 65), 64);
    let before = fixture.embedder.embedded;
    let mut index = fixture.update();
    assert_eq!(fixture.embedder.embedded - before, total - 128);
    assert_eq!(index.changes().unwrap().reused, 128);
    fixture.assert_as_new(&mut index);
    assert_eq!(
        fs::read_dir(fixture.path("store")).unwrap().count(),
        1,
        "its progress is not needed any more"
    );

    // An interruption before anything is written leaves the store as it was.
    fixture.write("c.txt", "A new one.");
    let seen = Cell::new(0);
    let stop = |_| {
        seen.set(seen.get() + 1);
        if seen.get() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(fixture.update_until(&mut { stop }).is_err());
    assert_eq!(fixture.open().records().len(), 3);
}

#[test]
fn what_is_up_to_date_is_not_written() {
    let mut fixture = Fixture::new();
    fixture.update();
    let file = fixture.path("store/index.safetensors");
    let state = |file: &Path| (fs::read(file).unwrap(), fs::metadata(file).unwrap().modified().unwrap());
    let before = state(&file);
    fixture.update();
    assert!(state(&file) == before);
    // Where only the paths are others, the store knows it.
    let (paths, mut embedder) =
        ([fixture.docs().join("a.txt"), fixture.docs().join("b.md")], WordEmbedder::new());
    let mut index = fixture.open();
    index.update(&paths, &fixture.options, &mut embedder, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(index.changes().unwrap().is_empty() && fixture.open().is_of(&paths));
}

#[test]
fn what_is_saved_is_what_is_opened() {
    let mut fixture = Fixture::new();
    fixture.write("broken.txt", "");
    let index = fixture.update();
    let mut opened = fixture.open();
    assert_eq!(opened.store().about(), index.store().about());
    assert_eq!(opened.notices().len(), 1);
    let query = fixture.embedder.embed(&["glaze glass"], &mut |_| {}).unwrap().remove(0);
    let hits = opened.search(&query, 1, &Filter::default()).unwrap();
    assert!(hits[0].chunk.text.contains("glaze is glass"));

    let mut other = WordEmbedder::new();
    other.fingerprint = "words-9".into();
    let message = index.check_model(&other).unwrap_err().to_string();
    assert!(message.contains("made with the model words-1, expected words-9"), "{message}");
}

#[test]
fn a_folder_that_is_not_a_store_alone_is_never_written() {
    let mut fixture = Fixture::new();
    let project = fixture.path("store");
    fs::create_dir_all(project.join("sub")).unwrap();
    fs::write(project.join("sub/thesis.txt"), "years of work").unwrap();
    fs::write(project.join("progress"), "chapter two").unwrap();
    let told = fixture.location().check_target().unwrap_err().to_string();
    let error = fixture.update_until(&mut |_| ControlFlow::Continue(())).err().unwrap();
    assert!(error.is_input_error());
    assert_eq!(told, error.to_string());
    assert!(told.ends_with("other than a store: it holds sub; it is left alone"), "{told}");
    let files: BTreeMap<_, _> = fs::read_dir(&project)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .map(|name| (name.clone(), fs::read(project.join(name)).ok()))
        .collect();
    assert_eq!(files.len(), 2);
    assert_eq!(files[std::ffi::OsStr::new("progress")].as_deref(), Some(&b"chapter two"[..]));
}
