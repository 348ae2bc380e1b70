//! The service that computes: an encoder, a generator and a classifier on one device, each loaded when it is first needed.

mod documents;
mod pictures;

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_docqa::DocqaError;
use kiln_docqa::answer::{Answer, Answerer, AskOptions};
use kiln_docqa::chat::Conversation;
use kiln_docqa::index::{Index, IndexOptions};
use kiln_engine::Device;
use kiln_models::store::ENTRIES;
use kiln_models::t5::Precision;
use kiln_models::{ModelError, ModelStore, SentenceEncoder, TextGenerator};

use crate::service::{
    About, Classes, DocumentInfo, Duty, Failure, Job, Model, Reply, Service, Source, Upload,
};

pub use pictures::Classifier;

/// What an engine works with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where models lie.
    pub store: ModelStore,
    /// The sentence encoder: a name, or a directory.
    pub encoder: String,
    /// The generator: a name, or a directory; `None` where answers are to be quoted. Where it is not on this machine they
    /// are quoted too.
    pub generator: Option<String>,
    /// How the generator's matrices are kept.
    pub precision: Precision,
    /// How questions are answered.
    pub ask: AskOptions,
    /// How documents are split.
    pub index: IndexOptions,
    /// What classifies pictures.
    pub classifier: Classifier,
}

/// The real service.
pub struct Engine {
    device: Device,
    options: Arc<EngineOptions>,
    encoder: Option<SentenceEncoder>,
    generator: Option<TextGenerator>,
    vgg: Option<pictures::Loaded>,
}

/// A conversation with its documents.
#[derive(Default)]
pub struct Room {
    index: Option<Index>,
    conversation: Option<Conversation>,
}

impl Engine {
    /// Computes on a device. Nothing is loaded yet.
    pub fn new(device: impl Into<Device>, options: EngineOptions) -> Engine {
        let device = device.into();
        Engine { device, options: Arc::new(options), encoder: None, generator: None, vgg: None }
    }

    /// What a page is told of it, whenever it asks: a model may be fetched in the meantime.
    pub fn about(&self) -> impl Fn() -> About + Send + Sync + 'static {
        let options = Arc::clone(&self.options);
        let profile = self.device.profile();
        let (adapter, software) = (profile.name.clone(), profile.kind.is_software());
        move || About { adapter: adapter.clone(), software, models: options.models() }
    }

    fn encoder(&mut self, job: &Job) -> Result<&mut SentenceEncoder, Failure> {
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let name = &self.options.encoder;
                let dir = self.options.locate(name)?;
                job.step(format!("loading {name}"));
                SentenceEncoder::load(&self.device, &dir)?
            }
        };
        Ok(self.encoder.insert(encoder))
    }

    /// Loads the generator where it is wanted and there. What keeps it from being used is returned as a notice.
    fn load_generator(&mut self, job: &Job) -> Option<String> {
        let name = self.options.generator.as_ref()?;
        if self.generator.is_some() {
            return None;
        }
        let dir = match self.options.store.locate(name) {
            Ok(found) => found.path,
            // The page says so already.
            Err(ModelError::NotFound { .. }) => return None,
            Err(error) => return Some(quoted(&error)),
        };
        job.step(format!("loading {name}"));
        match TextGenerator::load(&self.device, &dir, self.options.precision) {
            Ok(generator) => {
                self.generator = Some(generator);
                None
            }
            Err(error) => Some(quoted(&error)),
        }
    }
}

fn quoted(error: &ModelError) -> String {
    format!("quoted, since the generator cannot be used: {error}")
}

impl EngineOptions {
    fn models(&self) -> Vec<Model> {
        let model = |duty, name: &str| Model {
            duty,
            name: name.to_owned(),
            present: self.store.locate(name).is_ok(),
            fetch: fetch(name),
        };
        let mut models = vec![model(Duty::Retrieval, &self.encoder)];
        models.extend(self.generator.as_ref().map(|name| model(Duty::Writing, name)));
        models.push(match &self.classifier {
            Classifier::Stored(config) => model(Duty::Pictures, &config.store_name()),
            Classifier::Weights { config, .. } => {
                Model { duty: Duty::Pictures, name: config.name.clone(), present: true, fetch: None }
            }
        });
        models
    }

