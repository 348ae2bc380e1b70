//! A server over a socket, with a service that computes nothing: it does as the question says.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_serve::{
    About, Class, Classes, DocumentInfo, Duty, Failure, Job, Model, Options, Reply, Server, Service, Source,
    Upload,
};
use serde_json::Value;

/// A test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the service was asked to do and how that ended, one line each.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn note(&self, line: impl Into<String>) {
        self.0.lock().expect("nobody panics with it").push(line.into());
    }

    /// Waits until there is such a line.
    #[track_caller]
    pub(crate) fn wait(&self, line: &str) {
        let begun = Instant::now();
        while !self.lines().iter().any(|noted| noted == line) {
            assert!(begun.elapsed() < PATIENCE, "{line:?} should come to be among {:?}", self.lines());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads files as text, answers with the number of questions so far and the documents' beginnings. `wait` waits until it is
/// cancelled or let go, `panic` panics, `fail` fails.
struct Fake {
    diary: Diary,
    go: Arc<AtomicBool>,
}

#[derive(Default)]
struct Room {
    documents: Vec<(String, String)>,
    asked: usize,
    diary: Diary,
}

impl Drop for Room {
    fn drop(&mut self) {
        for (name, _) in &self.documents {
            self.diary.note(format!("forgot {name}"));
        }
    }
}

impl Service for Fake {
    type Room = Room;

    fn read(
        &mut self,
        room: &mut Room,
        documents: &[Upload],
        job: &Job,
    ) -> Result<Vec<DocumentInfo>, Failure> {
        let mut read = Vec::new();
        for (at, upload) in documents.iter().enumerate() {
            self.diary.note(format!("read {}", upload.name()));
            self.diary.note(format!("at {}", upload.path().display()));
            let bytes = std::fs::read(upload.path()).expect("an upload should be there");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.starts_with("bad") {
                return Err(Failure::Input(format!("{}: there is no text in it", upload.name())));
            }
            job.progress("passages", at + 1, documents.len());
            read.push((upload.name().to_owned(), text));
        }
        room.documents = read;
        room.diary = self.diary.clone();
        let info = |(name, text): &(String, String)| DocumentInfo {
            name: name.clone(),
            pages: text.starts_with("%PDF").then_some(3),
            passages: text.len(),
            notices: if text.contains("scanned") { vec!["page 2 cannot be read".into()] } else { vec![] },
        };
        Ok(room.documents.iter().map(info).collect())
    }

    fn ask(&mut self, room: &mut Room, question: &str, job: &Job) -> Result<Reply, Failure> {
        self.diary.note(format!("ask {question}"));
        match question {
            "wait" => {
                job.step("waiting to be let go");
                while !self.go.load(Ordering::SeqCst) {
                    if let Err(failure) = job.check() {
                        self.diary.note("cancelled wait");
                        return Err(failure);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            "panic" => panic!("the question says so"),
            "fail" => return Err(Failure::Machine("the device is gone".into())),
            _ => {}
        }
        room.asked += 1;
        let answer = format!("This is answer {} to <b>{question}</b>.", room.asked);
        for piece in answer.split_inclusive(' ') {
            if job.text(piece) == ControlFlow::Break(()) {
                return Err(Failure::Cancelled);
            }
        }
        let sources = room.documents.iter().enumerate().map(|(at, (name, text))| Source {
            document: name.clone(),
            page: text.starts_with("%PDF").then_some(2),
            page_end: None,
            passage: at,
            distance: 0.25,
            text: text.chars().take(200).collect(),
        });
        let model = question.starts_with("Write").then(|| "flan-t5-small".into());
        let notices = vec!["two sentences did not fit".into()];
        Ok(Reply { answer, model, notices, sources: sources.collect(), seconds: 0.25 })
    }

    fn reset(&mut self, room: &mut Room) {
        room.asked = 0;
    }

    fn classify(&mut self, picture: &Upload, job: &Job) -> Result<Classes, Failure> {
        self.diary.note(format!("classify {}", picture.name()));
        job.step("loading a made-up network");
        let size = std::fs::metadata(picture.path()).expect("an upload should be there").len();
        if size < 20 {
            return Err(Failure::Input(format!("{}: the picture is cut off", picture.name())));
        }
        let labels = ["teapot", "coffee mug", "pitcher", "vase", "cup"];
        let shares = [0.62, 0.21, 0.08, 0.05, 0.0001];
        let class = |(label, probability): (&str, f64)| Class { label: label.into(), probability };
        let classes = labels.into_iter().zip(shares).map(class).collect();
        Ok(Classes { model: "made-up".into(), classes, seconds: 0.5 })
    }
}

/// A server that runs until it goes out of scope.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) diary: Diary,
    /// Lets questions go that wait.
    pub(crate) go: Arc<AtomicBool>,
    /// The models that it says are there.
    pub(crate) present: Arc<AtomicBool>,
    agent: ureq::Agent,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn new() -> Running {
        Running::with(Options { port: 0, ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Running {
        let server = Server::bind(options).expect("a port should be free");
        let (url, address) = (server.url(), server.address());
        let (diary, go, stop) =
            (Diary::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let present = Arc::new(AtomicBool::new(true));
        let service = Fake { diary: diary.clone(), go: Arc::clone(&go) };
        let about = {
            let present = Arc::clone(&present);
            move || about(present.load(Ordering::SeqCst))
        };
        let stopped = {
            let stop = Arc::clone(&stop);
            move || stop.load(Ordering::SeqCst)
        };
        let thread = std::thread::spawn(move || {
            server.run(service, about, stopped).expect("the server should end well");
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = ureq::Agent::new_with_config(config.build());
        Running { url, address, diary, go, present, agent, stop, thread: Some(thread) }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server should end well");
        }
    }

    /// A request with headers; the body stays to be read.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> ureq::http::Response<ureq::Body> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!(
            "{}{}",
            self.url.trim_end_matches('/'),
            path
        ));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("it should be a request");
        self.agent.run(request).expect("the server should answer")
    }

    /// The status, and the body as JSON.
    pub(crate) fn json(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut response = self.request(method, path, &[], body);
        let text = response.body_mut().read_to_string().expect("the answer should be text");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (response.status().as_u16(), value)
    }

    /// The path of a new room.
    pub(crate) fn room(&self) -> String {
        let (status, opened) = self.json("POST", "/api/rooms", b"");
        assert_eq!(status, 200, "{opened}");
        format!("/api/rooms/{}", opened["room"].as_str().expect("a room has a name"))
    }

    /// The path of a new room with a document.
    pub(crate) fn room_with(&self, name: &str, text: &str) -> String {
        let room = self.room();
        let events = self.all(&format!("{room}/documents?name={name}"), text.as_bytes());
        assert_eq!(events.last().map(|event| &event["event"]), Some(&"documents".into()), "{events:?}");
        room
    }

    /// Posts, and takes the events as they come.
    pub(crate) fn events(&self, path: &str, body: &[u8]) -> Events {
        let response = self.request("POST", path, &[], body);
        assert_eq!(response.status(), 200, "{path}");
        Events(Box::new(BufReader::new(response.into_body().into_reader())))
    }

    /// Posts, and waits for all events.
    pub(crate) fn all(&self, path: &str, body: &[u8]) -> Vec<Value> {
        self.events(path, body).collect()
    }

    /// Asks, and takes the events as they come.
    pub(crate) fn ask(&self, room: &str, question: &str) -> Events {
        let body = serde_json::json!({ "question": question }).to_string();
        self.events(&format!("{room}/questions"), body.as_bytes())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            // A test that fails already must not fail twice.
            assert!(outcome.is_ok() || std::thread::panicking(), "the server should end well");
        }
    }
}

/// The events of a job. Dropped early, the connection is closed.
pub(crate) struct Events(Box<dyn BufRead + Send>);

impl Events {
    /// Waits for an event of this kind.
    #[track_caller]
    pub(crate) fn wait(&mut self, kind: &str) -> Value {
        let found = self.find(|event| event["event"] == kind);
        found.unwrap_or_else(|| panic!("there should be an event {kind}"))
    }
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        // A server that stops may cut the line.
        let read = self.0.by_ref().read_line(&mut line).unwrap_or_default();
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}

fn about(present: bool) -> About {
    let model = |duty, name: &str| Model {
        duty,
        name: name.into(),
        present,
        fetch: Some(format!("kiln models fetch {name}")),
    };
    About {
        adapter: "a made-up device".into(),
        software: true,
        models: vec![
            model(Duty::Retrieval, "all-MiniLM-L6-v2"),
            model(Duty::Writing, "flan-t5-small"),
            model(Duty::Pictures, "vgg16.tv_in1k"),
        ],
    }
}
