//! Files that name the classes, a name a line.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::TrainError;

/// The lines of a file that are not blank; `None` where there is no file.
pub(super) fn read_names(path: &Path) -> Result<Option<Vec<String>>, TrainError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(TrainError::content(path, "not UTF-8 text, expected the name of a class a line"));
        }
        Err(error) => return Err(TrainError::io(path, error)),
    };
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(TrainError::content(path, "no names, expected the name of a class a line"));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_lines_that_are_not_blank() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            let names = read_names(&path);
            names.map_err(|error| error.to_string().replace(&path.display().to_string(), "names.txt"))
        };
        assert_eq!(read(b"one\r\n two\n\n").unwrap().unwrap(), ["one", "two"]);
        assert_eq!(read(b"\n ").unwrap_err(), "names.txt: no names, expected the name of a class a line");
        assert_eq!(
            read(&[0xff]).unwrap_err(),
            "names.txt: not UTF-8 text, expected the name of a class a line"
        );
        assert!(read_names(&folder.path().join("nowhere")).unwrap().is_none());
        assert!(read_names(folder.path()).is_err());
    }
}
