//! What is kept and how, and servers that misbehave. A real server is asked in `tests/chroma.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::store::tests::{about, documents, unit};

/// What a scripted server does with a request.
enum Answer {
    Json(u16, Value),
    Text(u16, &'static str),
    /// Nothing, for so long.
    Silence(Duration),
    /// The connection ends.
    HangUp,
}

/// A server of a few lines on a local port; its thread ends with the test process.
struct Server {
    url: String,
    /// `METHOD path`, one after the other.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` gets the method, the path and the body.
    fn start(mut answer: impl FnMut(&str, &str, &Value) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some((method, path, body)) = read(&stream) else { continue };
                told.lock().unwrap().push(format!("{method} {path}"));
                // A client that has gone is no concern of the server's.
                let _ = match answer(&method, &path, &body) {
                    Answer::Json(status, json) => write(&stream, status, &json.to_string()),
                    Answer::Text(status, text) => write(&stream, status, text),
                    Answer::Silence(time) => {
                        std::thread::sleep(time);
                        Ok(())
                    }
                    Answer::HangUp => Ok(()),
                };
            }
        });
        Self { url, seen }
    }

    fn address(&self) -> ChromaAddress {
        format!("{}/papers", self.url).parse().unwrap()
    }

    fn connect(&self) -> Result<ChromaStore, DocqaError> {
        ChromaStore::connect(&self.address(), &hasty())
    }

    #[track_caller]
    fn refuses(&self) -> String {
        told(self.connect().err().expect("it should be refused"), &self.url)
    }
}

/// As a message, which is one line that names the server.
#[track_caller]
fn told(error: DocqaError, url: &str) -> String {
    let message = error.to_string();
    assert!(!message.contains('\n') && message.contains(url), "{message}");
    message
}

fn hasty() -> ChromaOptions {
    ChromaOptions {
        connect: Duration::from_millis(400),
        answer: Duration::from_millis(400),
        ..ChromaOptions::default()
    }
}

fn read(stream: &TcpStream) -> Option<(String, String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_string);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(number) = line.strip_prefix("content-length:") {
            length = number.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, serde_json::from_slice(&body).unwrap_or_default()))
}

