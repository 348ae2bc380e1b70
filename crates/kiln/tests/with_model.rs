//! The binary with all-MiniLM-L6-v2 at hand. A test for which the model or an adapter is missing reports itself as
//! skipped. Each has a cache of its own, so that none finds what another has indexed.

#[path = "common/bench.rs"]
mod bench;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bench::Bench;
use kiln_tests::{data, golden};
use serde_json::Value;

const SAMPLE: &str = "assets/sample/convolutional-networks.pdf";
const BROKEN: &str = "assets/goldens/pdf/broken_page3.pdf";
const CONE: &str = "At about which temperature does cone 6 bend?";

impl Bench {
    /// A folder with some of the model's files.
    fn copy_of_model(&self, files: &[&str]) -> String {
        let copy = self.path("copy");
        fs::create_dir_all(&copy).expect("the folder should be made");
        for file in files {
            fs::copy(self.model.join(file), Path::new(&copy).join(file)).expect("it should be copied");
        }
        copy
    }

    /// The indexes that the binary has made by itself.
    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache").join("indexes")
    }
}

/// With single spaces, since lines break elsewhere in a PDF.
fn collapsed(value: &Value) -> String {
    let text = value.as_str().expect("it should be text");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("it should be an array")
}

fn read_json(path: &str) -> Value {
    let bytes = fs::read(path).expect("the file should be there");
    serde_json::from_slice(&bytes).expect("it should be JSON")
}

fn count(dir: impl AsRef<Path>) -> usize {
    fs::read_dir(dir).expect("the folder should be readable").count()
}

/// Every file below a folder, with the time of its last change and its bytes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder should be readable") {
        let path = entry.expect("the folder should be readable").path();
        if path.is_dir() {
            files.append(&mut snapshot(&path));
        } else {
            let changed = fs::metadata(&path).and_then(|it| it.modified()).expect("it should have a time");
            let bytes = fs::read(&path).expect("it should be readable");
            files.insert(path, (changed, bytes));
        }
    }
    files
}

fn noise(bytes: usize) -> Vec<u8> {
    data::indices("noise.pdf", bytes, 256).iter().map(|x| *x as u8).collect()
}

/// Three texts with the ends of their embeddings, as the model's documentation has them.
const KNOWN: [(&str, [f64; 6]); 3] = [
    (
        "Machine learning is amazing",
        [-0.04862163, -0.08617098, 0.08960795, 0.07205721, -0.00438847, -0.02266295],
    ),
    (
        "Deep learning uses neural networks",
        [-0.10114671, -0.0130303, 0.07322458, 0.06143846, 0.03814853, -0.03969791],
    ),
    (
        "AI transforms industries",
        [-0.07190882, -0.0214227, -0.00817364, -0.04696938, 0.04265788, -0.03134049],
    ),
];

/// Expects the three known texts, in their order.
#[track_caller]
fn assert_known(json: &Value) {
    assert_eq!(rows(json).len(), KNOWN.len());
    for (row, (known, ends)) in rows(json).iter().zip(KNOWN) {
        assert_eq!(row["text"], known);
        assert_eq!(
            row.as_object().map(serde_json::Map::len),
            Some(2),
            "{known}: more than text and embedding"
        );
        let values: Vec<f64> = rows(&row["embedding"]).iter().filter_map(Value::as_f64).collect();
        assert_eq!(values.len(), 384, "{known}");
        for (value, expected) in values[..3].iter().chain(&values[381..]).zip(ends) {
            assert!((value - expected).abs() <= 1e-4, "{known}: {value}, expected {expected}");
        }
    }
}

#[test]
fn embeddings_are_those_of_the_documentation() {
    let Some(bench) = Bench::new() else { return };
    assert_known(&bench.json(&["embed", "--json", KNOWN[0].0, KNOWN[1].0, KNOWN[2].0]));
}

#[test]
fn lines_of_a_file_follow_the_arguments_and_a_file_takes_the_result() {
    let Some(bench) = Bench::new() else { return };
    let lines = bench.write("lines.txt", format!("\u{feff}{}\r\n\n  \n{}", KNOWN[1].0, KNOWN[2].0));
    let out = bench.path("out/embeddings.json");
    fs::create_dir(bench.path("out")).expect("the folder should be made");
    let told = bench.told(&["embed", KNOWN[0].0, "--file", &lines, "--json", "-q", "-o", &out]);
    assert_eq!(told, (String::new(), String::new()));
    assert_known(&read_json(&out));
    assert_eq!(count(bench.path("out")), 1, "a temporary file is left");
}

