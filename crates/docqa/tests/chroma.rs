//! The store on a Chroma server, against a real one and beside the store in memory.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use kiln_docqa::DocqaError;
use kiln_docqa::index::{Index, IndexOptions, Progress};
use kiln_docqa::store::{ChromaAddress, ChromaOptions, ChromaStore, Filter, Hit, MemoryStore, Metric};
use kiln_tests::chroma::ChromaServer;
use support::{Words, host, on, options, sentence, text, vector};

struct Bench {
    server: ChromaServer,
    folder: tempfile::TempDir,
    options: IndexOptions,
    words: Words,
}

impl Bench {
    #[track_caller]
    fn new() -> Option<Bench> {
        let server = ChromaServer::start()?;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        Some(Bench { server, folder, options: options(), words: Words::new() })
    }

    fn docs(&self) -> PathBuf {
        self.folder.path().join("docs")
    }

    /// A text of sentences, each a passage of its own.
    fn write(&self, name: &str, numbers: impl IntoIterator<Item = usize>) {
        fs::write(self.docs().join(name), text(numbers)).unwrap();
    }

    fn address(&self) -> ChromaAddress {
        format!("{}/papers", self.server.url()).parse().unwrap()
    }

    fn connect(&self) -> Result<ChromaStore, DocqaError> {
        // Small batches, so that there are several.
        let progress = Some(self.folder.path().join("progress"));
        ChromaStore::connect(
            &self.address(),
            &ChromaOptions { batch: 100, progress, ..ChromaOptions::default() },
        )
    }

    fn update(&mut self) -> Index {
        self.update_until(&mut on).unwrap()
    }

