//! What a job tells while it waits and runs.

use serde::Serialize;

use crate::service::{Classes, DocumentInfo, Failure, Reply};

/// One line of the stream with which a job is answered. The last one is `Documents`, `Answer`, `Classes` or `Failed`; a
/// stream that ends with none of them was cut off.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The job waits for others.
    Queued {
        /// How many go first, the running one included.
        ahead: usize,
    },
    /// It is the job's turn.
    Started,
    /// What is being done, where that takes time.
    Step {
        /// Such as `loading all-MiniLM-L6-v2`.
        what: String,
    },
    /// How far that is.
    Progress {
        /// What is being counted, such as `passages`.
        what: String,
        /// How many are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// The next piece of an answer's text.
    Text {
        /// It follows the pieces before it without anything in between.
        text: String,
    },
    /// The room's documents from here on.
    Documents {
        /// In the order in which they came.
        documents: Vec<Document>,
        /// How often the room's documents have changed: events of two jobs may be read in any order.
        revision: u64,
    },
    /// The answer, whole; its text replaces the pieces.
    Answer {
        /// The question with it.
        turn: Turn,
    },
    /// What a picture shows.
    Classes {
        /// The likeliest classes.
        classes: Classes,
    },
    /// There will be no answer.
    Failed {
        /// One line for a person.
        message: String,
        /// Whether what was given is at fault, rather than the machine.
        input: bool,
    },
}

impl From<Failure> for Event {
    fn from(failure: Failure) -> Event {
        Event::Failed { input: matches!(failure, Failure::Input(_)), message: failure.to_string() }
    }
}

/// A document of a room.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Its number in its room; never given twice.
    pub id: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub info: DocumentInfo,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// The question as it was asked.
    pub question: String,
    /// What came back.
    #[serde(flatten)]
    pub reply: Reply,
}