#[test]
fn the_sample_answers_its_questions_and_cites_their_pages() {
    let Some(bench) = Bench::new() else { return };
    let questions = golden::root().join("assets/sample/questions.json");
    for asked in rows(&read_json(&questions.to_string_lossy())) {
        let question = asked["question"].as_str().expect("a question should be text");
        let json = bench.json(&["ask", SAMPLE, question, "--json"]);
        assert_eq!(json["question"], question);
        let answer = collapsed(&json["answer"]);
        assert!(answer.contains(&collapsed(&asked["answer_contains"])), "{question} {answer}");
        let cited = rows(&asked["pages"]).iter().any(|page| answer.contains(&format!("(p. {page})")));
        assert!(cited, "{question} {answer}");
        assert_eq!(json["method"], "extractive");
        assert_eq!(json["contexts_used"], 3);
        assert!(json["processing_time"].as_f64() > Some(0.0), "{json}");
        assert!(json["adapter"].is_string(), "{json}");

        let sources = rows(&json["sources"]);
        assert_eq!(sources.len(), 3);
        assert!(sources.iter().all(|source| source["source"] == SAMPLE && source["text"].is_string()));
        assert!(sources.iter().any(|source| rows(&asked["pages"]).contains(&source["page"])), "{json}");
        assert!(sources.is_sorted_by_key(|source| source["distance"].as_f64()), "{json}");
    }
    assert_eq!(count(bench.cache()), 1, "one document has one index");

    // What is named in the midst of a long sentence or before a formula is found too, and the rest is not
    // answered with whatever lies nearest.
    for (question, contained) in [
        ("What is dropout?", "dropout, which sets a random fraction"),
        ("What is momentum?", "Momentum smooths the path by accumulating a velocity"),
        ("What is overfitting?", "is said to overfit."),
        ("What is the capital of France?", "No sentence of the documents comes close"),
    ] {
        let json = bench.json(&["ask", SAMPLE, question, "--json"]);
        assert!(collapsed(&json["answer"]).contains(contained), "{json}");
        assert_eq!(json["indexing_time"], 0.0, "{json}");
    }
    let (told, _) = bench.told(&["ask", SAMPLE, "What is the capital of France?"]);
    assert!(!told.contains("extractive") && told.contains("\nSources\n"), "{told}");

    let (told, notes) = bench.told(&["ask", SAMPLE, "Why?", "--page", "99"]);
    assert!(notes.contains("note: no passage is on page 99\n"), "{notes}");
    assert!(told.starts_with("There is no passage to answer from.\n\nAnswered in "), "{told}");
    let named = format!("--source b.pdf: no such document in the index; expected one of {SAMPLE}");
    bench.refuses(&["ask", SAMPLE, "Why?", "--source", "b.pdf"], &named);
}

#[test]
fn a_second_question_embeds_no_passage_until_the_document_changes() {
    let Some(bench) = Bench::new() else { return };
    let notes = bench.notes();
    let first = bench.json(&["ask", &notes, CONE, "--json"]);
    assert!(collapsed(&first["answer"]).contains("1,222 °C"), "{first}");
    assert!(first["sources"][0]["page"].is_null(), "{first}");

    // An index that is made is also written, with the time in it.
    let made = snapshot(&bench.cache());
    assert!(!made.is_empty());
    let second = bench.succeeds(&["ask", &notes, "Why does earthenware need a glaze?"]);
    assert!(second.contains("porous"), "{second}");
    for part in ["This answer is extractive", "\nSources\n  1.  ", "notes.md, passage ", "\nAnswered in "] {
        assert!(second.contains(part), "{part}: {second}");
    }
    assert!(snapshot(&bench.cache()) == made, "the index was made again");

    let changed = fs::read_to_string(&notes).expect("there are notes").replace("1,222", "1,234");
    bench.write("notes.md", changed);
    let third = bench.json(&["ask", &notes, CONE, "--json"]);
    assert!(collapsed(&third["answer"]).contains("1,234 °C"), "{third}");
    assert!(!third["sources"].to_string().contains("1,222"), "{third}");
    assert_eq!(count(bench.cache()), 1, "the index is brought up to date");
}

