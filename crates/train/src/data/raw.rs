//! Files that say how long they are: read whole, plain or through gzip, and nothing more than announced.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::TrainError;

/// What is set aside before anything is read: a length is only a claim until the bytes are there.
const ADVANCE: u64 = 64 << 20;

/// An open file, unpacked where it is a gzip file; its content tells, not its name.
pub(super) struct Raw {
    file: PathBuf,
    reader: Box<dyn Read>,
    compressed: bool,
    /// How many bytes have been read.
    position: u64,
}

impl Raw {
    pub(super) fn open(path: &Path) -> Result<Raw, TrainError> {
        let io = |error| TrainError::io(path, error);
        let mut file = File::open(path).map_err(io)?;
        let mut start = Vec::new();
        (&mut file).take(2).read_to_end(&mut start).map_err(io)?;
        file.rewind().map_err(io)?;
        let compressed = start == [0x1f, 0x8b];
        let file = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> =
            if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Raw { file: path.to_owned(), reader, compressed, position: 0 })
    }

    /// The next 32-bit numbers, highest byte first.
    pub(super) fn numbers<const N: usize>(&mut self) -> Result<[u32; N], TrainError> {
        let bytes = self.bytes(4 * N as u64)?;
        let mut words = bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
        Ok(std::array::from_fn(|_| words.next().expect("all bytes should have been read")))
    }

    /// The rest of the file, which should be that many bytes.
    pub(super) fn rest(mut self, length: u64) -> Result<Vec<u8>, TrainError> {
        let bytes = self.bytes(length)?;
        let mut more = Vec::new();
        self.reader.by_ref().take(1).read_to_end(&mut more).map_err(|error| self.failed(error))?;
        if more.is_empty() {
            return Ok(bytes);
        }
        Err(TrainError::TooLong { file: self.file, expected: self.position, compressed: self.compressed })
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, TrainError> {
        let expected = self.position.saturating_add(length);
        let mut bytes = Vec::with_capacity(length.min(ADVANCE) as usize);
        let end = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        self.position += bytes.len() as u64;
        match end {
            // A gzip file that is cut off ends early, too.
            Err(error) if !(self.compressed && error.kind() == ErrorKind::UnexpectedEof) => {
                Err(self.failed(error))
            }
            _ if (bytes.len() as u64) < length => Err(TrainError::Truncated {
                file: self.file.clone(),
                expected,
                found: self.position,
                compressed: self.compressed,
            }),
            _ => Ok(bytes),
        }
    }

    fn failed(&self, error: io::Error) -> TrainError {
        // The decoder's own kinds; a disk's are others.
        let of_gzip = matches!(
            error.kind(),
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
        );
        if self.compressed && of_gzip {
            return TrainError::Compressed { file: self.file.clone(), source: error };
        }
        TrainError::io(&self.file, error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Reads one number and `length` bytes of a file with this content.
    fn read(content: &[u8], length: u64) -> Result<(u32, Vec<u8>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        let read = || {
            let mut raw = Raw::open(&path)?;
            let [number] = raw.numbers()?;
            Ok((number, raw.rest(length)?))
        };
        let tidy = |error: TrainError| error.to_string().replace(&path.display().to_string(), "file");
        read().map_err(tidy)
    }

    const CONTENT: &[u8] = &[0, 0, 8, 3, 1, 2, 3, 4, 5];

    #[test]
    fn plain_and_packed_files_read_alike() {
        let expected = Ok((0x803, vec![1, 2, 3, 4, 5]));
        assert_eq!(read(CONTENT, 5), expected);
        assert_eq!(read(&gzip(CONTENT), 5), expected);
        let in_two = [gzip(&CONTENT[..6]), gzip(&CONTENT[6..])].concat();
        assert_eq!(read(&in_two, 5), expected);
    }

    #[test]
    fn a_wrong_length_is_named() {
        let message = |content: &[u8], length| read(content, length).unwrap_err();
        assert_eq!(message(CONTENT, 7), "file: truncated: expected 11 bytes, found 9");
        assert_eq!(message(&CONTENT[..3], 7), "file: truncated: expected 4 bytes, found 3");
        assert_eq!(message(&[], 7), "file: truncated: expected 4 bytes, found 0");
        assert_eq!(message(CONTENT, 4), "file: too long: expected 8 bytes, found more");
        assert_eq!(
            message(CONTENT, u64::MAX),
            format!("file: truncated: expected {} bytes, found 9", u64::MAX)
        );
        assert_eq!(message(&gzip(CONTENT), 7), "file: truncated: expected 11 bytes once unpacked, found 9");
        assert_eq!(message(&gzip(CONTENT), 4), "file: too long: expected 8 bytes once unpacked, found more");
    }

    #[test]
    fn a_gzip_file_that_is_cut_off_or_damaged_is_refused() {
        let random: Vec<u8> = (0..2000_u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let packed = gzip(&random);
        let cut = read(&packed[..packed.len() / 2], 1996).unwrap_err();
        assert!(cut.starts_with("file: truncated: expected 2000 bytes once unpacked, found "), "{cut}");
        // All bytes are there, their checksum is not.
        let cut = read(&packed[..packed.len() - 4], 1996).unwrap_err();
        assert!(cut.starts_with("file: not a sound gzip file: "), "{cut}");
        let mut wrong = packed.clone();
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        let wrong = read(&wrong, 1996).unwrap_err();
        assert!(wrong.starts_with("file: not a sound gzip file: "), "{wrong}");
        let wrong = read(&[0x1f, 0x8b, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7], 9).unwrap_err();
        assert!(wrong.starts_with("file: not a sound gzip file: "), "{wrong}");
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = Raw::open(folder.path()) else { panic!("a folder should not open") };
        assert!(error.is_input_error(), "{error}");
        assert!(error.to_string().starts_with(&folder.path().display().to_string()));
    }
}
