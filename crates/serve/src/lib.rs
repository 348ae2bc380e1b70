//! The web page of Kiln: documents and pictures in, answers and classes out, on the machine's own browser.
//!
//! [`Server::bind`] takes the port, [`Server::run`] answers until it is told to stop. What computes is behind
//! [`Service`], one job at a time on a thread of its own; [`Engine`] is the real one, tests have another.
//!
//! # What it promises
//!
//! - It listens on loopback unless told otherwise, answers only requests that name a host of its own (against DNS
//!   rebinding) and none that another site's page has sent, and its page loads nothing from elsewhere.
//! - An upload that is too large is refused before it is read. Uploads lie in a temporary folder under generated names;
//!   the names that users gave them are shown and used for nothing else.
//! - Jobs wait in a queue of bounded length, each is told its place, and ends when nobody listens to it any more.
//!
//! # Its interface
//!
//! A room is a conversation with its documents: one for each tab. Everything below `/api` speaks JSON, and what takes
//! time answers with a stream of [`Event`]s, one a line.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/about` | [`About`] |
//! | `POST /api/rooms` | a new room: `{room}` |
//! | `GET /api/rooms/{room}` | `{documents, revision, turns}` |
//! | `POST /api/rooms/{room}/documents?name=`, the file as body | events, with the documents at their end |
//! | `DELETE /api/rooms/{room}/documents/{id}` | events, with the documents at their end |
//! | `POST /api/rooms/{room}/questions`, `{question}` | events, with the answer at their end |
//! | `DELETE /api/rooms/{room}/turns` | the conversation begins anew, about the same documents |
//! | `POST /api/pictures?name=`, the file as body | events, with the classes at their end |
//!
//! A refusal is `{error}` with a status of 4xx or 5xx; its text is one line for a person.

mod api;
mod engine;
mod error;
mod event;
mod files;
mod folder;
mod guard;
mod queue;
mod rooms;
mod server;
mod service;
mod upload;
mod worker;

pub use engine::{Classifier, Engine, EngineOptions};
pub use error::ServeError;
pub use event::{Document, Event, Turn};
pub use server::{DEFAULT_MAX_UPLOAD, DEFAULT_PORT, Options, Server};
pub use service::{
    About, Class, Classes, DocumentInfo, Duty, Failure, Job, Model, Reply, Service, Source, Upload,
};
