//! The requests and their answers.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::event::Event;
use crate::files;
use crate::guard::{Guard, SAFETY};
use crate::queue::{Queue, Refused};
use crate::rooms::{MOST_ROOMS, Room, RoomId, RoomState, Rooms};
use crate::service::{About, Failure, Upload};
use crate::upload::{self, Expected};
use crate::worker::{MOST_DOCUMENTS, Task, too_many};

/// Characters of a question. Models read a few hundred words.
const LONGEST_QUESTION: usize = 4000;
/// Bytes of a request that is no upload.
const LARGEST_REQUEST: usize = 64 * 1024;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) queue: Arc<Queue<Task>>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) about: Box<dyn Fn() -> About + Send + Sync>,
    pub(crate) guard: Guard,
    pub(crate) max_upload: u64,
    /// Where pictures lie until they are classified.
    pub(crate) pictures: PathBuf,
    pub(crate) picture: AtomicU64,
}

type Shared = State<Arc<App>>;

/// A request that gets no answer: a status, and one line for a person.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        let message = match refused {
            Refused::Full => "too many jobs wait already; try again in a moment",
            Refused::Closed => "the server is stopping",
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// All routes, guarded.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for &(path, kind, text) in files::FILES {
        router = router.route(path, files::route(kind, text));
    }
    router
        .route("/api/about", get(about))
        .route("/api/rooms", post(open_room))
        .route("/api/rooms/{room}", get(show_room))
        .route("/api/rooms/{room}/documents", post(add_document))
        .route("/api/rooms/{room}/documents/{document}", delete(remove_document))
        .route("/api/rooms/{room}/questions", post(ask))
        .route("/api/rooms/{room}/turns", delete(reset))
        .route("/api/pictures", post(classify))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this is not done here")
        })
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Lets requests through that the guard lets through, and puts on answers what every one of them bears.
async fn guard(State(app): Shared, request: Request, next: Next) -> Response {
    let mut response = match app.guard.check(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let status = response.status();
    let is_json =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/json");
    if status.is_client_error() && !is_json {
        // What the router refuses by itself, it refuses in words of its own.
        let reason = status.canonical_reason().unwrap_or("not understood");
        response = Refusal::new(status, format!("the request is refused: {reason}")).into_response();
    }
    let headers = response.headers_mut();
    for (name, value) in SAFETY {
        headers.insert(name, value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn about(State(app): Shared) -> Json<Value> {
    let about = (app.about)();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "adapter": about.adapter,
        "software": about.software,
        "models": about.models,
        "max_upload": app.max_upload,
        "max_documents": MOST_DOCUMENTS,
        "max_question": LONGEST_QUESTION,
    }))
}

async fn open_room(State(app): Shared) -> Result<Json<Value>, Refusal> {
    let id = app.rooms.open().map_err(|error| {
        log::error!("no folder for uploads: {error}");
        Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "the server has no room for uploads")
    })?;
    Ok(Json(json!({ "room": id.to_string() })))
}

async fn show_room(State(app): Shared, Path(room): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(shown(&app.room(&room)?.lock()))
}

async fn reset(State(app): Shared, Path(room): Path<String>) -> Result<Json<Value>, Refusal> {
    let room = app.room(&room)?;
    let mut state = room.lock();
    state.turns.clear();
    state.epoch += 1;
    Ok(shown(&state))
}

fn shown(state: &RoomState) -> Json<Value> {
    Json(json!({ "documents": state.documents, "revision": state.revision, "turns": state.turns }))
}

/// The name that goes with an upload.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

async fn add_document(
    State(app): Shared,
    Path(room): Path<String>,
    Query(Named { name }): Query<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let room = app.room(&room)?;
    if room.lock().documents.len() >= MOST_DOCUMENTS {
        return Err(Refusal::new(StatusCode::CONFLICT, too_many().to_string()));
    }
    let name = upload::shown_name(&name);
    let file = app.receive(&headers, body, room.next_file(), &name, Expected::Document).await?;
    app.start(Task::Add { room, name, file })
}

async fn remove_document(
    State(app): Shared,
    Path((room, document)): Path<(String, u64)>,
) -> Result<Response, Refusal> {
    let room = app.room(&room)?;
    app.start(Task::Remove { room, document })
}

#[derive(Deserialize)]
struct Asked {
    question: String,
}

async fn ask(State(app): Shared, Path(room): Path<String>, body: Bytes) -> Result<Response, Refusal> {
    let room = app.room(&room)?;
    let unsound = |status, message: String| Err(Refusal::new(status, message));
    let Ok(Asked { question }) = serde_json::from_slice(&body) else {
        return unsound(StatusCode::BAD_REQUEST, "expected JSON: {\"question\": \"...\"}".into());
    };
    let question = question.trim().to_owned();
    let length = question.chars().count();
    if length == 0 {
        return unsound(StatusCode::UNPROCESSABLE_ENTITY, "the question is empty".into());
    }
    if length > LONGEST_QUESTION {
        let message = format!("the question has {length} characters; at most {LONGEST_QUESTION} are taken");
        return unsound(StatusCode::UNPROCESSABLE_ENTITY, message);
    }
    if room.lock().documents.is_empty() {
        return unsound(StatusCode::CONFLICT, "there is no document to ask about".into());
    }
    app.start(Task::Ask { room, question })
}

async fn classify(
    State(app): Shared,
    Query(Named { name }): Query<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let name = upload::shown_name(&name);
    let number = app.picture.fetch_add(1, Ordering::Relaxed);
    let path = app.pictures.join(format!("{number:06}"));
    let file = app.receive(&headers, body, path, &name, Expected::Picture).await?;
    let picture = Upload::new(name, file.path().to_owned());
    app.start(Task::Classify { picture, file })
}

impl App {
    fn room(&self, name: &str) -> Result<Arc<Room>, Refusal> {
        let room = RoomId::parse(name).and_then(|id| self.rooms.get(id));
        room.ok_or_else(|| {
            let message = format!(
                "this conversation is gone: the server keeps the {MOST_ROOMS} that were used last, until it ends"
            );
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
    }

    /// Takes in a file, unless it is seen before that it would be of no use.
    async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
        path: PathBuf,
        name: &str,
        expected: Expected,
    ) -> Result<upload::Received, Refusal> {
        upload::check_length(headers, name, self.max_upload)?;
        self.queue.check()?;
        upload::receive(body, path, name, expected, self.max_upload).await
    }

    /// Queues a task. The answer is the stream of its events.
    fn start(&self, task: Task) -> Result<Response, Refusal> {
        let (events, receiver) = unbounded_channel();
        let id = self.queue.push(task, events)?;
        let stream = Events { receiver, queue: Arc::clone(&self.queue), id };
        let kind = [(CONTENT_TYPE, "application/x-ndjson; charset=utf-8")];
        Ok((kind, Body::from_stream(stream)).into_response())
    }
}

/// A job's events, one JSON object a line. Dropping it, as happens when the client goes away, cancels the job.
struct Events {
    receiver: UnboundedReceiver<Event>,
    queue: Arc<Queue<Task>>,
    id: u64,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|event| event.map(|event| Ok(line(&event))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // First of all, so that a job which begins in this moment is seen to be of no use.
        self.receiver.close();
        self.queue.withdraw(self.id);
    }
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_else(|error| {
        // Events are plain data; but a stream must not end without a word.
        log::error!("an event cannot be written: {error}");
        let failure = Failure::Machine("the answer cannot be written".into());
        serde_json::to_vec(&Event::from(failure)).unwrap_or_default()
    });
    line.push(b'\n');
    line.into()
}
