use std::io;
use std::path::PathBuf;

use kiln_engine::EngineError;
use kiln_models::ModelError;

/// What can go wrong between a document and an answer. Each message is one line that names the thing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocqaError {
    /// No file or folder is there.
    #[error("{}: no such file or folder", .path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file or folder is there but cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name ends in something that is not a kind of document.
    #[error("{}: not a kind of document that can be read; expected {}", .path.display(), crate::load::KINDS)]
    UnknownKind {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file has no bytes at all.
    #[error("{}: the file is empty", .path.display())]
    EmptyFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The folder holds no document, at any depth.
    #[error("{}: no document in this folder; expected {}", .path.display(), crate::load::KINDS)]
    EmptyFolder {
        /// The path as it was given.
        path: PathBuf,
    },
    /// No path was given at all.
    #[error("no document was named")]
    NoPaths,
    /// A text file in another encoding.
    #[error("{}: not UTF-8 text (byte {offset})", .path.display())]
    NotUtf8 {
        /// The path as it was given.
        path: PathBuf,
        /// The first byte that is not UTF-8, counted from 0.
        offset: usize,
    },
    /// Characters there are, but white space alone.
    #[error("{}: there is no text in it", .path.display())]
    Blank {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The PDF file asks for a password.
    #[error("{}: the PDF file is encrypted; save a copy without a password", .path.display())]
    Encrypted {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file has not even the header of a PDF file.
    #[error("{}: not a PDF file (it does not begin with %PDF-)", .path.display())]
    NotPdf {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file begins like a PDF file but cannot be parsed, or no page of it can.
    #[error("{}: the PDF file is corrupt: {reason}", .path.display())]
    CorruptPdf {
        /// The path as it was given.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A PDF file that parses but has no pages.
    #[error("{}: the PDF file has no pages", .path.display())]
    NoPages {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Pictures of pages: nothing to read without text recognition.
    #[error(
        "{}: no text layer on {}; it looks scanned, so run text recognition (OCR) first",
        .path.display(),
        if *.pages == 1 { "its only page".to_string() } else { format!("any of its {pages} pages") }
    )]
    Scanned {
        /// The path as it was given.
        path: PathBuf,
        /// How many pages it has.
        pages: usize,
    },
    /// The options of the splitter do not fit together.
    #[error("{0}")]
    SplitOptions(String),
    /// A question without words.
    #[error("the question is empty")]
    EmptyQuestion,
    /// An answer from no passage at all.
    #[error("0 contexts: expected at least 1")]
    NoContexts,
    /// An answer of no sentence at all.
    #[error("0 sentences: expected at least 1")]
    NoSentences,
    /// A template that no prompt can be made from.
    #[error("{}prompt template: {reason}", .path.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default())]
    PromptTemplate {
        /// The file that holds it, if one does.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// A question (or a template) so long that no passage fits beside it.
    #[error(
        "the question with the prompt template takes {tokens} tokens, which leaves no room for a passage in \
         {generator}'s window of {window}"
    )]
    PromptTooLong {
        /// How many tokens the prompt has without any passage.
        tokens: usize,
        /// How many the generator can read.
        window: usize,
        /// Its name.
        generator: String,
    },

    /// No store where one was expected.
    #[error("{}: no store here (there is no {file}); make one with `kiln index`", .path.display())]
    NoStore {
        /// The store's folder.
        path: PathBuf,
        /// The file that was looked for.
        file: &'static str,
    },
    /// The folder to be written holds something else.
    #[error("{}: the folder holds something other than a store: {reason}; it is left alone", .path.display())]
    NotAStore {
        /// The folder that was to be written.
        path: PathBuf,
        /// What it holds.
        reason: String,
    },
    /// The place named for a store cannot become a folder.
    #[error("{}: no store can be written here: {reason}", .path.display())]
    Target {
        /// The folder that was to be written.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// The store was written by a later (or unknown) version.
    #[error("{}: store format {found:?}, expected {expected:?}; make it again with `kiln index`", .path.display())]
    StoreVersion {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: String,
        /// The format of this version.
        expected: String,
    },
    /// The store's files contradict themselves or each other.
    #[error("{}: the store is damaged: {reason}; make it again with `kiln index`", .path.display())]
    DamagedStore {
        /// The store's folder or the file in it.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The store was made with another model than the one that is to question it.
    #[error(
        "the store was made with the model {found}, expected {expected}; make it again with `kiln index`"
    )]
    OtherModel {
        /// The fingerprint in the store.
        found: String,
        /// The fingerprint of the model at hand.
        expected: String,
    },
    /// A text that names no place for a store.
    #[error("store {given:?}: {reason}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// No collection where one was expected.
    #[error("{store}: no such collection; make it with `kiln index`")]
    NoCollection {
        /// The store.
        store: String,
    },
    /// A collection that somebody else made, or that says of itself what cannot be.
    #[error("{store}: not a collection that Kiln made: {reason}; it is left alone")]
    NotACollection {
        /// The store.
        store: String,
        /// What it lacks.
        reason: String,
    },
    /// What answers is no Chroma server.
    #[error("{server}: not a Chroma server: {reason}")]
    NotChroma {
        /// The server's address.
        server: String,
        /// What it answered.
        reason: String,
    },
    /// The server does not answer, or not as it should.
    #[error("{server}: {reason}")]
    Server {
        /// The server's address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The user asked to stop; what had been done is kept.
    #[error("interrupted")]
    Interrupted,
    /// An embedding of the wrong length, or one with a value that is not a number.
    #[error("embedding {row}: {reason}")]
    Embedding {
        /// Which of those given.
        row: usize,
        /// Expected and got.
        reason: String,
    },

    /// The history file does not hold a JSON array; it was not touched.
    #[error("{}: not a history file ({reason}); it is left as it was", .path.display())]
    History {
        /// The history file.
        path: PathBuf,
        /// Why it cannot be appended to.
        reason: String,
    },
    /// A file or folder could not be written.
    #[error("{}: cannot be written: {source}", .path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The encoder failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Scoring on the GPU failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl DocqaError {
    /// Whether what the user gave is at fault (exit code 2), rather than the machine (1).
    pub fn is_input_error(&self) -> bool {
        match self {
            Self::Model(error) => error.is_input_error(),
            Self::Unwritable { .. }
            | Self::Embedding { .. }
            | Self::Server { .. }
            | Self::Interrupted
            | Self::Engine(_) => false,
            _ => true,
        }
    }

    pub(crate) fn reading(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else {
            Self::Unreadable { path, source }
        }
    }

    pub(crate) fn writing(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Unwritable { path: path.into(), source }
    }
}