#[test]
fn a_store_of_a_folder_is_searched_asked_and_made_again() {
    let Some(bench) = Bench::new() else { return };
    let docs = bench.path("docs");
    bench.write("docs/pots.md", fs::read(bench.notes()).expect("there are notes"));
    let shop = bench.write("docs/town/shop.txt", "The shop in the old town opens at nine on weekdays.\n");
    let noise = bench.write("docs/noise.pdf", noise(2000));
    bench.write("docs/picture.png", "not a document");
    let store = bench.path("store");
    let search = |query: &str, more: &[&str]| {
        bench.json(&[&["search", "--store", &store, query, "--json"][..], more].concat())
    };

    let (stdout, stderr) = bench.told(&["index", &docs, "--store", &store]);
    assert!(stdout.contains(&format!("passages of 2 documents in {store} ")), "{stdout}");
    assert!(stderr.contains(&format!("note: skipped: {noise}: not a PDF file")), "{stderr}");

    let found = search("Why did the bowl craze?", &["-k", "2"]);
    assert_eq!(rows(&found).len(), 2);
    assert!(found[0]["text"].as_str().is_some_and(|text| text.contains("crazed")), "{found}");
    assert!(found[0]["distance"].as_f64() <= found[1]["distance"].as_f64(), "{found}");
    for field in ["text", "source", "page", "page_end", "chunk_id", "chunk_size", "distance"] {
        assert!(found[0].get(field).is_some(), "{field}: {found}");
    }
    let gone = ["search", "--store", &store, "Why?", "--source", "gone.md"];
    bench.refuses(&gone, &format!("--source gone.md: no such document in the index; expected one of {docs}"));
    let (nothing, notes) = bench.told(&["search", "--store", &store, "Why?", "--page", "7", "--json"]);
    assert!(nothing == "[]\n" && notes.contains("note: no passage is on page 7\n"), "{nothing}{notes}");
    let found = search("Why did the bowl craze?", &["--source", &shop]);
    assert!(rows(&found).len() == 1 && found[0]["source"] == shop, "{found}");

    fs::write(&shop, "The shop in the old town opens at seven on weekdays.\n").expect("it should be written");
    let question = "When does the shop open?";
    bench.write("store/mine.txt", "not Kiln's");
    bench.refuses(&["index", &docs, "--store", &store], "other than a store: it holds mine.txt");
    fs::remove_file(bench.path("store/mine.txt")).expect("it should still be there");
    bench.succeeds(&["index", &docs, "--store", &store, "--quiet"]);
    let answer = bench.json(&["ask", "--store", &store, question, "--json", "--contexts", "1"]);
    assert!(collapsed(&answer["answer"]).contains("opens at seven"), "{answer}");
    assert_eq!(rows(&answer["sources"]).len(), 1);
    assert!(!bench.cache().exists(), "a store needs no cache");
}

#[test]
fn a_history_grows_by_an_entry_a_question() {
    let Some(bench) = Bench::new() else { return };
    let (notes, history) = (bench.notes(), bench.path("history.json"));
    let questions = [CONE, "Is a crazed bowl still usable?"];
    for (question, asked) in questions.into_iter().zip(1..) {
        let answer = bench.json(&["ask", &notes, question, "--json", "--history", &history]);
        let entries = read_json(&history);
        assert_eq!(rows(&entries).len(), asked);
        assert_eq!(entries[asked - 1], answer);
        let fields = answer.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        let expected = [
            "question",
            "answer",
            "method",
            "contexts_used",
            "processing_time",
            "indexing_time",
            "adapter",
            "timestamp",
            "sources",
        ];
        assert_eq!(fields.unwrap_or_default(), expected);
        assert_eq!(answer["indexing_time"].as_f64() > Some(0.0), asked == 1, "{answer}");
    }
    let entries = read_json(&history);
    assert!(rows(&entries).iter().map(|entry| &entry["question"]).eq(&questions));

    for content in ["[{\"question\": \"Why", "{}"] {
        let damaged = bench.write("damaged.json", content);
        bench.refuses(&["ask", &notes, CONE, "--history", &damaged], "damaged.json: not a history file");
        assert_eq!(fs::read_to_string(&damaged).expect("it should still be there"), content);
    }
}

