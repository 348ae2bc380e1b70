//! The IDX files that MNIST and its relatives come in, plain or packed by gzip.
//!
//! An IDX file begins with two zero bytes, one for the type (8: unsigned bytes), one for the number of dimensions, and
//! the dimensions as 32-bit numbers, highest byte first; then come the values, rows first. A part of a data set is two
//! files: images (three dimensions) and labels (one).
//!
//! The files do not name the classes. A file `classes.txt` beside them does, a name a line; without it the classes of
//! Fashion-MNIST are known by a folder whose name holds `fashion`, and any other are called by their numbers: ten of
//! them, as in MNIST, or more where a label of either part says so.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::read_names;
use super::raw::Raw;
use super::{Dataset, Part};
use crate::TrainError;

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A folder of IDX files.
#[derive(Clone, Debug)]
pub struct Idx {
    folder: PathBuf,
}

/// The two files of a part.
struct Files {
    images: PathBuf,
    labels: PathBuf,
}

impl Idx {
    /// The folder, if it holds any of the files: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with
    /// `t10k`; each of them also with a dot before `idx`, and with `.gz` at the end.
    pub fn detect(folder: &Path) -> Option<Idx> {
        let there = [Part::Train, Part::Test].iter().any(|part| {
            let found = |kind| find(folder, *part, kind).is_ok();
            found("images-idx3") || found("labels-idx1")
        });
        there.then(|| Idx { folder: folder.to_owned() })
    }

    /// Reads a part.
    ///
    /// # Errors
    /// Where a file is missing, cannot be read, begins with another magic number, is shorter or longer than its header
    /// says, or where labels are not as many as images or stand for no class.
    pub fn load(&self, part: Part) -> Result<Dataset, TrainError> {
        let files = self.files(part)?;
        let (shape, count, pixels) = read_images(&files.images)?;
        let labels = read_labels(&files.labels)?;
        if labels.len() as u64 != u64::from(count) {
            let (expected, found) = (u64::from(count), labels.len() as u64);
            return Err(TrainError::Counts { images: files.images, labels: files.labels, expected, found });
        }
        let classes = self.classes(part, &labels)?;
        if let Some(example) = labels.iter().position(|label| usize::from(*label) >= classes.len()) {
            let (file, label) = (files.labels, u32::from(labels[example]));
            return Err(TrainError::Label { file, example, label, classes: classes.len() });
        }
        let name = format!("{} ({part})", self.folder.display());
        Dataset::from_memory(name, shape, classes, pixels, labels.into_iter().map(u32::from).collect())
    }

    fn files(&self, part: Part) -> Result<Files, TrainError> {
        let images = find(&self.folder, part, "images-idx3");
        let labels = find(&self.folder, part, "labels-idx1");
        match (images, labels) {
            (Ok(images), Ok(labels)) => Ok(Files { images, labels }),
            (images, labels) => {
                let missing = [images.err(), labels.err()].into_iter().flatten();
                let missing = missing.map(|name| format!("{name} (or {name}.gz)")).collect();
                Err(TrainError::MissingFiles { folder: self.folder.clone(), missing })
            }
        }
    }

    /// The names of the classes. Both parts have the same, so the labels of the other count as well.
    fn classes(&self, part: Part, labels: &[u8]) -> Result<Vec<String>, TrainError> {
        if let Some(names) = read_names(&self.folder.join("classes.txt"))? {
            return Ok(names);
        }
        let other = if part == Part::Train { Part::Test } else { Part::Train };
        let other = match find(&self.folder, other, "labels-idx1") {
            Ok(path) => read_labels(&path)?,
            Err(_) => Vec::new(),
        };
        let highest = labels.iter().chain(&other).max().map_or(0, |label| usize::from(*label));
        let folder = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let fashion =
            folder.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("fashion"));
        Ok(if fashion && highest < FASHION.len() {
            FASHION.map(str::to_owned).to_vec()
        } else {
            (0..=highest.max(9)).map(|class| class.to_string()).collect()
        })
    }
}

