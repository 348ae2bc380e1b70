//! The thread that does the jobs.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::event::{Document, Event, Turn};
use crate::queue::Queue;
use crate::rooms::{Room, RoomId, Rooms};
use crate::service::{DocumentInfo, Failure, Job, Service, Upload};
use crate::upload::{Received, distinct_name, remove};

/// A room has no more documents.
pub(crate) const MOST_DOCUMENTS: usize = 32;

/// Of a conversation that goes on for ever, the page shows the last turns.
const MOST_TURNS: usize = 200;

/// A job, as it waits.
#[derive(Debug)]
pub(crate) enum Task {
    /// Adds a document to a room.
    Add { room: Arc<Room>, name: String, file: Received },
    /// Takes one out again.
    Remove { room: Arc<Room>, document: u64 },
    /// Answers a question.
    Ask { room: Arc<Room>, question: String },
    /// Classifies a picture, whose file goes with the task.
    Classify { picture: Upload, file: Received },
}

/// What the service keeps of a room.
struct Kept<R> {
    room: R,
    /// The conversation that it has in mind.
    epoch: u64,
    /// It has read the documents.
    ready: bool,
}

/// Does jobs until the queue is closed.
pub(crate) fn work<S: Service>(
    mut service: S,
    queue: &Queue<Task>,
    rooms: &Rooms,
    stopping: &Arc<AtomicBool>,
) {
    let mut kept = HashMap::new();
    while let Some(ticket) = queue.next() {
        kept.retain(|id, _| rooms.has(*id));
        let room = ticket.task.room().map(|room| room.id);
        let job = Job::new(ticket.events, Arc::clone(stopping));
        job.send(Event::Started);
        // A fault in one job is no reason to end them all.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            Work { service: &mut service, kept: &mut kept, job: &job }.run(ticket.task)
        }));
        let last = outcome.unwrap_or_else(|_| {
            if let Some(room) = room {
                kept.remove(&room);
            }
            Err(Failure::Machine("something went wrong inside; the server's terminal tells more".into()))
        });
        job.send(last.unwrap_or_else(Event::from));
    }
}

impl Task {
    fn room(&self) -> Option<&Arc<Room>> {
        match self {
            Task::Add { room, .. } | Task::Remove { room, .. } | Task::Ask { room, .. } => Some(room),
            Task::Classify { .. } => None,
        }
    }
}

struct Work<'a, S: Service> {
    service: &'a mut S,
    kept: &'a mut HashMap<RoomId, Kept<S::Room>>,
    job: &'a Job,
}

impl<S: Service> Work<'_, S> {
    fn run(&mut self, task: Task) -> Result<Event, Failure> {
        self.job.check()?;
        match task {
            Task::Add { room, name, file } => self.add(&room, &name, file),
            Task::Remove { room, document } => self.remove(&room, document),
            Task::Ask { room, question } => self.ask(&room, question),
            Task::Classify { picture, file } => {
                let classes = self.service.classify(&picture, self.job);
                drop(file);
                Ok(Event::Classes { classes: classes? })
            }
        }
    }

    fn add(&mut self, room: &Room, name: &str, file: Received) -> Result<Event, Failure> {
        let (mut ids, mut uploads) = contents(room);
        if uploads.len() >= MOST_DOCUMENTS {
            return Err(too_many());
        }
        let taken: Vec<&str> = uploads.iter().map(Upload::name).collect();
        let name = distinct_name(name, &taken);
        uploads.push(Upload::new(name, file.path().to_owned()));
        ids.push(room.next_number());
        let infos = self.read(room, &uploads)?;
        file.keep();
        Ok(settle(room, ids, uploads, infos))
    }

    fn remove(&mut self, room: &Room, document: u64) -> Result<Event, Failure> {
        let (mut ids, mut uploads) = contents(room);
        let Some(at) = ids.iter().position(|id| *id == document) else {
            return Err(Failure::Input("the document is not there any more".into()));
        };
        ids.remove(at);
        let upload = uploads.remove(at);
        let infos = self.read(room, &uploads)?;
        remove(upload.path());
        Ok(settle(room, ids, uploads, infos))
    }

    fn ask(&mut self, room: &Room, question: String) -> Result<Event, Failure> {
        let (_, uploads) = contents(room);
        if uploads.is_empty() {
            return Err(Failure::Input("there is no document to ask about".into()));
        }
        if !self.kept(room).ready {
            self.read(room, &uploads)?;
        }
        let epoch = room.lock().epoch;
        let kept = self.kept.entry(room.id).or_default();
        if kept.epoch != epoch {
            self.service.reset(&mut kept.room);
            kept.epoch = epoch;
        }
        let reply = self.service.ask(&mut kept.room, &question, self.job)?;
        let turn = Turn { question, reply };
        let mut state = room.lock();
        // The conversation may have begun anew meanwhile.
        if state.epoch == epoch {
            if state.turns.len() == MOST_TURNS {
                state.turns.remove(0);
            }
            state.turns.push(turn.clone());
        }
        Ok(Event::Answer { turn })
    }

    fn read(&mut self, room: &Room, uploads: &[Upload]) -> Result<Vec<DocumentInfo>, Failure> {
        let kept = self.kept.entry(room.id).or_default();
        // Where it fails it may be half done: before the next question the documents that are listed are read again.
        kept.ready = false;
        let infos = self.service.read(&mut kept.room, uploads, self.job)?;
        kept.ready = true;
        Ok(infos)
    }

    fn kept(&mut self, room: &Room) -> &mut Kept<S::Room> {
        self.kept.entry(room.id).or_default()
    }
}

impl<R: Default> Default for Kept<R> {
    fn default() -> Self {
        Kept { room: R::default(), epoch: 0, ready: false }
    }
}

pub(crate) fn too_many() -> Failure {
    Failure::Input(format!("there are {MOST_DOCUMENTS} documents already; remove one first"))
}

fn contents(room: &Room) -> (Vec<u64>, Vec<Upload>) {
    let state = room.lock();
    (state.documents.iter().map(|document| document.id).collect(), state.uploads.clone())
}

/// The room has these documents now.
fn settle(room: &Room, ids: Vec<u64>, uploads: Vec<Upload>, infos: Vec<DocumentInfo>) -> Event {
    let documents: Vec<Document> =
        ids.into_iter().zip(infos).map(|(id, info)| Document { id, info }).collect();
    let mut state = room.lock();
    state.uploads = uploads;
    state.documents.clone_from(&documents);
    state.revision += 1;
    Event::Documents { documents, revision: state.revision }
}
