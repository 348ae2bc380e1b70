//! One process in a run's folder at a time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::TrainError;

/// Keeps a second process from working in the same folder. The lock is on a hidden file there, which goes with it; the
/// system lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    /// Open, and so locked, until the file is gone.
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// The name of the file.
    pub(super) const NAME: &str = ".lock";

    /// Takes the lock of a folder. `None` where a file system has no locks: the work goes on without.
    pub(super) fn take(folder: &Path) -> Result<Option<Lock>, TrainError> {
        let path = folder.join(Lock::NAME);
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(|error| TrainError::io(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file, path })),
            Err(TryLockError::WouldBlock) => {
                Err(TrainError::folder(folder, "another process is working on this run"))
            }
            Err(TryLockError::Error(error)) => {
                log::warn!("{}: not locked: {error}", path.display());
                Ok(None)
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where it stays, it does no harm.
        let _ = fs::remove_file(&self.path);
    }
}
