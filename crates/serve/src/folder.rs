//! The folder for uploads. It goes with the server; where that was killed, with the next one.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// How its name begins.
const PREFIX: &str = "kiln-serve-";
/// A file in it that its server has locked as long as it lives.
const LOCK: &str = "lock";

/// A folder that only this user can look into.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: TempDir,
    lock: File,
}

impl Folder {
    /// Makes one where the system keeps what is temporary, and removes those that other servers have left behind.
    pub(crate) fn make() -> io::Result<Folder> {
        let folder = Self::of(builder().tempdir()?)?;
        if let Some(parent) = folder.path().parent() {
            remove_abandoned(parent);
        }
        Ok(folder)
    }

    fn of(dir: TempDir) -> io::Result<Folder> {
        // It is locked before it has its name, so that nobody finds it unlocked.
        let new = dir.path().join("new");
        let lock = File::create_new(&new)?;
        lock.try_lock()?;
        fs::rename(new, dir.path().join(LOCK))?;
        Ok(Folder { dir, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Removes it with all that is in it.
    pub(crate) fn close(self) -> io::Result<()> {
        // Windows lets nobody remove a file that is open.
        drop(self.lock);
        self.dir.close()
    }
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder
}

/// Removes the folders whose servers are no more.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|there| there.is_dir() && is_private(&there));
        let lock = || File::options().write(true).open(entry.path().join(LOCK)).ok();
        // One without the file is being made.
        if is_one && lock().is_some_and(|lock| lock.try_lock().is_ok()) {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => log::info!("uploads of a server that was killed are removed"),
                Err(error) => log::warn!("{}: cannot be removed: {error}", entry.path().display()),
            }
        }
    }
}

/// Whether nobody else can have put anything there. Another user's folder that is as private cannot be looked into.
#[cfg(unix)]
fn is_private(there: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    there.mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_server_left_goes_and_the_rest_stays() {
        let parent = tempfile::tempdir().expect("a folder should be made");
        let make = || {
            let dir = builder().tempdir_in(parent.path()).expect("a folder should be made");
            Folder::of(dir).expect("it should be locked")
        };
        let running = make();
        let killed = make();
        fs::write(killed.path().join("000001"), "an upload").expect("there should be room");
        let Folder { dir, lock } = killed;
        let left = dir.keep();
        drop(lock);
        let being_made = builder().tempdir_in(parent.path()).expect("a folder should be made");
        let other = parent.path().join("kiln-other");
        fs::create_dir(&other).expect("a folder should be made");
        remove_abandoned(parent.path());
        assert!(!left.exists());
        assert!(running.path().exists() && being_made.path().exists() && other.exists());
        let path = running.path().to_owned();
        running.close().expect("it should go");
        assert!(!path.exists());
    }
}