    /// The directory of a model; where it is missing, the failure says what brings it.
    fn locate(&self, name: &str) -> Result<std::path::PathBuf, Failure> {
        self.store.path(name).map_err(|error| match error {
            ModelError::NotFound { .. } => {
                let brings =
                    fetch(name).map(|command| format!("; `{command}` brings it")).unwrap_or_default();
                Failure::Machine(format!("{name} is not on this machine{brings}"))
            }
            error => error.into(),
        })
    }
}

/// The command that brings a model, where the store knows it.
fn fetch(name: &str) -> Option<String> {
    ENTRIES.iter().any(|entry| entry.name == name).then(|| format!("kiln models fetch {name}"))
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Failure {
        let message = error.to_string();
        if error.is_input_error() { Failure::Input(message) } else { Failure::Machine(message) }
    }
}

impl From<DocqaError> for Failure {
    fn from(error: DocqaError) -> Failure {
        let message = error.to_string();
        match error {
            DocqaError::Interrupted => Failure::Cancelled,
            error if error.is_input_error() => Failure::Input(message),
            _ => Failure::Machine(message),
        }
    }
}

impl Service for Engine {
    type Room = Room;

    fn read(
        &mut self,
        room: &mut Room,
        documents: &[Upload],
        job: &Job,
    ) -> Result<Vec<DocumentInfo>, Failure> {
        if documents.is_empty() {
            *room = Room::default();
            return Ok(Vec::new());
        }
        self.encoder(job)?;
        let Engine { device, options, encoder: Some(encoder), .. } = self else {
            return Err(Failure::Cancelled);
        };
        documents::read(device.gpu(), &options.index, encoder, &mut room.index, documents, job)
    }

    fn ask(&mut self, room: &mut Room, question: &str, job: &Job) -> Result<Reply, Failure> {
        let notice = self.load_generator(job);
        self.encoder(job)?;
        let Engine { options, encoder: Some(encoder), generator, .. } = self else {
            return Err(Failure::Cancelled);
        };
        let index = room.index.as_mut();
        let index = index.ok_or_else(|| Failure::Input("there is no document to ask about".into()))?;
        let conversation = room.conversation.get_or_insert_with(|| Conversation::new(options.ask.clone()));
        let turns = conversation.turns().len();
        let mut answerer = match generator {
            Some(generator) => {
                job.step(format!("reading the passages with {}", generator.name()));
                Answerer::Generative(generator)
            }
            None => Answerer::Extractive,
        };
        let asked = conversation.ask(index, encoder, &mut answerer, question, &mut |text| {
            if text.is_empty() {
                job.check().map_or(ControlFlow::Break(()), ControlFlow::Continue)
            } else {
                job.text(text)
            }
        });
        if let Err(failure) = job.check() {
            // A text that was stopped is no answer.
            if conversation.turns().len() > turns {
                let before = conversation.turns()[..turns].to_vec();
                *conversation = Conversation::resume(options.ask.clone(), before);
            }
            return Err(failure);
        }
        Ok(reply(asked?, notice))
    }

    fn reset(&mut self, room: &mut Room) {
        if let Some(conversation) = &mut room.conversation {
            conversation.reset();
        }
    }

    fn classify(&mut self, picture: &Upload, job: &Job) -> Result<Classes, Failure> {
        let bytes = read_upload(picture)?;
        pictures::classify(self, picture.name(), &bytes, job)
    }
}

fn reply(answer: Answer, notice: Option<String>) -> Reply {
    let source = |source: kiln_docqa::answer::Source| Source {
        document: source.source,
        page: source.page,
        page_end: source.page_end,
        passage: source.chunk_id,
        distance: source.distance,
        text: source.text,
    };
    Reply {
        answer: answer.answer,
        model: answer.generator,
        notices: answer.notices.into_iter().chain(notice).collect(),
        sources: answer.sources.into_iter().map(source).collect(),
        seconds: answer.processing_time,
    }
}

fn read_upload(upload: &Upload) -> Result<Vec<u8>, Failure> {
    fs::read(upload.path())
        .map_err(|error| Failure::Machine(format!("{}: cannot be read again: {error}", upload.name())))
}
