//! The progress of an index being made: the embeddings so far, in a file that is only ever appended to. A process may be
//! killed at any moment: what is whole is taken up by the next one, and what follows is cut off.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A text, by its SHA-256.
type Key = [u8; 32];

/// How many bytes of a row's SHA-256 follow it.
const CHECK: usize = 8;

/// Embeddings in a file, by the text that they are of.
pub(super) struct Journal {
    file: Option<JournalFile>,
}

struct JournalFile {
    path: PathBuf,
    file: File,
    /// How many values an embedding has.
    dim: usize,
    /// Where in the file the embedding of a text begins.
    places: HashMap<Key, u64>,
    /// Where the next row goes.
    end: u64,
}

/// The first line.
#[derive(Serialize, Deserialize, PartialEq)]
struct Head {
    format: String,
    model: String,
    dim: usize,
}

const FORMAT: &str = "kiln-progress/1";
/// How each journal begins, whatever its version.
const MARK: &[u8] = b"{\"format\":\"kiln-progress/";

impl Journal {
    /// Takes up a journal of this model, or begins one. Where the file cannot be had, or another process has it, nothing
    /// is kept; the log says so.
    pub(super) fn open(path: Option<PathBuf>, model: &str, dim: usize) -> Self {
        let Some(path) = path else { return Self { file: None } };
        match JournalFile::open(&path, &Head { format: FORMAT.into(), model: model.into(), dim }) {
            Ok(file) => Self { file: Some(file) },
            Err(error) => {
                log::warn!("{}: progress is not kept: {error}", path.display());
                Self { file: None }
            }
        }
    }

    /// The embedding of a text.
    pub(super) fn get(&mut self, text: &str) -> Option<Vec<f32>> {
        let journal = self.file.as_mut()?;
        let place = *journal.places.get(&key(text))?;
        let read = journal.read_values(place);
        read.inspect_err(|error| log::warn!("{}: cannot be read: {error}", journal.path.display())).ok()
    }

    /// Keeps embeddings, in the file as soon as the system pleases.
    pub(super) fn append<'a>(&mut self, rows: impl IntoIterator<Item = (&'a str, &'a [f32])>) {
        self.write(|journal| journal.append(rows));
    }

    /// Has the system bring to the disk what was appended.
    pub(super) fn sync(&mut self) {
        self.write(|journal| journal.file.sync_data());
    }

    fn write(&mut self, write: impl FnOnce(&mut JournalFile) -> io::Result<()>) {
        if let Some(journal) = &mut self.file
            && let Err(error) = write(journal)
        {
            log::warn!("{}: progress is not kept: {error}", journal.path.display());
            self.file = None;
        }
    }

    /// Removes the file: the index is made.
    pub(super) fn remove(self) {
        if let Some(JournalFile { path, file, .. }) = self.file {
            // Windows lets nobody remove a file that is open.
            drop(file);
            if let Err(error) = fs::remove_file(&path) {
                log::warn!("{}: cannot be removed: {error}", path.display());
            }
        }
    }
}

impl JournalFile {
    fn open(path: &Path, head: &Head) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another process is making this index"),
            fs::TryLockError::Error(error) => error,
        })?;
        let mut start = Vec::new();
        (&file).take(MARK.len() as u64).read_to_end(&mut start)?;
        if !MARK.starts_with(&start) {
            return Err(io::Error::other("there is a file of something else"));
        }
        file.rewind()?;
        let mut line = serde_json::to_vec(head)?;
        line.push(b'\n');
        let mut journal = Self { path: path.into(), file, dim: head.dim, places: HashMap::new(), end: 0 };
        journal.take_up(&line)?;
        if journal.end == 0 {
            journal.file.set_len(0)?;
            journal.file.rewind()?;
            journal.file.write_all(&line)?;
            journal.end = line.len() as u64;
        }
        Ok(journal)
    }

    /// Finds the rows up to the first that is not whole; none where the first line is another one.
    fn take_up(&mut self, line: &[u8]) -> io::Result<()> {
        let mut from = BufReader::new(&self.file);
        let mut head = vec![0; line.len()];
        if from.read_exact(&mut head).is_err() || head != line {
            return Ok(());
        }
        self.end = line.len() as u64;
        let mut row = vec![0; size_of::<Key>() + self.dim * 4 + CHECK];
        while from.read_exact(&mut row).is_ok() {
            let (content, check) = row.split_at(row.len() - CHECK);
            if Sha256::digest(content)[..CHECK] != *check {
                break;
            }
            if let Some(key) = content.first_chunk() {
                self.places.insert(*key, self.end + size_of::<Key>() as u64);
            }
            self.end += row.len() as u64;
        }
        // What is not whole is overwritten by what comes next, which may be shorter.
        self.file.set_len(self.end)
    }

    fn read_values(&mut self, place: u64) -> io::Result<Vec<f32>> {
        let mut bytes = vec![0; self.dim * 4];
        self.file.seek(SeekFrom::Start(place))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    fn append<'a>(&mut self, rows: impl IntoIterator<Item = (&'a str, &'a [f32])>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (text, values) in rows {
            let start = bytes.len();
            let key = key(text);
            bytes.extend_from_slice(&key);
            self.places.insert(key, self.end + bytes.len() as u64);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let check = Sha256::digest(&bytes[start..]);
            bytes.extend_from_slice(&check[..CHECK]);
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn key(text: &str) -> Key {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Journal {
        Journal::open(Some(path.into()), "model", 2)
    }

    #[test]
    fn what_is_whole_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/progress");
        let mut journal = open(&path);
        journal.append([("one", &[1.0, 0.5][..]), ("two", &[2.0, -0.5])]);
        journal.append([("three", &[3.0, 0.0][..])]);
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let row = 32 + 8 + 8;
        let head = whole.len() - 3 * row;
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = open(&path);
            let known = ["one", "two", "three"].map(|text| journal.get(text).is_some());
            let rows = cut.saturating_sub(head) / row;
            assert_eq!(known, [rows >= 1, rows >= 2, rows >= 3], "{cut} bytes of {}", whole.len());
            // It goes on from there.
            journal.append([("four", &[4.0, 0.25][..])]);
            drop(journal);
            let mut journal = open(&path);
            assert_eq!(journal.get("four"), Some(vec![4.0, 0.25]));
            assert_eq!(journal.get("one").is_some(), rows >= 1);
        }
        let mut damaged = whole.clone();
        damaged[head + row + 40] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let mut journal = open(&path);
        assert!(
            journal.get("one").is_some() && journal.get("two").is_none() && journal.get("three").is_none()
        );
        journal.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress");
        fs::write(&path, "I finished a chapter").unwrap();
        let journal = open(&path);
        assert!(journal.file.is_none());
        journal.remove();
        assert_eq!(fs::read(&path).unwrap(), b"I finished a chapter");
    }

    #[test]
    fn another_model_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress");
        open(&path).append([("one", &[1.0, 0.5][..])]);
        let mut other = Journal::open(Some(path.clone()), "other", 2);
        assert!(other.get("one").is_none());
        drop(other);
        assert!(open(&path).get("one").is_none());
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress");
        let first = open(&path);
        // The first one has the lock.
        for mut journal in
            [open(&path), open(&folder.path().join("progress/below")), Journal::open(None, "", 2)]
        {
            assert!(journal.file.is_none());
            journal.append([("one", &[1.0, 0.5][..])]);
            journal.sync();
            assert!(journal.get("one").is_none());
            journal.remove();
        }
        first.remove();
    }
}