fn write(mut stream: &TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// The answers of a sound server whose one collection has this metadata and dimension.
fn sound(metadata: Value, dimension: Value) -> impl Fn(&str, &str) -> Answer {
    move |_, path| {
        let json = match path.rsplit('/').next() {
            Some("heartbeat") => json!({ "nanosecond heartbeat": 1 }),
            Some("papers") => json!({ "id": "c-1", "metadata": metadata, "dimension": dimension }),
            Some("count") => json!(0),
            _ => json!({ "ids": [], "documents": null, "metadatas": [], "embeddings": null }),
        };
        Answer::Json(200, json)
    }
}

fn kilns() -> Value {
    record::metadata_of(&about(Metric::SquaredL2)).into()
}

#[test]
fn a_server_that_is_down_is_told_of() {
    // Nobody listens on the port of a listener that has gone.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ChromaStore::connect(&format!("{url}/papers").parse().unwrap(), &hasty()).err().unwrap();
    assert!(!error.is_input_error());
    let message = told(error, &url);
    assert_eq!(
        message,
        format!("{url}: no Chroma server answers (connection refused); is one running (`chroma run`)?")
    );
}

#[test]
fn a_slow_server_is_waited_for_no_longer_than_said() {
    let server = Server::start(|_, _, _| Answer::Silence(Duration::from_secs(5)));
    let started = Instant::now();
    assert!(server.refuses().ends_with("the Chroma server has not answered within 0.4 s"));
    assert!(started.elapsed() < Duration::from_secs(3));
    // One that was quick at first is not waited for longer.
    let sound = sound(kilns(), Value::Null);
    let server = Server::start(move |method, path, _| match path.ends_with("/query") {
        true => Answer::Silence(Duration::from_secs(5)),
        false => sound(method, path),
    });
    let mut store = server.connect().unwrap();
    store.records.push(documents(&[("a", 1)])[0].record.clone());
    let error = store.search(&unit(0.0), 1, &Filter::default()).unwrap_err();
    assert!(told(error, &server.url).ends_with("has not answered within 0.4 s"));
}

#[test]
fn what_is_no_chroma_server_is_told_apart() {
    for (answer, reason) in [
        (|| Answer::Text(404, "<h1>Not found</h1>"), "it answers 404 to GET /api/v2/heartbeat"),
        (|| Answer::Text(200, "<h1>Welcome</h1>"), "it answers GET /api/v2/heartbeat, but not with JSON"),
        (|| Answer::Json(200, json!({ "heartbeat": true })), "its heartbeat is not one"),
        (|| Answer::Text(410, "the v1 API is deprecated"), "it answers 410 to GET"),
    ] as [(fn() -> Answer, &str); 4]
    {
        let server = Server::start(move |_, _, _| answer());
        assert!(server.connect().err().unwrap().is_input_error());
        let message = server.refuses();
        assert!(message.contains(&format!(": not a Chroma server: {reason}")), "{message}");
    }
    let server = Server::start(|_, _, _| Answer::HangUp);
    assert!(server.refuses().contains(": no answer from the Chroma server: "));
}

#[test]
fn what_the_server_says_of_a_failure_is_passed_on() {
    let failing = json!({ "error": "InternalError", "message": "the disk\n\u{1b}is full" });
    let server = Server::start(move |_, _, _| Answer::Json(500, failing.clone()));
    assert!(!server.connect().err().unwrap().is_input_error());
    assert!(server.refuses().ends_with(": the Chroma server answers 500: the disk is full"));
    let server = Server::start(|_, _, _| Answer::Text(503, ""));
    assert!(server.refuses().ends_with(": the Chroma server answers 503"));

    let missing = json!({ "error": "NotFoundError", "message": "Database [library] not found" });
    let sound = sound(kilns(), Value::Null);
    let server = Server::start(move |method, path, _| match path.ends_with("/papers") {
        true => Answer::Json(404, missing.clone()),
        false => sound(method, path),
    });
    assert!(server.refuses().ends_with("answers 404: Database [library] not found"));
}

#[test]
fn a_collection_that_is_not_there_is_no_error_until_it_is_asked() {
    let missing = json!({ "error": "NotFoundError", "message": "Collection [papers] does not exist" });
    let sound = sound(kilns(), Value::Null);
    let server = Server::start(move |method, path, _| match path.ends_with("/papers") {
        true => Answer::Json(404, missing.clone()),
        false => sound(method, path),
    });
    let mut store = server.connect().unwrap();
    assert!(store.about().is_none() && store.records().is_empty());
    assert!(store.search(&unit(0.0), 1, &Filter::default()).unwrap().is_empty());
    let location = crate::store::StoreLocation::Chroma(server.address());
    let message = told(location.check_present().unwrap_err(), &server.url);
    assert_eq!(
        message,
        format!("chroma:{}/papers: no such collection; make it with `kiln index`", server.url)
    );
    location.check_target().unwrap();
}

#[test]
fn somebody_elses_collection_is_left_alone() {
    for (metadata, dimension, reason) in [
        (Value::Null, Value::Null, "its metadata has no kiln_format"),
        (json!({ "owner": "me" }), json!(2), "its metadata has no kiln_format"),
        (json!({ "kiln_format": "kiln-collection/9" }), json!(2), "its format is \"kiln-collection/9\""),
        (json!({ "kiln_format": "kiln-collection/1" }), json!(2), "its metadata has no proper kiln_about"),
        (kilns(), json!(768), "its embeddings have 768 values, and it says that they have 2"),
    ] {
        let sound = sound(metadata, dimension);
        let server = Server::start(move |method, path, _| sound(method, path));
        assert!(server.connect().err().unwrap().is_input_error());
        let message = server.refuses();
        assert!(
            message.contains(&format!(": not a collection that Kiln made: {reason}"))
                && message.ends_with("; it is left alone"),
            "{message}"
        );
        let seen = server.seen.lock().unwrap();
        assert!(seen.iter().all(|request| request.starts_with("GET ")), "{seen:?}");
    }
}

#[test]
fn embeddings_of_another_length_are_not_sent() {
    let sound = sound(kilns(), json!(2));
    let server = Server::start(move |method, path, _| sound(method, path));
    let mut store = server.connect().unwrap();
    store.records.push(documents(&[("a", 1)])[0].record.clone());
    let message = store.search(&[1.0, 0.0, 0.0], 1, &Filter::default()).unwrap_err().to_string();
    assert_eq!(message, "embedding 0: expected 2 values, got 3");
    let mut wrong = documents(&[("b", 2)]);
    wrong[0].embeddings[1].push(1.0);
    assert_eq!(store.put(wrong).unwrap_err().to_string(), "embedding 1: expected 2 values, got 3");
    let seen = server.seen.lock().unwrap();
    assert!(!seen.iter().any(|request| request.contains("query") || request.contains("upsert")), "{seen:?}");
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    for (answer, reason) in [
        (json!({ "ids": ["1"], "metadatas": [] }), "the answer has 0 values for 1 records"),
        (json!({ "ids": ["1"], "metadatas": [{ "passages": 3 }] }), "passage 1: there is no source"),
        (
            json!({ "ids": ["1"], "metadatas": [{ "source": "a", "sha256": "", "passages": 1_u64 << 40 }] }),
            "passage 1: passages cannot be 1099511627776",
        ),
        (json!("ids"), "the answer is not understood"),
    ] {
        let sound = sound(kilns(), Value::Null);
        let server = Server::start(move |method, path, _| match path.ends_with("/get") {
            true => Answer::Json(200, answer.clone()),
            false => sound(method, path),
        });
        let message = server.refuses();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_server_that_goes_on_giving_the_same_is_not_asked_for_ever() {
    let sound = sound(kilns(), Value::Null);
    let server = Server::start(move |method, path, body| match path.ends_with("/get") {
        true => {
            let ids = vec!["1"; body["limit"].as_u64().unwrap_or_default() as usize];
            Answer::Json(200, json!({ "ids": ids }))
        }
        false => sound(method, path),
    });
    assert!(server.refuses().ends_with("the answer to `get` is not the part that was asked for"));
}

#[test]
fn whatever_stands_for_a_digest_tells_versions_apart() {
    let record = |sha256: &str| Record { sha256: sha256.into(), ..documents(&[("a", 1)])[0].record.clone() };
    assert_eq!(record::revision(&record(&"0123456789".repeat(4))), "0123456789012345");
    // A server may give anything.
    for odd in ["", "short", "fifteen bytes..ö and more"] {
        assert_eq!(record::revision(&record(odd)), odd);
    }
}

#[test]
fn documents_come_back_from_their_passages() {
    for indexed in documents(&[("a.pdf", 5), ("ö/b.md", 1)]) {
        let passages: Vec<Passage> = record::passages(&indexed)
            .into_iter()
            .map(|passage| {
                let metadata = passage.metadata().as_object().unwrap().clone();
                let (id, text) = (passage.id(), passage.chunk.text.clone());
                assert!(
                    metadata.values().all(|value| value.is_string() || value.is_number()),
                    "{metadata:?}"
                );
                let back = Passage::of(Fetched { id, text, metadata, embedding: Vec::new() }).unwrap();
                assert_eq!(back, passage);
                back
            })
            .collect();
        assert_eq!(record::document(&indexed.record, &passages).unwrap(), *indexed.document);
        assert!(record::document(&indexed.record, &passages[1..]).is_err());
        let ids: HashSet<String> = passages.iter().map(Passage::id).collect();
        assert_eq!(ids.len(), passages.len());
    }
}

#[test]
fn passages_that_overlap_are_joined_once() {
    let mut indexed = documents(&[("a", 1)]).remove(0);
    let text = "one two three four five six";
    let chunk = |chunk_id: usize, range: std::ops::Range<usize>| crate::chunk::Chunk {
        text: text[range.clone()].into(),
        chunk_id,
        start: range.start,
        ..indexed.chunks[0].clone()
    };
    // One lies within another, as small overlaps may.
    let chunks = vec![chunk(0, 0..13), chunk(1, 4..13), chunk(2, 8..18), chunk(3, 19..23)];
    indexed.chunks = chunks;
    indexed.document = Arc::new(Document { text: text.into(), ..(*indexed.document).clone() });
    indexed.record.passages = 4;
    let passages = record::passages(&indexed);
    assert_eq!(record::document(&indexed.record, &passages).unwrap().text, text);
    let mut torn = passages.clone();
    torn[3].chunk.start = 40;
    assert!(record::document(&indexed.record, &torn).unwrap_err().contains("passage 3 is not at its place"));
}

#[test]
fn filters_are_put_in_the_servers_words() {
    let condition = |filter: Filter| record::condition_of(&filter);
    assert_eq!(condition(Filter::default()), None);
    assert_eq!(condition(Filter::default().source("a")), Some(json!({ "source": "a" })));
    let pages = [json!({ "page": { "$lte": 4 } }), json!({ "page_end": { "$gte": 3 } })];
    assert_eq!(condition(Filter::default().pages(3..=4)), Some(json!({ "$and": pages })));
    let all = condition(Filter::default().source("a").pages(3..=4)).unwrap();
    assert_eq!(all["$and"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_document_that_is_replaced_is_without_a_head_until_it_is_whole() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (told, sound) = (Arc::clone(&bodies), sound(kilns(), Value::Null));
    let server = Server::start(move |method, path, body| {
        if method == "POST" && !path.ends_with("/get") {
            told.lock()
                .unwrap()
                .push((path.rsplit('/').next().unwrap_or_default().to_string(), body.clone()));
        }
        sound(method, path)
    });
    let mut store = server.connect().unwrap();
    store.put(documents(&[("a", 3)])).unwrap();
    let head = store.heads["a"].clone();
    bodies.lock().unwrap().clear();
    store.put(documents(&[("a", 2)])).unwrap();
    store.remove(&["a".into()]).unwrap();
    let bodies = bodies.lock().unwrap();
    let methods: Vec<&str> = bodies.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(methods, ["delete", "upsert", "delete", "upsert", "delete", "delete"]);
    let has_head = |at: usize| bodies[at].1["metadatas"][0].get(record::PASSAGES).is_some();
    assert_eq!(bodies[0].1, json!({ "ids": [head] }), "the head goes first");
    assert!(!has_head(1) && has_head(3), "and comes last");
    assert_eq!(bodies[2].1["where"]["$and"][0], json!({ "source": { "$in": ["a"] } }));
    assert_eq!(bodies[4].1, json!({ "ids": [head] }));
    assert_eq!(bodies[5].1, json!({ "where": { "source": { "$in": ["a"] } } }));
}
