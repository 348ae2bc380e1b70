//! The digests that the hub declared for files of which Kiln knows none: kept beside the files, so that a later change is
//! noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::is_digest;
use crate::error::ModelError;
use crate::layout;

/// The file in a model's directory.
const NAME: &str = "declared_checksums.json";

/// SHA-256 digests by the files' names.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    sha256: BTreeMap<String, String>,
}

impl Declared {
    /// What a model's directory remembers; nothing where it has no such file.
    pub(super) fn read(dir: &Path) -> Result<Declared, ModelError> {
        let path = dir.join(NAME);
        if path.is_file() { layout::read_json(&path) } else { Ok(Declared::default()) }
    }

    pub(super) fn add(&mut self, file: &str, sha256: String) {
        self.sha256.insert(file.to_owned(), sha256);
    }

    /// Writes the file into a model's directory, where there is anything to remember.
    pub(super) fn write(&self, dir: &Path) -> Result<(), ModelError> {
        if self.sha256.is_empty() {
            return Ok(());
        }
        let path = dir.join(NAME);
        let mut text =
            serde_json::to_string_pretty(self).expect("names and digests should have a form in JSON");
        text.push('\n');
        fs::write(&path, text).map_err(|source| ModelError::io(&path, source))
    }

    /// The digest of a file that lies at `path`. In the Hugging Face cache that is a link to a file whose name is the
    /// digest.
    pub(super) fn of(&self, file: &str, path: &Path) -> Option<String> {
        let remembered = || self.sha256.get(file).cloned();
        let linked = || fs::read_link(path).ok()?.file_name()?.to_str().map(str::to_owned);
        remembered().or_else(|| linked().filter(|name| is_digest(name)))
    }
}
