//! A file of past answers.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::answer::{Answer, Method, Source};
use crate::{DocqaError, atomic, chunk};

/// An answer with what it took: what `kiln ask --json` prints and what a history keeps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry<'a> {
    /// See [`Answer::question`].
    pub question: &'a str,
    /// See [`Answer::answer`].
    pub answer: &'a str,
    /// See [`Answer::method`].
    pub method: Method,
    /// See [`Answer::generator`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<&'a str>,
    /// See [`Answer::contexts_used`].
    pub contexts_used: usize,
    /// See [`Answer::processing_time`].
    pub processing_time: f64,
    /// The seconds that reading and embedding the documents took before; 0 where there was an index of them.
    pub indexing_time: f64,
    /// The device that did it.
    pub adapter: &'a str,
    /// When the entry was made: RFC 3339, in UTC.
    pub timestamp: String,
    /// See [`Answer::notices`].
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub notices: &'a [String],
    /// See [`Answer::sources`].
    pub sources: &'a [Source],
}

impl<'a> Entry<'a> {
    /// An entry of this moment.
    pub fn new(answer: &'a Answer, indexing_time: Duration, adapter: &'a str) -> Self {
        Self {
            question: &answer.question,
            answer: &answer.answer,
            method: answer.method,
            generator: answer.generator.as_deref(),
            contexts_used: answer.contexts_used,
            processing_time: answer.processing_time,
            indexing_time: indexing_time.as_secs_f64(),
            adapter,
            timestamp: chunk::now(),
            notices: &answer.notices,
            sources: &answer.sources,
        }
    }
}

/// Appends an entry to the JSON array in the file at `path`, which is made where it is missing. The file
/// is rewritten whole and renamed into place: it is never half written, and one that does not hold an array is left
/// as it was.
///
/// Two processes that append in the same moment do not wait for each other: the later one wins.
pub fn append(path: &Path, entry: &Entry<'_>) -> Result<(), DocqaError> {
    let mut entries = read(path)?;
    // By way of text: turned into a value at once, an `f32` is widened and shows digits that it never had.
    let entry = serde_json::to_string(entry)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| DocqaError::History { path: path.to_path_buf(), reason: error.to_string() })?;
    entries.push(entry);
    let text = format!("{:#}\n", Value::Array(entries));
    atomic::write_file(path, text.as_bytes())
}

/// The entries of a history file, oldest first; none where the file is missing or empty.
pub fn read(path: &Path) -> Result<Vec<Value>, DocqaError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(DocqaError::History { path: path.to_path_buf(), reason: "not UTF-8 text".into() });
        }
        Err(error) => return Err(DocqaError::reading(path, error)),
    };
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let fault = |reason: String| DocqaError::History { path: path.to_path_buf(), reason };
    match serde_json::from_str(&text) {
        Ok(Value::Array(entries)) => Ok(entries),
        Ok(_) => Err(fault("it holds JSON, but not an array".into())),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// The answers in a history file, oldest first, for a conversation that goes on from them; none where the file is
/// missing or empty. What an entry holds besides an answer is passed over.
pub fn answers(path: &Path) -> Result<Vec<Answer>, DocqaError> {
    let parse = |(number, entry): (usize, Value)| {
        serde_json::from_value(entry).map_err(|error| DocqaError::History {
            path: path.to_path_buf(),
            reason: format!("entry {number}: {error}"),
        })
    };
    (1..).zip(read(path)?).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &str) -> Answer {
        Answer {
            question: question.into(),
            answer: "Because.".into(),
            method: Method::Extractive,
            generator: None,
            notices: Vec::new(),
            contexts_used: 1,
            processing_time: 0.25,
            sources: vec![Source {
                source: "clay.pdf".into(),
                page: Some(1),
                page_end: None,
                chunk_id: 0,
                distance: 1.1690301,
                text: "Because.".into(),
            }],
            quotes: Vec::new(),
        }
    }

    fn keep(path: &Path, question: &str) -> Result<(), DocqaError> {
        append(path, &Entry::new(&answer(question), Duration::from_millis(1500), "a made-up device"))
    }

    #[test]
    fn an_entry_is_kept_as_it_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        let answer = answer("Why?");
        let entry = Entry::new(&answer, Duration::from_millis(1500), "a made-up device");
        append(&path, &entry).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept, serde_json::to_string_pretty(&[&entry]).unwrap() + "\n");
        assert!(kept.contains("\"indexing_time\": 1.5,"), "{kept}");
    }

    #[test]
    fn answers_are_appended_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        assert!(read(&path).unwrap().is_empty());
        keep(&path, "Why?").unwrap();
        keep(&path, "Why “not”?\n").unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["question"], "Why?");
        assert_eq!(entries[1]["question"], "Why “not”?\n");
        assert_eq!(entries[1]["method"], "extractive");
        assert!(entries[1]["timestamp"].as_str().unwrap().ends_with('Z'));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with('['));
        // As it was printed, in the old entry as in the new one.
        assert_eq!(text.matches("\"distance\": 1.1690301,").count(), 2, "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn entries_are_answers_to_go_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        assert!(answers(&path).unwrap().is_empty());
        keep(&path, "Why?").unwrap();
        assert_eq!(answers(&path).unwrap(), [answer("Why?")]);
        fs::write(&path, "[{\"question\": \"Why?\", \"answer\": \"Because.\"}]").unwrap();
        let [bare] = &answers(&path).unwrap()[..] else { panic!("one answer expected") };
        assert_eq!((bare.answer.as_str(), bare.contexts_used), ("Because.", 0));
        fs::write(&path, "[{\"question\": \"Why?\"}]").unwrap();
        let error = answers(&path).unwrap_err().to_string();
        assert!(
            error.contains("history.json: not a history file (entry 1: missing field `answer`"),
            "{error}"
        );
    }

    #[test]
    fn a_file_of_something_else_is_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        for bytes in [&b"{\"question\": 1}"[..], b"[1, 2", b"dear diary", b"\xff\xfe", b"[] []"] {
            fs::write(&path, bytes).unwrap();
            let error = keep(&path, "Why?").unwrap_err();
            assert!(error.is_input_error());
            assert!(error.to_string().contains("history.json: not a history file ("), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        fs::write(&path, "").unwrap();
        keep(&path, "Why?").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        assert!(keep(folder.path(), "Why?").is_err());
    }
}
