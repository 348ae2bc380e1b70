//! `kiln index`, `kiln search` and `kiln ask` with stores: folders, and collections on a Chroma server.

#[path = "common/bench.rs"]
mod bench;
mod common;

use std::fs;

use bench::Bench;
use common::{assert_refused, kiln, text};
use kiln_tests::chroma::ChromaServer;
use serde_json::Value;

/// Where each kind of store would be for a test: a folder, and a collection where a server can be had.
fn stores(bench: &Bench, server: &Option<ChromaServer>) -> Vec<String> {
    let collection = server.as_ref().map(|server| format!("chroma:{}/papers", server.url()));
    [Some(bench.path("store")), collection].into_iter().flatten().collect()
}

/// Sources, numbers and texts, and apart from them the distances.
fn hits(found: &Value) -> (Vec<(String, u64, String)>, Vec<f64>) {
    let rows = found.as_array().expect("it should be an array");
    let told = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (
        rows.iter()
            .map(|row| (told(row, "source"), row["chunk_id"].as_u64().unwrap_or(99), told(row, "text")))
            .collect(),
        rows.iter().filter_map(|row| row["distance"].as_f64()).collect(),
    )
}

#[test]
fn a_folder_is_indexed_again_as_far_as_it_has_changed() {
    let Some(bench) = Bench::new() else { return };
    let server = ChromaServer::start();
    let docs = bench.path("docs");
    let notes = fs::read(bench.notes()).expect("there are notes");
    for store in stores(&bench, &server) {
        let _ = fs::remove_dir_all(&docs);
        bench.write("docs/pots.md", &notes);
        let shop = bench.write("docs/shop.txt", "The shop in the old town opens at nine on weekdays.\n");
        let index = || bench.told(&["index", &docs, "--store", &store]);
        let question = "When does the shop open?";
        let ask = |paths: &[&str]| {
            let args =
                [&["ask", "--store", &store, "--json", "--answer", "extract"], paths, &[question]].concat();
            let (json, notes) = bench.told(&args);
            let json: Value = serde_json::from_str(&json).expect("it should be JSON");
            (json["answer"].as_str().unwrap_or_default().to_owned(), notes)
        };
        assert!(
            index().0.contains(&format!(" of 2 documents in {store} (2 new, 0 changed, 0 removed, 0 kept; "))
        );
        assert!(index().0.contains("(0 new, 0 changed, 0 removed, 2 kept; "));
        assert!(ask(&[]).0.contains("opens at nine"));

        // A question beside the same folder finds what has changed there, and tells so in a line.
        fs::write(&shop, "The shop in the old town opens at seven on weekdays.\n")
            .expect("it should be written");
        let (answer, notes_told) = ask(&[&docs]);
        assert!(answer.contains("opens at seven"), "{answer}");
        let told = "note: the index is up to date again: 0 new, 1 changed, 0 removed, 1 kept\n";
        assert!(notes_told.contains(told), "{notes_told}");
        let (answer, notes_told) = ask(&[&docs]);
        assert!(
            answer.contains("opens at seven") && !notes_told.contains("up to date"),
            "{answer}{notes_told}"
        );

        // Only beside the same: what a slip of the hand leaves out shall not leave the store.
        bench.refuses(&["ask", "--store", &store, &shop, question], "made from other documents");
        let other = ["ask", "--store", &store, &docs, "--chunk-size", "99", question];
        bench.refuses(&other, "made with other split options");

        fs::rename(&shop, bench.path("docs/new.txt")).expect("it should be renamed");
        fs::remove_file(bench.path("docs/pots.md")).expect("it should be removed");
        let (told, _) = index();
        assert!(told.starts_with("1 passage of 1 document in "), "{told}");
        assert!(told.contains("(0 new, 0 changed, 1 renamed, 1 removed, 0 kept; "), "{told}");
        assert!(ask(&[]).0.contains("opens at seven"));

        // With other options the store is made anew, and that is told.
        let (_, notes_told) = bench.told(&["index", &docs, "--store", &store, "--metric", "cosine"]);
        assert!(
            notes_told.contains("note: the store was made with another model or other options"),
            "{notes_told}"
        );
    }
    let gone = format!("chroma:{}/absent", server.as_ref().map(ChromaServer::url).unwrap_or_default());
    if server.is_some() {
        bench.refuses(&["search", "--store", &gone, "clay"], "/absent: no such collection");
        bench.refuses(&["ask", "--store", &gone, "Why?"], "/absent: no such collection");
    }
}