/// The path of a file, or the name by which it is missed.
fn find(folder: &Path, part: Part, kind: &str) -> Result<PathBuf, String> {
    let part = if part == Part::Train { "train" } else { "t10k" };
    let name = format!("{part}-{kind}-ubyte");
    // As some programs name it once it is unpacked.
    let dotted = name.replace("-idx", ".idx");
    let names = [name.clone(), dotted.clone(), format!("{name}.gz"), format!("{dotted}.gz")];
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or(name)
}

/// The shape of an image, the number of them, and their pixels.
fn read_images(path: &Path) -> Result<([usize; 3], u32, Vec<u8>), TrainError> {
    let mut raw = Raw::open(path)?;
    let [magic] = raw.numbers()?;
    expect_magic(path, IMAGES, magic, "unsigned bytes of three dimensions: images")?;
    let [count, height, width] = raw.numbers()?;
    let bytes = u64::from(height) * u64::from(width);
    let bytes = bytes.checked_mul(u64::from(count)).filter(|bytes| *bytes > 0);
    let Some(bytes) = bytes else {
        let message = format!("{count} images of {width}x{height} pixels are none, or too many");
        return Err(TrainError::content(path, message));
    };
    Ok(([1, height as usize, width as usize], count, raw.rest(bytes)?))
}

fn read_labels(path: &Path) -> Result<Vec<u8>, TrainError> {
    let mut raw = Raw::open(path)?;
    let [magic] = raw.numbers()?;
    expect_magic(path, LABELS, magic, "unsigned bytes of one dimension: labels")?;
    let [count] = raw.numbers()?;
    raw.rest(u64::from(count))
}

