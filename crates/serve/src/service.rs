//! What computes, as the server sees it.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::event::Event;

/// Does the jobs of a server, one at a time, on a thread that belongs to it.
///
/// A job that notices by [`Job::check`] or [`Job::text`] that nobody listens any more ends with [`Failure::Cancelled`].
pub trait Service: Send + 'static {
    /// What it keeps of a conversation: the documents' index, and what was said.
    type Room: Default;

    /// Makes a room's documents ready to be questioned, in place of those that were; there may be none. Returns what is to
    /// be told of each, in their order. Where it fails, it is called again with the documents that stay, before a question
    /// is asked.
    fn read(
        &mut self,
        room: &mut Self::Room,
        documents: &[Upload],
        job: &Job,
    ) -> Result<Vec<DocumentInfo>, Failure>;

    /// Answers a question from a room's documents, in the light of the questions before. The room has at least one
    /// document. A question that fails leaves no trace in the conversation.
    fn ask(&mut self, room: &mut Self::Room, question: &str, job: &Job) -> Result<Reply, Failure>;

    /// Forgets what was said in a room, but not its documents.
    fn reset(&mut self, room: &mut Self::Room);

    /// Tells what a picture shows.
    fn classify(&mut self, picture: &Upload, job: &Job) -> Result<Classes, Failure>;
}

/// A file that a user has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    name: String,
    path: PathBuf,
}

impl Upload {
    pub(crate) fn new(name: String, path: PathBuf) -> Upload {
        Upload { name, path }
    }

    /// The name under which the user knows it, fit to be shown. No path: it may name anything.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its bytes lie, under a name of the server's own.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The running job's line to whoever asked for it.
#[derive(Debug)]
pub struct Job {
    events: UnboundedSender<Event>,
    stopping: Arc<AtomicBool>,
    /// When progress was last told.
    told: Cell<Option<Instant>>,
}

/// Progress is told no more often.
const PACE: Duration = Duration::from_millis(50);

impl Job {
    pub(crate) fn new(events: UnboundedSender<Event>, stopping: Arc<AtomicBool>) -> Job {
        Job { events, stopping, told: Cell::new(None) }
    }

    /// Fails where nobody listens any more, or the server stops. To be asked every now and then.
    pub fn check(&self) -> Result<(), Failure> {
        if self.events.is_closed() || self.stopping.load(Ordering::SeqCst) {
            return Err(Failure::Cancelled);
        }
        Ok(())
    }

    /// Tells what is being done, such as `loading all-MiniLM-L6-v2`.
    pub fn step(&self, what: impl Into<String>) {
        self.send(Event::Step { what: what.into() });
    }

    /// Tells how many `what` are done, such as `passages`.
    pub fn progress(&self, what: &str, done: usize, total: usize) {
        let now = Instant::now();
        let soon = self.told.get().is_some_and(|told| now.duration_since(told) < PACE);
        if !soon || done >= total {
            self.told.set(Some(now));
            self.send(Event::Progress { what: what.to_owned(), done, total });
        }
    }

    /// Tells the next piece of an answer. Breaks where nobody listens any more, as [`check`](Self::check) does.
    pub fn text(&self, text: &str) -> ControlFlow<()> {
        if self.check().is_err() {
            return ControlFlow::Break(());
        }
        self.send(Event::Text { text: text.to_owned() });
        ControlFlow::Continue(())
    }

    pub(crate) fn send(&self, event: Event) {
        // Nobody listens: the next check ends the job.
        let _ = self.events.send(event);
    }
}

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// What was given is at fault.
    #[error("{0}")]
    Input(String),
    /// The machine is, or a model is missing.
    #[error("{0}")]
    Machine(String),
    /// Nobody listens any more.
    #[error("the job was cancelled")]
    Cancelled,
}

/// What is told of a document that can be questioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentInfo {
    /// Its name, as [`Upload::name`] has it.
    pub name: String,
    /// How many pages of it were read; `None` for text and Markdown.
    pub pages: Option<usize>,
    /// How many passages it was split into.
    pub passages: usize,
    /// One line for each thing that went amiss, such as a page that could not be read.
    pub notices: Vec<String>,
}

/// An answer with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// The answer.
    pub answer: String,
    /// The model that wrote it; `None` where it is quoted from the documents.
    pub model: Option<String>,
    /// One line for each thing that a reader should know, such as passages that did not fit.
    pub notices: Vec<String>,
    /// The passages it was made from, the closest first.
    pub sources: Vec<Source>,
    /// How long it took, waiting not included.
    pub seconds: f64,
}

/// A passage that an answer was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The document's name.
    pub document: String,
    /// The page of its first character; `None` for text and Markdown.
    pub page: Option<u32>,
    /// The page of its last character, where that is another one.
    pub page_end: Option<u32>,
    /// Its number within its document, from 0.
    pub passage: usize,
    /// Its distance from the question.
    pub distance: f32,
    /// The passage.
    pub text: String,
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classes {
    /// The network that says so.
    pub model: String,
    /// The likeliest classes, the likeliest first.
    pub classes: Vec<Class>,
    /// How long it took, waiting not included.
    pub seconds: f64,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub label: String,
    /// From 0 to 1; all classes together have 1.
    pub probability: f64,
}

/// What the page tells of the machine and its models. It is made afresh for each request, so that a model that was
/// fetched meanwhile is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// The device that computes.
    pub adapter: String,
    /// Whether that is a software driver, which takes its time.
    pub software: bool,
    /// What the page can do, and the models for it.
    pub models: Vec<Model>,
}

/// A model that the page works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// What it is for.
    pub duty: Duty,
    /// Its name.
    pub name: String,
    /// Whether it is on this machine.
    pub present: bool,
    /// The command that brings it, where there is one.
    pub fetch: Option<String>,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Duty {
    /// Finding the passages: without it there are no answers.
    Retrieval,
    /// Writing answers: without it they are quoted.
    Writing,
    /// Classifying pictures.
    Pictures,
}