#[test]
fn both_kinds_of_store_find_the_same() {
    const SAMPLE: &str = "assets/sample/convolutional-networks.pdf";
    let Some(bench) = Bench::new() else { return };
    let server = ChromaServer::start();
    if server.is_none() {
        return;
    }
    let stores = stores(&bench, &server);
    for store in &stores {
        bench.succeeds(&["index", SAMPLE, "--store", store]);
    }
    for (query, more) in [
        ("weight sharing", &[][..]),
        ("Why do deep learning libraries not flip the kernel?", &["-k", "3"]),
        ("pooling", &["--page", "5"]),
    ] {
        let found = |store: &String| {
            hits(&bench.json(&[&["search", "--store", store, query, "--json"][..], more].concat()))
        };
        let ((folder, near), (collection, also_near)) = (found(&stores[0]), found(&stores[1]));
        assert_eq!(folder, collection, "{query}");
        assert!(near.iter().zip(&also_near).all(|(a, b)| (a - b).abs() < 1e-5), "{near:?} {also_near:?}");
        let ask = |store: &String| {
            let args =
                [&["ask", "--store", store, query, "--json", "--answer", "extract"][..], more].concat();
            bench.json(&args)["answer"].clone()
        };
        assert_eq!(ask(&stores[0]), ask(&stores[1]), "{query}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_index_goes_on_where_it_was() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let Some(bench) = Bench::new() else { return };
    let store = bench.path("store");
    let args = ["index", "assets/sample/convolutional-networks.pdf", "--store", &store];
    let mut command = bench.command(&args);
    let child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary should start");
    // The first passages are safe once they are in the file.
    let started = Instant::now();
    let safe = || fs::metadata(bench.path("store/progress")).is_ok_and(|file| file.len() > 1000);
    while !safe() {
        assert!(started.elapsed() < Duration::from_secs(300), "no passage is embedded");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(interrupt.expect("a shell should be there").success());
    let output = child.wait_with_output().expect("it should end");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    bench.refuses(&["search", "--store", &store, "pooling"], "no store here");

    let told = bench.succeeds(&args);
    assert!(told.contains("1 new"), "{told}");
    let left: Vec<_> =
        fs::read_dir(&store).expect("there is a store").map(|it| it.expect("an entry").file_name()).collect();
    assert_eq!(left, ["index.safetensors"]);
}

#[test]
fn a_search_is_measured() {
    let Some(bench) = Bench::new() else { return };
    let args = ["bench", "search", "--passages", "300", "--samples", "2", "--warmup", "0"];
    let report = bench.json(&[&args[..], &["--json"]].concat());
    assert_eq!(
        (&report["passages"], &report["dim"], &report["samples"]),
        (&300.into(), &384.into(), &2.into())
    );
    let time = |what: &str| report[what]["median_ms"].as_f64().expect("a time");
    assert!(
        time("embedding") > 0.0 && time("searching") > 0.0 && time("total") > time("embedding"),
        "{report}"
    );
    // Embeddings as f32 and texts of some 450 bytes, each once with its document and once as a passage.
    assert!(report["memory"]["host"].as_u64() > Some(300 * (4 * 384 + 2 * 450)), "{report}");
    assert!(report["memory"]["device"].as_u64() >= Some(300 * 4 * 384), "{report}");
    let told = bench.succeeds(&args);
    assert!(told.starts_with("300 passages of 384 values, all-MiniLM-L6-v2\n"), "{told}");
}

#[test]
fn servers_that_are_none_are_told_of_in_a_line() {
    let folder = tempfile::tempdir().expect("a folder should be made");
    let notes = folder.path().join("notes.md");
    fs::write(&notes, "Clay goes in.\n").expect("it should be written");
    let notes = notes.to_str().expect("the path should be text");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let down = format!("chroma:http://{}/papers", listener.local_addr().expect("an address"));
    drop(listener);
    for args in [
        &["index", notes, "--store", &down][..],
        &["search", "clay", "--store", &down],
        &["ask", notes, "Why?", "--store", &down],
    ] {
        let output = kiln(args).output().expect("the binary should start");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("no Chroma server answers (connection refused)"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    for (store, named) in [
        ("chroma:papers", "not an address"),
        ("chroma:http://localhost:8000", "no collection is named"),
        ("chroma:http://localhost:8000/a", "cannot be a collection"),
        ("", "expected a folder"),
    ] {
        let output = kiln(&["search", "clay", "--store", store]).output().expect("the binary should start");
        assert_refused(&output, named, store);
    }
}
