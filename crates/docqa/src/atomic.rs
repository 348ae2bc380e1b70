//! Folders that are there whole or not at all; files too, by way of [`kiln_models::atomic`].

use std::fs;
use std::io;
use std::path::Path;

use kiln_models::atomic::{UNFINISHED, parent};
use tempfile::Builder;

use crate::DocqaError;

/// [`write_file`](kiln_models::atomic::write_file), with the error of this crate.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DocqaError> {
    kiln_models::atomic::write_file(path, bytes).map_err(|error| DocqaError::writing(path, error))
}

/// How a folder is known to be one that Kiln wrote, and so may replace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The names of all its files. A folder with any other entry is somebody else's.
    pub(crate) files: &'a [&'a str],
    /// Tells files of these names from others': one of them has to have a `format` that begins so. Empty
    /// where the names are enough.
    pub(crate) formats: &'a [(&'a str, &'a str)],
}

/// Refuses a `path` at which [`replace_folder`] would have to delete something that is not `known`, or could
/// not make a folder.
pub(crate) fn check_target(path: &Path, known: Known<'_>) -> Result<(), DocqaError> {
    let refused = |reason: String| DocqaError::Target { path: path.to_path_buf(), reason };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(&target) {
        Ok(there) if !there.is_dir() => return Err(refused("it is a file, not a folder".into())),
        Ok(_) => check_entries(path, &target, known)?,
        Err(_) if fs::symlink_metadata(&target).is_ok() => {
            return Err(refused("it is a link to something that cannot be reached".into()));
        }
        Err(_) => {}
    }
    let mut beside = parent(&target);
    let is_absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    while fs::metadata(&beside).is_err_and(|error| is_absent(error.kind())) {
        beside = parent(&beside);
    }
    // Whether a folder takes new entries is known for sure only by making one.
    let made = match fs::metadata(&beside) {
        Ok(there) if there.is_dir() => builder().tempdir_in(&beside).map(drop),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) => Err(error),
    };
    made.map_err(|error| refused(format!("no folder can be made in {}: {}", beside.display(), error.kind())))
}

/// Refuses a folder that is neither empty nor known.
fn check_entries(path: &Path, target: &Path, known: Known<'_>) -> Result<(), DocqaError> {
    let reading = |error| DocqaError::reading(path, error);
    let refused = |reason: String| Err(DocqaError::NotAStore { path: path.to_path_buf(), reason });
    let mut is_empty = true;
    let mut others = Vec::new();
    for entry in fs::read_dir(target).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        is_empty = false;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().map_err(reading)?.is_file();
        if !is_file || !known.files.contains(&name.as_str()) {
            others.push(name);
        }
    }
    others.sort();
    match others.as_slice() {
        [] => {}
        [only] => return refused(format!("it holds {only}")),
        [first, second] => return refused(format!("it holds {first} and {second}")),
        [first, second, more @ ..] => {
            return refused(format!("it holds {first}, {second} and {} more", more.len()));
        }
    }
    let has_format = |(file, format): &(&str, &str)| {
        fs::read(target.join(file)).is_ok_and(|bytes| crate::store::format_begins(&bytes, format))
    };
    if is_empty || known.formats.is_empty() || known.formats.iter().any(has_format) {
        return Ok(());
    }
    let names = known.formats.iter().map(|(file, _)| *file).filter(|file| target.join(file).exists());
    refused(format!("its {} was not written by Kiln", names.collect::<Vec<_>>().join(" and ")))
}

/// Fills a new folder beside `path` and renames it into place. A folder that is there already is replaced
/// if it is empty or `known`; any other is left alone, and so is `path` when `fill` fails.
pub(crate) fn replace_folder(
    path: &Path,
    known: Known<'_>,
    fill: impl FnOnce(&Path) -> Result<(), DocqaError>,
) -> Result<(), DocqaError> {
    let failed = |error| DocqaError::writing(path, error);
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let exists = target.is_dir();
    if exists {
        check_entries(path, &target, known)?;
    }
    let beside = parent(&target);
    fs::create_dir_all(&beside).map_err(failed)?;
    let new = builder().tempdir_in(&beside).map_err(failed)?;
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
    let old = builder().tempdir_in(&beside).map_err(failed)?;
    let aside = old.path().join("old");
    fs::rename(&target, &aside).map_err(failed)?;
    // Something may have been put there since it was looked at; aside, nobody finds it any more.
    if let Err(error) = check_entries(path, &aside, known) {
        let _ = fs::rename(&aside, &target);
        return Err(error);
    }
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

/// Temporary folders are made for their owner alone; these become real ones, so they get the rights that any new
/// folder gets.
fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKED: Known<'_> = Known { files: &["mark", "more"], formats: &[] };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"one").unwrap();
        assert!(
            write_file(&path.join("below"), b"two").unwrap_err().to_string().contains("cannot be written")
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
        replace_folder(&path, MARKED, fill("mark")).unwrap();
        assert_eq!(names(&path), ["mark"]);
        fs::write(path.join("more"), "more").unwrap();
        replace_folder(&path, MARKED, fill("mark")).unwrap();
        assert_eq!(names(&path), ["mark"]);

        let failure = replace_folder(&path, MARKED, |_| Err(DocqaError::NoContexts));
        assert!(matches!(failure, Err(DocqaError::NoContexts)));
        assert_eq!(names(&path), ["mark"]);
        assert_eq!(names(folder.path()), ["store"]);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let error = replace_folder(folder.path(), MARKED, |_| Ok(())).unwrap_err();
        assert!(error.is_input_error());
        assert!(error.to_string().ends_with("other than a store: it holds letter.txt; it is left alone"));
        assert_eq!(names(folder.path()), ["letter.txt"]);

        // Nor does a known name make a folder of it, nor a known file what lies beside it.
        fs::create_dir(folder.path().join("mark")).unwrap();
        assert!(replace_folder(folder.path(), MARKED, |_| Ok(())).is_err());
        assert_eq!(names(folder.path()), ["letter.txt", "mark"]);
    }

    #[test]
    fn a_target_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "dear").unwrap();
        let refused = |path: &Path| {
            let error = check_target(path, MARKED).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert!(refused(&file).contains("file: no store can be written here: it is a file"));
        let below = refused(&file.join("deep/store"));
        assert!(below.contains("no folder can be made in ") && below.contains("file: "), "{below}");
        check_target(&folder.path().join("not/yet"), MARKED).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
    }
}
