//! Folders that Kiln may write into, and files in them that are there whole or not at all, by way of
//! [`kiln_models::atomic`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use kiln_models::atomic::{UNFINISHED, parent};
use tempfile::Builder;

use crate::DocqaError;

/// [`write_file`](kiln_models::atomic::write_file), with the error of this crate.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DocqaError> {
    kiln_models::atomic::write_file(path, bytes).map_err(|error| DocqaError::writing(path, error))
}

/// How a folder is known to be one that Kiln wrote, and so may write again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The names of all its files. A folder with any other entry is somebody else's.
    pub(crate) files: &'a [&'a str],
    /// Tells files of these names from others': one of them has to have this within its first bytes. Empty where the
    /// names are enough.
    pub(crate) mark: &'a str,
}

/// Refuses a `path` whose folder holds anything that is not `known`, and one that is not there and could not be made.
pub(crate) fn check_target(path: &Path, known: Known<'_>) -> Result<(), DocqaError> {
    let refused = |reason: String| DocqaError::Target { path: path.to_path_buf(), reason };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let is_there = match fs::metadata(&target) {
        Ok(there) if !there.is_dir() => return Err(refused("it is a file, not a folder".into())),
        Ok(_) => {
            check_entries(path, &target, known)?;
            true
        }
        Err(_) if fs::symlink_metadata(&target).is_ok() => {
            return Err(refused("it is a link to something that cannot be reached".into()));
        }
        Err(_) => false,
    };
    let mut folder = target;
    let is_absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    while !is_there && fs::metadata(&folder).is_err_and(|error| is_absent(error.kind())) {
        folder = parent(&folder);
    }
    // Whether a folder takes new entries is known for sure only by making one.
    let made = match fs::metadata(&folder) {
        Ok(there) if there.is_dir() => Builder::new().prefix(UNFINISHED).tempfile_in(&folder).map(drop),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) => Err(error),
    };
    let what = if is_there { "file" } else { "folder" };
    made.map_err(|error| refused(format!("no {what} can be made in {}: {}", folder.display(), error.kind())))
}

/// Refuses a folder that is neither empty nor known.
fn check_entries(path: &Path, target: &Path, known: Known<'_>) -> Result<(), DocqaError> {
    let reading = |error| DocqaError::reading(path, error);
    let refused = |reason: String| Err(DocqaError::NotAStore { path: path.to_path_buf(), reason });
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(target).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().map_err(reading)?.is_file();
        if is_file && known.files.contains(&name.as_str()) {
            files.push(name);
        } else if !(is_file && name.starts_with(UNFINISHED)) {
            others.push(name);
        }
    }
    others.sort();
    files.sort();
    match others.as_slice() {
        [] => {}
        [only] => return refused(format!("it holds {only}")),
        [first, second] => return refused(format!("it holds {first} and {second}")),
        [first, second, more @ ..] => {
            return refused(format!("it holds {first}, {second} and {} more", more.len()));
        }
    }
    if files.is_empty()
        || known.mark.is_empty()
        || files.iter().any(|file| has_mark(&target.join(file), known.mark))
    {
        return Ok(());
    }
    refused(format!("its {} was not written by Kiln", files.join(" and ")))
}

/// Whether a file has this within its first bytes.
pub(crate) fn has_mark(file: &Path, mark: &str) -> bool {
    const WITHIN: u64 = 512;
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(WITHIN).read_to_end(&mut start));
    read.is_ok() && start.windows(mark.len().max(1)).any(|window| window == mark.as_bytes())
}

/// Removes what processes that were killed long ago left unfinished in a folder. What is younger may be another
/// process's work.
pub(crate) fn remove_abandoned(folder: &Path) {
    const AGE: Duration = Duration::from_secs(60 * 60);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && age().is_some_and(|age| age > AGE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKED: Known<'_> = Known { files: &["mark", "more"], mark: "by kiln" };

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
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
    fn a_folder_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (check, path) = (|| check_target(folder.path(), MARKED), |name: &str| folder.path().join(name));
        check().unwrap();
        fs::write(path("mark"), "made by kiln").unwrap();
        fs::write(path(".kiln-a1b2"), "half a file").unwrap();
        check().unwrap();
        fs::write(path("letter.txt"), "dear").unwrap();
        let error = check().unwrap_err();
        assert!(error.is_input_error());
        assert!(error.to_string().ends_with("other than a store: it holds letter.txt; it is left alone"));
        fs::remove_file(path("letter.txt")).unwrap();
        fs::create_dir(path("more")).unwrap();
        assert!(check().unwrap_err().to_string().contains("it holds more"));
        fs::remove_dir(path("more")).unwrap();
        fs::write(path("mark"), "made by hand").unwrap();
        assert!(check().unwrap_err().to_string().contains("its mark was not written by Kiln"));
        fs::write(path("more"), "by kiln").unwrap();
        check().unwrap();
        assert_eq!(names(folder.path()), [".kiln-a1b2", "mark", "more"]);
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

    #[test]
    fn what_was_abandoned_goes_and_what_is_young_stays() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join(".kiln-old");
        fs::write(&old, "").unwrap();
        fs::write(folder.path().join(".kiln-new"), "").unwrap();
        let then = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
        remove_abandoned(folder.path());
        assert_eq!(names(folder.path()), [".kiln-new"]);
    }
}
