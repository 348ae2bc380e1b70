//! Files that are there whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// What the names of unfinished files begin with. Only a process that was killed leaves one behind.
pub const UNFINISHED: &str = ".kiln-";

/// Writes a file beside `path`, has the system bring it to the disk, and renames it into place: whatever happens,
/// `path` is what it was or what it is to be. Missing folders are made; a link at `path` is followed, and the rights of
/// a file that was there are kept.
///
/// # Errors
/// What the system says.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(parent(&target(path)))?;
    let mut unfinished = Unfinished::beside(path)?;
    if let Ok(metadata) = fs::metadata(&unfinished.target) {
        unfinished.file.as_file().set_permissions(metadata.permissions())?;
    }
    unfinished.write_all(bytes)?;
    unfinished.file.as_file().sync_all()?;
    unfinished.finish()
}

/// A file in the making, for what is written bit by bit: it stands beside its path under another name until it is
/// finished, and is removed where that is never reached.
#[derive(Debug)]
pub struct Unfinished {
    file: NamedTempFile,
    target: PathBuf,
}

impl Unfinished {
    /// Begins a file that is to be at `path`; a link there is followed.
    ///
    /// # Errors
    /// Where its folder is missing or takes no new file.
    pub fn beside(path: &Path) -> io::Result<Unfinished> {
        // A rename works within one file system, so the temporary file is a neighbour.
        let target = target(path);
        Ok(Unfinished { file: builder().tempfile_in(parent(&target))?, target })
    }

    /// Where it is until then.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Gives it its name, and its place to it. What was there is replaced.
    ///
    /// # Errors
    /// What the system says; `path` is what it was then.
    pub fn finish(self) -> io::Result<()> {
        self.file.persist(&self.target)?;
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes what processes that were killed left unfinished in a folder. Nobody else may be writing there.
///
/// # Errors
/// Where the folder cannot be read or such a file cannot be removed.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Where a link leads, so that the file behind it is replaced and not the link; any other path is itself.
pub fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The folder that holds a file.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are made for their owner alone; these become real ones, so they get the rights that any new file
/// gets.
fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file.json");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()), ["file.json"]);
        assert!(write_file(&path.join("below"), b"three").is_err());
    }

    #[test]
    fn an_unfinished_file_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = Unfinished::beside(&path).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!path.exists() && file.path().starts_with(folder.path()));
        file.finish().unwrap();
        let mut file = Unfinished::beside(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["file"]);
        assert!(Unfinished::beside(&folder.path().join("no/file")).is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".kiln-a1b2c3", "kiln-run", ".other"] {
            fs::write(folder.path().join(name), "words").unwrap();
        }
        fs::create_dir(folder.path().join(".kiln-folder")).unwrap();
        remove_unfinished(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".kiln-folder", ".other", "kiln-run"]);
        assert!(remove_unfinished(&folder.path().join("nowhere")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn rights_are_those_of_any_new_file_and_links_are_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        write_file(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path) & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