#[test]
fn a_page_that_cannot_be_read_is_named_unless_quiet() {
    let Some(bench) = Bench::new() else { return };
    let question = "How long did the bowls cool?";
    let (first, notes) = bench.told(&["ask", BROKEN, question]);
    assert!(first.contains("the bowls cooled for two days. (p. 4)"), "{first}");
    let named: Vec<&str> = notes.lines().filter(|line| line.contains("broken_page3.pdf")).collect();
    assert_eq!(named.len(), 1, "{notes}");
    assert!(named[0].starts_with(&format!("note: {BROKEN}: skipped page 3, ")), "{notes}");
    assert!(notes.lines().all(|line| line.starts_with("note: ")), "{notes}");

    // The index in the cache remembers.
    assert!(bench.told(&["ask", BROKEN, question]).1.contains("skipped page 3"));
    let (quiet, notes) = bench.told(&["ask", BROKEN, question, "-q"]);
    assert!(quiet.contains("the bowls cooled for two days. (p. 4)"), "{quiet}");
    assert_eq!(notes, "");
}

#[test]
fn wrong_input_is_one_line_with_exit_code_2() {
    let Some(bench) = Bench::new() else { return };
    let notes = bench.notes();
    let noise_alone = bench.write("noise.pdf", noise(3000));
    let noise_with_header = bench.write("headed.pdf", [&b"%PDF-1.7\n"[..], &noise(3000)].concat());
    let missing = bench.path("missing.pdf");

    bench.refuses(&["ask", &noise_alone, CONE, "--json"], "noise.pdf: not a PDF file");
    bench.refuses(&["ask", &noise_with_header, CONE], "headed.pdf: the PDF file is corrupt");
    bench.refuses(&["ask", &notes, &missing, CONE], "missing.pdf: no such file or folder");
    bench.refuses(&["ask", &notes, ""], "the question is empty");
    bench.refuses(&["ask", &notes, CONE, "--contexts", "0"], "0 contexts");
    bench.refuses(&["ask", &notes, CONE, "--adapter", "Voodoo 2"], "unknown adapter \"Voodoo 2\"");
    bench.refuses(&["embed", "text", "--adapter", "99", "--json"], "unknown adapter 99");
    bench.refuses(&["search", "--store", &missing, CONE], "missing.pdf: no store here");
    assert!(!bench.cache().exists(), "an index was made for a question that was refused");
}

#[test]
fn a_damaged_model_is_one_line_with_exit_code_2() {
    let Some(bench) = Bench::new() else { return };
    let (copy, out) = (bench.copy_of_model(&[]), bench.path("out.json"));
    let refuses = |named: &str| {
        bench.refuses(&["embed", "text", "--model", &copy, "--json", "--output", &out], named);
        assert!(!Path::new(&out).exists(), "{named}: an output is left");
    };
    refuses("copy: not a model directory");
    bench.copy_of_model(&["config.json", "tokenizer.json"]);
    refuses("copy: not a model directory: model.safetensors missing");

    let weights = fs::File::open(bench.model.join("model.safetensors")).expect("the weights should be there");
    let mut start = Vec::new();
    weights.take(1 << 20).read_to_end(&mut start).expect("they should be readable");
    bench.write("copy/model.safetensors", start);
    refuses("model.safetensors: truncated: tensor ");
    bench.write("copy/model.safetensors", noise(3000));
    refuses("model.safetensors: not a safetensors file");
}

#[test]
fn a_tokenizer_with_another_vocabulary_is_one_line_with_exit_code_2() {
    let Some(bench) = Bench::new() else { return };
    let copy = bench.copy_of_model(&["config.json", "model.safetensors"]);
    let mut tokenizer = read_json(&bench.model.join("tokenizer.json").to_string_lossy());
    tokenizer["model"]["vocab"]["stoneware"] = 99_999.into();
    bench.write("copy/tokenizer.json", tokenizer.to_string());
    let named = "tokenizer.json: a tokenizer of another model: token \"stoneware\" has id 99999";
    bench.refuses(&["embed", "text", "--model", &copy], named);
}

#[test]
fn the_tokenizer_of_t5_is_one_line_with_exit_code_2() {
    let (Some(bench), Some(t5)) = (Bench::new(), golden::test_data("t5-tokenizer/tokenizer.json")) else {
        return;
    };
    let copy = bench.copy_of_model(&["config.json", "model.safetensors"]);
    bench.write("copy/tokenizer.json", fs::read(t5).expect("it should be readable"));
    bench.refuses(&["embed", "text", "--model", &copy], "tokenizer.json: a tokenizer of another model");
}
