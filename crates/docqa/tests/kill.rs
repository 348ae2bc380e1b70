//! Processes that are killed at a random moment, while they save a store or make an index.

mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use kiln_docqa::index::Index;
use kiln_docqa::store::{Filter, MemoryStore, StoreLocation, VectorStore};
use kiln_tests::chroma::ChromaServer;
use support::{Words, host, on, options, sentence, text, vector};

/// Tells the test that is to be killed where to work, and with which store.
const FOLDER: &str = "KILN_TEST_KILL";
const STORE: &str = "KILN_TEST_KILL_STORE";
const READY: &[u8] = b"ready";

/// Times from nothing to `most`, by an integer hash.
fn moments(most: Duration) -> impl Iterator<Item = Duration> {
    (1_u64..).map(move |number| {
        let state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        most.mul_f64((state >> 11) as f64 / (1_u64 << 53) as f64)
    })
}

/// Runs one of the tests below in a process of its own.
fn child(test: &str, folder: &Path, store: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder).env(STORE, store);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Tells the test that it may kill from now on.
fn say(word: &[u8]) {
    let mut out = std::io::stdout();
    out.write_all(word).and_then(|()| out.flush()).unwrap();
}

/// Kills a process some time after it has said that it is ready; whether it was still there.
fn kill_after(mut child: Child, time: Duration) -> bool {
    let mut out = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(READY) {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).unwrap(), 1, "it should get going");
        seen.push(byte[0]);
    }
    thread::sleep(time);
    let was_there = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    was_there
}

/// What a store says of itself and holds.
fn open(location: &StoreLocation) -> Index {
    Index::open(location.open(host(), None).unwrap())
}

/// Saves a store under one name after the other until it is killed.
#[test]
#[ignore = "runs in a process that is killed"]
fn saves_without_end() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut store = MemoryStore::open(&folder.join("store"), host()).unwrap();
    let mut about = store.about().unwrap().clone();
    say(READY);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let saved: u64 = about.created.parse().unwrap_or(0);
        about.created = (saved + 1).to_string();
        store.set_about(about.clone()).unwrap();
        store.save().unwrap();
    }
}

#[test]
fn a_store_being_saved_always_opens() {
    const KILLS: usize = 20;
    // Most of the time goes to what is to be written, so it takes some luck to be killed while it is.
    const MOST: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::Folder(folder.path().join("store"));
    fs::write(folder.path().join("a.md"), text(0..1500)).unwrap();
    let mut index = Index::open(location.open_or_create(host(), None).unwrap());
    index.update(&[folder.path().join("a.md")], &options(), &mut Words::new(), &mut on).unwrap();
    let wanted = index.search(&vector(&sentence(3)), 9, &Filter::default()).unwrap();
    let (mut saved, mut left) = (0, 0);
    for (kill, time) in moments(Duration::from_millis(300)).take(MOST).enumerate() {
        if kill >= KILLS && left > 0 && saved > 3 {
            break;
        }
        kill_after(child("saves_without_end", folder.path(), ""), time);
        let mut index = open(&location);
        assert_eq!(index.search(&vector(&sentence(3)), 9, &Filter::default()).unwrap(), wanted);
        let now: u64 = index.created().parse().unwrap_or(0);
        assert!(now >= saved, "kill {kill}: saved {now} times, after {saved}");
        saved = now;
        location.check_target().unwrap();
        let names =
            fs::read_dir(folder.path().join("store")).unwrap().map(|entry| entry.unwrap().file_name());
        left = names.filter(|name| name.to_string_lossy().starts_with('.')).count();
    }
    assert!(saved > 3, "the processes should have saved something: {saved} times");
    assert!(left > 0, "one should have been killed while it saved");
}

/// Makes an index until it is killed or done. What it has embedded is the length of a file.
#[test]
#[ignore = "runs in a process that is killed"]
fn indexes_until_done() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let location: StoreLocation = env::var(STORE).unwrap().parse().unwrap();
    let mut words = Words { pause: Duration::from_millis(1), ..Words::new() };
    say(READY);
    index(&location, &folder, &mut words);
}

fn index(location: &StoreLocation, folder: &Path, words: &mut Words) -> Index {
    let store = location.open_or_create(host(), Some(&folder.join("progress"))).unwrap();
    let mut index = Index::open(store);
    index.update(&[folder.join("docs")], &options(), words, &mut on).unwrap();
    index
}

/// Kills the making of an index again and again, and compares what comes of it with one that was left in peace.
fn is_the_same_after_kills(location: &StoreLocation, folder: &Path) {
    const PASSAGES: usize = 1200;
    const PART: usize = 64;
    fs::create_dir(folder.join("docs")).unwrap();
    for (file, range) in [("a.md", 0..500), ("b.md", 500..900), ("c.md", 900..PASSAGES)] {
        fs::write(folder.join("docs").join(file), text(range)).unwrap();
    }
    // A text takes a millisecond, so the making takes longer than the longest of these lives.
    let mut kills = 0;
    for time in moments(Duration::from_millis(600)).take(6) {
        kills += usize::from(kill_after(child("indexes_until_done", folder, &location.to_string()), time));
    }
    assert!(kills >= 3, "they should have been killed in between");
    let mut words = Words::new();
    let mut made = index(location, folder, &mut words);
    let changes = *made.changes().unwrap();
    assert!(
        words.embedded < PASSAGES - PART && changes.embedded == words.embedded,
        "something should have been there already: {changes:?}"
    );
    let peace = StoreLocation::Folder(folder.join("peace"));
    let mut wanted = index(&peace, folder, &mut Words::new());
    assert_eq!(made.passages(), PASSAGES);
    assert_eq!(made.records(), wanted.records());
    for number in (0..PASSAGES).step_by(111) {
        let query = vector(&sentence(number));
        let [got, expected] =
            [&mut made, &mut wanted].map(|index| index.search(&query, 3, &Filter::default()).unwrap());
        let places = |hits: &[kiln_docqa::store::Hit]| {
            hits.iter().map(|hit| (hit.chunk.source.clone(), hit.chunk.chunk_id)).collect::<Vec<_>>()
        };
        assert_eq!(places(&got), places(&expected), "{number}");
    }
    for record in wanted.records().to_vec() {
        assert_eq!(made.document(&record.source).unwrap(), wanted.document(&record.source).unwrap());
    }
    // Nothing is left to do, and nothing is left behind.
    let mut words = Words::new();
    assert!(index(location, folder, &mut words).changes().unwrap().is_empty());
    assert_eq!(words.embedded, 0);
    assert_eq!(fs::read_dir(folder.join("progress")).map_or(0, Iterator::count), 0);
}

#[test]
fn an_index_killed_again_and_again_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    is_the_same_after_kills(&StoreLocation::Folder(folder.path().join("store")), folder.path());
}

#[test]
fn a_collection_killed_again_and_again_comes_to_the_same() {
    let Some(server) = ChromaServer::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let location = format!("chroma:{}/killed", server.url()).parse().unwrap();
    is_the_same_after_kills(&location, folder.path());
}
