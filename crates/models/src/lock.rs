//! One at a time, over all processes: what fetches a model, or adds to a file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use same_file::Handle;

/// Keeps a second process from doing the same at the same time; it waits, then finds what the first one did.
///
/// The lock is on a hidden file beside what it is for, which goes with it.
pub(crate) struct Lock {
    /// Open, and so locked, until the path is gone.
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock of what has this name in a folder, which is there.
    ///
    /// `None` where a file system has no locks; the work goes on without. It does so too where nothing can be written, which
    /// it is then bound to tell.
    pub(crate) fn wait(folder: &Path, name: &str) -> Option<Lock> {
        let path = folder.join(format!(".{name}.lock"));
        let told = |error: &io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {}
            _ => log::warn!("{}: not locked: {error}", path.display()),
        };
        Lock::take(&path).inspect_err(told).ok()
    }

    fn take(path: &Path) -> io::Result<Lock> {
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.lock()?;
            // The one before removed the file that was waited for: a lock on that would meet nobody else's.
            match Handle::from_path(path) {
                Ok(current) if current == Handle::from_file(file.try_clone()?)? => {
                    return Ok(Lock { _file: file, path: path.to_owned() });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that it is nobody else's. Where it stays, it does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_holds_it_at_a_time_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let holders = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::take(&path).unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_left_does_not_stop_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, [0]).unwrap();
        drop(Lock::take(&path).unwrap());
        assert!(!path.exists());
    }
}