fn expect_magic(path: &Path, expected: u32, found: u32, kind: &'static str) -> Result<(), TrainError> {
    if found == expected {
        return Ok(());
    }
    Err(TrainError::Magic { file: path.to_owned(), expected, found, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(magic: u32, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
        let header = std::iter::once(&magic).chain(dimensions).flat_map(|number| number.to_be_bytes());
        header.chain(values.iter().copied()).collect()
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        /// Three training images of 2 x 3 pixels with labels 0, 9 and 3, and two test images.
        fn new() -> Folder {
            let folder = Folder(tempfile::Builder::new().prefix("idx-").tempdir().unwrap());
            let pixels: Vec<u8> = (0..18).collect();
            folder.write("train-images-idx3-ubyte", &idx(IMAGES, &[3, 2, 3], &pixels));
            folder.write("train-labels-idx1-ubyte", &idx(LABELS, &[3], &[0, 9, 3]));
            folder.write("t10k-images.idx3-ubyte", &idx(IMAGES, &[2, 2, 3], &pixels[..12]));
            folder.write("t10k-labels.idx1-ubyte", &idx(LABELS, &[2], &[1, 2]));
            folder
        }

        fn write(&self, name: &str, content: &[u8]) {
            fs::write(self.0.path().join(name), content).unwrap();
        }

        fn load(&self, part: Part) -> Result<Dataset, String> {
            let here = self.0.path().display().to_string();
            let idx = Idx::detect(self.0.path()).expect("it should be found");
            idx.load(part).map_err(|error| error.to_string().replace(&here, "."))
        }
    }

    #[test]
    fn both_parts_are_read() {
        let folder = Folder::new();
        let train = folder.load(Part::Train).unwrap();
        assert_eq!((train.len(), train.shape(), train.classes().len()), (3, [1, 2, 3], 10));
        assert_eq!(train.example(1).unwrap(), [6, 7, 8, 9, 10, 11]);
        assert!(train.labels().eq([0, 9, 3]));
        assert!(train.name().ends_with("(training part)"));
        let test = folder.load(Part::Test).unwrap();
        assert_eq!((test.len(), test.label(1), test.classes()[9].as_str()), (2, 2, "9"));
    }

    #[test]
    fn classes_have_names_where_they_are_known() {
        let folder = Folder::new();
        folder.write("classes.txt", b"zero\none \n\ntwo\nthree\n4\n5\n6\n7\n8\nnine\n");
        assert_eq!(folder.load(Part::Test).unwrap().classes()[1], "one");
        folder.write("classes.txt", b"zero\none\ntwo\n");
        let error = folder.load(Part::Train).unwrap_err();
        assert_eq!(error, "./train-labels-idx1-ubyte: example 1 has label 9, expected 0 to 2");
        folder.write("classes.txt", b" \n");
        let error = folder.load(Part::Train).unwrap_err();
        assert_eq!(error, "./classes.txt: no names, expected the name of a class a line");
        folder.write("classes.txt", &[0xff]);
        assert!(folder.load(Part::Train).unwrap_err().contains("not UTF-8"));
        // Labels of the other part count.
        let folder = Folder::new();
        folder.write("t10k-labels.idx1-ubyte", &idx(LABELS, &[2], &[1, 25]));
        assert_eq!(folder.load(Part::Train).unwrap().classes().len(), 26);
    }

    #[test]
    fn fashion_is_known_by_its_folder() {
        let folder = Folder(tempfile::Builder::new().prefix("Fashion-").tempdir().unwrap());
        folder.write("t10k-images-idx3-ubyte", &idx(IMAGES, &[1, 1, 1], &[7]));
        folder.write("t10k-labels-idx1-ubyte", &idx(LABELS, &[1], &[9]));
        assert_eq!(folder.load(Part::Test).unwrap().classes()[9], "Ankle boot");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |name: &str, content: &[u8], expected: &str| {
            let folder = Folder::new();
            folder.write(name, content);
            assert_eq!(folder.load(Part::Train).unwrap_err(), format!("./{expected}"));
        };
        let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
        let good = idx(IMAGES, &[3, 2, 3], &[0; 18]);
        check(images, &good[..30], "train-images-idx3-ubyte: truncated: expected 34 bytes, found 30");
        check(images, &good[..7], "train-images-idx3-ubyte: truncated: expected 16 bytes, found 7");
        check(images, &good[..0], "train-images-idx3-ubyte: truncated: expected 4 bytes, found 0");
        check(
            images,
            &idx(LABELS, &[3], &[0, 1, 2]),
            "train-images-idx3-ubyte: magic number 0x00000801, expected 0x00000803 (unsigned bytes of three \
             dimensions: images)",
        );
        check(
            labels,
            &good,
            "train-labels-idx1-ubyte: magic number 0x00000803, expected 0x00000801 (unsigned bytes of one \
             dimension: labels)",
        );
        check(
            images,
            &idx(IMAGES, &[3, 0, 3], &[]),
            "train-images-idx3-ubyte: 3 images of 3x0 pixels are none, or too many",
        );
        check(
            images,
            &idx(IMAGES, &[u32::MAX; 3], &[]),
            "train-images-idx3-ubyte: 4294967295 images of 4294967295x4294967295 pixels are none, or too many",
        );
        check(
            images,
            &idx(IMAGES, &[u32::MAX, 28, 28], &[0; 5]),
            "train-images-idx3-ubyte: truncated: expected 3367254359296 bytes, found 21",
        );
        check(
            images,
            &idx(IMAGES, &[3, 2, 3], &[0; 19]),
            "train-images-idx3-ubyte: too long: expected 34 bytes, found more",
        );
        check(
            labels,
            &idx(LABELS, &[4], &[0; 4]),
            "train-labels-idx1-ubyte: 4 labels, expected 3, one for each image of ./train-images-idx3-ubyte",
        );
    }

    #[test]
    fn missing_files_are_listed() {
        let folder = Folder::new();
        fs::remove_file(folder.0.path().join("train-images-idx3-ubyte")).unwrap();
        let missing = folder.load(Part::Train).unwrap_err();
        assert_eq!(missing, ".: train-images-idx3-ubyte (or train-images-idx3-ubyte.gz) missing");
        assert!(folder.load(Part::Test).is_ok());
        assert!(Idx::detect(&folder.0.path().join("nowhere")).is_none());
    }
}
