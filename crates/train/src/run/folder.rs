//! The files of a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_models::atomic;

use super::lock::Lock;
use crate::TrainError;
use crate::config::RunConfig;

/// Names of the files in a run's folder.
pub(super) const CONFIG: &str = "config.toml";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const CURVES: &str = "curves.svg";
pub(super) const CONFUSION: &str = "confusion.png";
pub(super) const RECONSTRUCTIONS: &str = "reconstructions.png";
pub(super) const LAST: &str = "last.safetensors";
pub(super) const BEST: &str = "best.safetensors";

/// A run's folder, ours alone for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: Option<Lock>,
}

impl Folder {
    /// A folder for a new run; it is made where it is not there.
    pub(super) fn create(path: &Path) -> Result<Folder, TrainError> {
        check_free(path)?;
        fs::create_dir_all(path).map_err(|error| TrainError::io(path, error))?;
        Folder::enter(path)
    }

    /// The folder of a run that has been started.
    pub(super) fn open(path: &Path) -> Result<Folder, TrainError> {
        check_started(path)?;
        Folder::enter(path)
    }

    fn enter(path: &Path) -> Result<Folder, TrainError> {
        let lock = Lock::take(path)?;
        atomic::remove_unfinished(path).map_err(|error| TrainError::io(path, error))?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that is there whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, TrainError> {
        let path = self.file(name);
        atomic::write_file(&path, bytes).map_err(|error| TrainError::io(&path, error))?;
        Ok(path)
    }
}

/// Refuses a folder that holds something. What a killed process left unfinished does not count, nor does its lock.
pub(super) fn check_free(path: &Path) -> Result<(), TrainError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(TrainError::io(path, error)),
    };
    if path.join(LAST).exists() {
        let message =
            format!("there is a run already; --resume {} goes on with it, -o names another", path.display());
        return Err(TrainError::folder(path, message));
    }
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| TrainError::io(path, error))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name != Lock::NAME && !name.starts_with(atomic::UNFINISHED) {
            names.push(name);
        }
    }
    names.sort();
    match names.first() {
        Some(name) => {
            let message = format!("not empty: it holds {name}; a run needs a folder of its own");
            Err(TrainError::folder(path, message))
        }
        None => Ok(()),
    }
}

/// Refuses a folder without a checkpoint.
pub(super) fn check_started(path: &Path) -> Result<(), TrainError> {
    if let Err(error) = fs::read_dir(path) {
        return Err(TrainError::io(path, error));
    }
    match is_started(path) {
        true => Ok(()),
        false => Err(TrainError::folder(path, format!("no run to go on with: {LAST} is missing"))),
    }
}

/// Whether there is a run in a folder.
pub(crate) fn is_started(path: &Path) -> bool {
    path.join(LAST).is_file()
}

/// What a run was asked to do, by its `config.toml`.
pub(crate) fn config_of(path: &Path) -> Result<RunConfig, TrainError> {
    let file = path.join(CONFIG);
    let text = fs::read_to_string(&file).map_err(|error| TrainError::io(&file, error))?;
    RunConfig::parse(&text, &file.display().to_string())
}
