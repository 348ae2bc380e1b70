//! The files of a model directory, as Hugging Face lays them out.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// The network's configuration.
pub(crate) const CONFIG: &str = "config.json";
/// The weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// What a sentence encoder consists of; optional.
pub(crate) const MODULES: &str = "modules.json";
/// The sequence length of a sentence encoder; optional.
pub(crate) const SENTENCE: &str = "sentence_bert_config.json";

/// Files without which nothing can be loaded.
pub(crate) const REQUIRED: [&str; 3] = [CONFIG, WEIGHTS, TOKENIZER];

/// Which of `files` are not in `dir`.
pub(crate) fn missing<'a>(dir: &Path, files: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    files.into_iter().filter(|file| !dir.join(file).is_file()).map(str::to_owned).collect()
}

/// Fails, naming all that is missing, where `dir` is not the directory of a model.
pub(crate) fn require(dir: &Path) -> Result<(), ModelError> {
    if !dir.is_dir() {
        // Ask again for the operating system's own reason: absent, not a directory, no permission.
        let reason = std::fs::read_dir(dir).err().unwrap_or_else(|| std::io::ErrorKind::NotADirectory.into());
        return Err(ModelError::io(dir, reason));
    }
    let missing = missing(dir, REQUIRED);
    if missing.is_empty() {
        return Ok(());
    }
    let other =
        ["pytorch_model.bin", "tf_model.h5", "model.onnx"].into_iter().find(|file| dir.join(file).exists());
    let hint = match other {
        Some(other) if missing.iter().any(|file| file == WEIGHTS) => {
            format!("; it has {other}, which Kiln does not read: convert it to safetensors")
        }
        _ => String::new(),
    };
    Err(ModelError::MissingFiles { dir: dir.to_owned(), missing, hint })
}

/// Reads a configuration file; the error names the file and the place in it.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::io(path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::config(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = require(dir.path()).unwrap_err();
        assert!(error.is_input_error());
        assert!(
            error.to_string().ends_with("config.json, model.safetensors and tokenizer.json missing"),
            "{error}"
        );
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        std::fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
        let error = require(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("model.safetensors and tokenizer.json missing; it has pytorch_model.bin"),
            "{error}"
        );
        let error = require(&dir.path().join("nowhere")).unwrap_err();
        assert!(error.is_input_error() && error.to_string().contains("nowhere: "), "{error}");
        assert!(require(&dir.path().join(CONFIG)).is_err());
    }
}
