//! Files and folders that are there whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::DocqaError;

/// Writes a file beside `path` and renames it into place. A link at `path` is followed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DocqaError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = parent(&target);
    let write = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let mut temporary = builder(false).tempfile_in(&folder)?;
        if let Ok(metadata) = fs::metadata(&target) {
            temporary.as_file().set_permissions(metadata.permissions())?;
        }
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&target)?;
        Ok(())
    };
    write().map_err(|error| DocqaError::writing(path, error))
}

/// Fills a new folder beside `path` and renames it into place. A folder that is there already is replaced
/// if it is empty or holds the file `marker`; any other is left alone, and so is `path` when `fill` fails.
pub(crate) fn replace_folder(
    path: &Path,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<(), DocqaError>,
) -> Result<(), DocqaError> {
    let failed = |error| DocqaError::writing(path, error);
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let exists = target.exists();
    if exists && !target.join(marker).exists() && fs::read_dir(&target).map_err(failed)?.next().is_some() {
        return Err(DocqaError::NotAStore { path: path.to_path_buf() });
    }
    let beside = parent(&target);
    fs::create_dir_all(&beside).map_err(failed)?;
    let new = builder(true).tempdir_in(&beside).map_err(failed)?;
    fill(new.path())?;

    if !exists {
        // Where another process was faster, what it wrote is replaced below.
        match fs::rename(new.path(), &target) {
            Ok(()) => return keep(new),
            Err(error) if !target.exists() => return Err(failed(error)),
            Err(_) => {}
        }
    }
    // A folder cannot be renamed over one that is not empty, so the old one steps aside first.
    let old = builder(true).tempdir_in(&beside).map_err(failed)?;
    let aside = old.path().join("old");
    fs::rename(&target, &aside).map_err(failed)?;
    if let Err(error) = fs::rename(new.path(), &target) {
        let _ = fs::rename(&aside, &target);
        return Err(failed(error));
    }
    keep(new)
}

/// Lets go of a temporary folder that now has its real name.
fn keep(folder: tempfile::TempDir) -> Result<(), DocqaError> {
    let _ = folder.keep();
    Ok(())
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are made for their owner alone; these become real ones, so they get the rights that
/// any new file or folder gets.
fn builder(_folder: bool) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".kiln-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(if _folder { 0o777 } else { 0o666 }));
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
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
        assert!(
            write_file(&path.join("below"), b"three").unwrap_err().to_string().contains("cannot be written")
        );
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let fill = |name: &'static str| {
            move |folder: &Path| {
                fs::write(folder.join(name), name).map_err(|e| DocqaError::writing(folder, e))
            }
        };
        replace_folder(&path, "mark", fill("mark")).unwrap();
        assert_eq!(names(&path), ["mark"]);
        fs::write(path.join("more"), "more").unwrap();
        replace_folder(&path, "mark", fill("mark")).unwrap();
        assert_eq!(names(&path), ["mark"]);

        let failure = replace_folder(&path, "mark", |_| Err(DocqaError::NoContexts));
        assert!(matches!(failure, Err(DocqaError::NoContexts)));
        assert_eq!(names(&path), ["mark"]);
        assert_eq!(names(folder.path()), ["store"]);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let error = replace_folder(folder.path(), "mark", |_| Ok(())).unwrap_err();
        assert!(error.is_input_error());
        assert!(error.to_string().ends_with("not empty and not a store, so it is left alone"));
        assert_eq!(names(folder.path()), ["letter.txt"]);
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
