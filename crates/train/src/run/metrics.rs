//! `metrics.jsonl`: a line an epoch, and in the end one for the test.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, METRICS};
use crate::TrainError;
use crate::events::Seconds;
use crate::progress::{Epoch, Score};

/// The lines of a run so far.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// How long each epoch took, where it is known.
    seconds: Vec<Seconds>,
    test: Option<Test>,
}

/// The last line: the network that the run came to, on the test part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The checkpoint that was tried.
    pub checkpoint: String,
    /// The epoch that it is from, counted from 1.
    pub epoch: u32,
    /// How it did.
    pub test: Score,
    /// The fraction that is wrong, where there is right and wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// How long it took; of all fields the only one that differs between equal runs.
    pub seconds: f64,
}

/// A line of an epoch.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    epoch: Epoch,
    /// Of all fields the only one that differs between equal runs.
    seconds: Seconds,
}

impl Metrics {
    /// What a run's file says of so many epochs; what it does not say, nobody knows any more.
    pub(super) fn read(folder: &Folder, epochs: usize) -> Metrics {
        let text = fs::read_to_string(folder.file(METRICS)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let mut seconds: Vec<Seconds> = lines.take(epochs).map(|line| line.seconds).collect();
        seconds.resize(epochs, Seconds::default());
        Metrics { seconds, test: None }
    }

    /// Adds an epoch.
    pub(super) fn push(&mut self, seconds: Seconds) {
        self.seconds.push(seconds);
    }

    /// Adds the test.
    pub(super) fn finish(&mut self, test: Test) {
        self.test = Some(test);
    }

    /// Writes the file. It is written whole each time, so that no line is ever cut short.
    pub(super) fn write(&self, folder: &Folder, epochs: &[Epoch]) -> Result<(), TrainError> {
        let mut text = String::new();
        for (epoch, seconds) in epochs.iter().zip(&self.seconds) {
            push_line(&mut text, &Line { epoch: epoch.clone(), seconds: *seconds });
        }
        if let Some(test) = &self.test {
            push_line(&mut text, test);
        }
        folder.write(METRICS, text.as_bytes()).map(drop)
    }
}

fn push_line(text: &mut String, line: &impl Serialize) {
    text.push_str(&serde_json::to_string(line).expect("a line should be what JSON can hold"));
    text.push('\n');
}

/// What a finished run's test came to; none where the run has not finished.
pub(crate) fn test_of(folder: &Path) -> Option<Test> {
    let text = fs::read_to_string(folder.join(METRICS)).ok()?;
    serde_json::from_str(text.lines().last()?).ok()
}