    fn update_until(
        &mut self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Index, DocqaError> {
        let mut index = Index::open(Box::new(self.connect()?));
        index.update(&[self.docs()], &self.options, &mut self.words, progress)?;
        Ok(index)
    }

    fn in_memory(&self) -> Index {
        let mut index = Index::open(Box::new(MemoryStore::new(host())));
        index.update(&[self.docs()], &self.options, &mut Words::new(), &mut on).unwrap();
        index
    }

    /// How many records the server says there are.
    fn count(&self) -> usize {
        let collections = format!(
            "{}/api/v2/tenants/default_tenant/databases/default_database/collections",
            self.server.url()
        );
        let get = |url: String| {
            let text = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let id = get(format!("{collections}/papers"))["id"].as_str().unwrap().to_string();
        get(format!("{collections}/{id}/count")).as_u64().unwrap() as usize
    }

    /// The server's store holds what a new one in memory holds, and finds the same.
    #[track_caller]
    fn assert_as_in_memory(&mut self, index: &mut Index, queries: impl IntoIterator<Item = usize>) {
        let mut wanted = self.in_memory();
        assert_eq!(self.count(), wanted.passages());
        assert_eq!(index.records(), wanted.records());
        for record in wanted.records().to_vec() {
            assert_eq!(index.document(&record.source).unwrap(), wanted.document(&record.source).unwrap());
        }
        for number in queries {
            for filter in [Filter::default(), Filter::default().source(&index.records()[0].source)] {
                let query = vector(&sentence(number));
                let [got, expected] =
                    [&mut *index, &mut wanted].map(|index| index.search(&query, 3, &filter).unwrap());
                assert_eq!(places(&got), places(&expected), "query {number}, {filter:?}");
                for (got, expected) in got.iter().zip(&expected) {
                    assert!((got.distance - expected.distance).abs() < 1e-5, "{got:?} {expected:?}");
                    assert_eq!(got.chunk.text, expected.chunk.text);
                }
            }
        }
    }
}

fn places(hits: &[Hit]) -> Vec<(String, usize)> {
    hits.iter().map(|hit| (hit.chunk.source.clone(), hit.chunk.chunk_id)).collect()
}

fn changes(index: &Index) -> String {
    index.changes().unwrap().to_string()
}

#[test]
fn a_thousand_passages_are_found_as_in_memory() {
    let Some(mut bench) = Bench::new() else { return };
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        bench.options.metric = metric;
        for file in 0..10 {
            bench.write(&format!("{file}.md"), file * 100..(file + 1) * 100);
        }
        let mut index = bench.update();
        assert_eq!((index.passages(), index.records().len()), (1000, 10));
        // Some are in the store word for word, and most are not.
        bench.assert_as_in_memory(&mut index, (0..1000).step_by(97).chain(2000..2060));
        // Words that no passage has lie as near to one as to another, which is hardest for a graph of neighbours.
        let mut wanted = bench.in_memory();
        for number in 0..100 {
            let query = vector(&format!("unheard {number}"));
            let [got, expected] = [&mut index, &mut wanted]
                .map(|index| places(&index.search(&query, 3, &Filter::default()).unwrap()));
            assert_eq!(got, expected, "{number}");
        }
    }
}

#[test]
fn indexing_again_makes_no_duplicates_and_what_is_gone_leaves() {
    let Some(mut bench) = Bench::new() else { return };
    bench.write("a.md", 0..150);
    bench.write("b.md", 200..210);
    bench.write("c.md", 300..310);
    let first = bench.update();
    assert_eq!(changes(&first), "3 new, 0 changed, 0 removed, 0 kept");
    let mut again = bench.update();
    assert_eq!(changes(&again), "0 new, 0 changed, 0 removed, 3 kept");
    assert_eq!((bench.count(), bench.words.embedded), (170, 170));
    bench.assert_as_in_memory(&mut again, 0..5);
    assert_eq!(again.created(), first.created());

    bench.write("a.md", [500].into_iter().chain(0..70).chain(71..150));
    fs::rename(bench.docs().join("b.md"), bench.docs().join("z.md")).unwrap();
    fs::remove_file(bench.docs().join("c.md")).unwrap();
    bench.write("d.md", 400..404);
    let mut index = bench.update();
    assert_eq!(changes(&index), "1 new, 1 changed, 1 renamed, 1 removed, 0 kept");
    assert_eq!(bench.words.embedded, 170 + 1 + 4);
    bench.assert_as_in_memory(&mut index, [0, 70, 205, 305, 402, 500]);

    // An index that was opened before sees what another process has changed.
    let mut other = again;
    let hits = other.search(&vector(&sentence(402)), 1, &Filter::default()).unwrap();
    assert!(hits[0].chunk.source.ends_with("d.md"));
    assert_eq!(other.records(), index.records());
}

#[test]
fn pages_are_kept_and_asked_for() {
    let Some(mut bench) = Bench::new() else { return };
    let pdf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/pdf/broken_page3.pdf");
    fs::copy(pdf, bench.docs().join("broken.pdf")).unwrap();
    fs::write(bench.docs().join("empty.txt"), "").unwrap();
    bench.options.split.chunk_size = 120;
    let mut index = bench.update();
    let mut wanted = bench.in_memory();
    assert_eq!(index.notices(), wanted.notices());
    assert_eq!(index.notices().len(), 2);
    bench.assert_as_in_memory(&mut index, [0]);
    for pages in [1..=1, 2..=4, 4..=4, 3..=3, 5..=9, 6..=9] {
        let (query, filter) = (vector("the bowls cooled"), Filter::default().pages(pages.clone()));
        let [got, expected] = [&mut index, &mut wanted]
            .map(|index| index.search(&query, 99, &filter).unwrap())
            .map(|hits| hits.into_iter().map(|hit| (hit.chunk.chunk_id, hit.chunk.page, hit.chunk.page_end)));
        let (mut got, mut expected): (Vec<_>, Vec<_>) = (got.collect(), expected.collect());
        // Passages without any word of the query are all as far as chance has it.
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{pages:?}");
    }
}

#[test]
fn an_interruption_loses_nothing_and_leaves_no_half_document() {
    let Some(mut bench) = Bench::new() else { return };
    bench.write("a.md", 0..100);
    bench.write("b.md", 100..400);
    bench.write("c.md", 400..430);
    let stop = |step: Progress| match step {
        Progress::Embedding { done, .. } if done > 150 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(matches!(bench.update_until(&mut { stop }), Err(DocqaError::Interrupted)));
    assert_eq!(bench.words.embedded, 192);
    let half = Index::open(Box::new(bench.connect().unwrap()));
    assert_eq!(half.records().len(), 1, "what was finished is there");
    assert!(half.notices()[0].starts_with("indexing was interrupted"), "{:?}", half.notices());
    let mut index = bench.update();
    assert_eq!(bench.words.embedded, 430);
    assert_eq!(changes(&index), "2 new, 0 changed, 0 removed, 1 kept");
    assert!(index.notices().is_empty());
    bench.assert_as_in_memory(&mut index, [0, 150, 420]);
}

#[test]
fn what_a_killed_process_left_is_cleared_away() {
    let Some(mut bench) = Bench::new() else { return };
    bench.write("a.md", 0..20);
    bench.write("b.md", 20..40);
    bench.update();
    // As if a process had been killed in the midst of replacing one document and writing another.
    let collections = format!(
        "{}/api/v2/tenants/default_tenant/databases/default_database/collections",
        bench.server.url()
    );
    let post = |method: &str, body: serde_json::Value| {
        let text =
            ureq::get(format!("{collections}/papers")).call().unwrap().body_mut().read_to_string().unwrap();
        let collection: serde_json::Value = serde_json::from_str(&text).unwrap();
        let url = format!("{collections}/{}/{method}", collection["id"].as_str().unwrap());
        ureq::post(url).content_type("application/json").send(body.to_string()).unwrap();
    };
    let a = bench.docs().join("a.md").display().to_string();
    post("delete", serde_json::json!({ "where": { "$and": [{ "source": a }, { "chunk_id": 0 }] } }));
    let stray = serde_json::json!({
        "source": "gone.md", "chunk_id": 1, "start": 10, "timestamp": "", "revision": "0123456789abcdef",
    });
    post(
        "upsert",
        serde_json::json!({
            "ids": ["stray"], "documents": [sentence(900)], "metadatas": [stray],
            "embeddings": [vector(&sentence(900))],
        }),
    );
    assert_eq!(bench.count(), 40);
    let mut opened = Index::open(Box::new(bench.connect().unwrap()));
    assert_eq!(opened.records().len(), 1);
    for number in [900, 5] {
        let hits = opened.search(&vector(&sentence(number)), 3, &Filter::default()).unwrap();
        assert_eq!(hits.len(), 3);
        assert!(hits.iter().all(|hit| hit.chunk.source.ends_with("b.md")), "half a document is not found");
    }
    let mut index = bench.update();
    assert_eq!(changes(&index), "1 new, 0 changed, 0 removed, 1 kept");
    bench.assert_as_in_memory(&mut index, [5, 25]);
}

#[test]
fn another_model_makes_the_collection_anew_and_a_question_is_refused() {
    let Some(mut bench) = Bench::new() else { return };
    bench.write("a.md", 0..5);
    bench.update();
    bench.words.fingerprint = "another".into();
    let opened = Index::open(Box::new(bench.connect().unwrap()));
    let message = opened.check_model(&bench.words).unwrap_err().to_string();
    assert!(message.contains("made with the model words, expected another"), "{message}");
    let mut index = bench.update();
    assert!(index.changes().unwrap().remade);
    assert_eq!(bench.words.embedded, 10);
    bench.assert_as_in_memory(&mut index, [0]);
}

#[test]
fn a_server_that_fails_in_between_is_told_of_and_caught_up_with() {
    let Some(mut bench) = Bench::new() else { return };
    bench.write("a.md", 0..5);
    let mut index = bench.update();
    bench.server.kill();
    let error = index.search(&vector("clay"), 3, &Filter::default()).unwrap_err();
    assert!(!error.is_input_error());
    let message = error.to_string();
    assert!(message.contains("no Chroma server answers (connection refused)"), "{message}");
    assert!(bench.connect().is_err());
}
