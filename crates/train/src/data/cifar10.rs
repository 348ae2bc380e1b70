//! The binary batches of CIFAR-10.
//!
//! Each file holds 10,000 records of 3,073 bytes: a label from 0 to 9, then 32 x 32 pixels of red, of green and of
//! blue. The training part is `data_batch_1.bin` to `data_batch_5.bin`, the test part `test_batch.bin`;
//! `batches.meta.txt` names the classes, a name a line, and without it they have the names they were published with.

use std::path::{Path, PathBuf};

use super::names::read_names;
use super::raw::Raw;
use super::{Dataset, Part};
use crate::TrainError;

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// Records a file.
const RECORDS: usize = 10_000;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A folder of CIFAR-10's binary batches.
#[derive(Clone, Debug)]
pub struct Cifar10 {
    folder: PathBuf,
}

impl Cifar10 {
    /// The folder, or `cifar-10-batches-bin` in it, if that holds any of the files.
    pub fn detect(folder: &Path) -> Option<Cifar10> {
        let folders = [folder.to_owned(), folder.join("cifar-10-batches-bin")];
        let holds = |folder: &PathBuf| {
            let files = files(Part::Train).into_iter().chain(files(Part::Test));
            files.into_iter().any(|file| folder.join(file).is_file())
        };
        folders.into_iter().find(holds).map(|folder| Cifar10 { folder })
    }

    /// Reads a part.
    ///
    /// # Errors
    /// Where a file is missing, cannot be read, does not have its 30,730,000 bytes, or holds a label that is not one of
    /// ten.
    pub fn load(&self, part: Part) -> Result<Dataset, TrainError> {
        self.load_records(part, RECORDS)
    }

    fn load_records(&self, part: Part, records: usize) -> Result<Dataset, TrainError> {
        let files: Vec<PathBuf> = files(part).into_iter().map(|file| self.folder.join(file)).collect();
        let missing = files.iter().filter(|file| !file.is_file());
        let missing: Vec<String> =
            missing.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
        if !missing.is_empty() {
            return Err(TrainError::MissingFiles { folder: self.folder.clone(), missing });
        }
        let names = self.folder.join("batches.meta.txt");
        let classes = match read_names(&names)? {
            Some(classes) if classes.len() == CLASSES.len() => classes,
            Some(classes) => {
                let message = format!("{} names of classes, expected {}", classes.len(), CLASSES.len());
                return Err(TrainError::content(&names, message));
            }
            None => CLASSES.map(str::to_owned).to_vec(),
        };
        let mut pixels = Vec::with_capacity(files.len() * records * PIXELS);
        let mut labels = Vec::with_capacity(files.len() * records);
        for file in &files {
            let bytes = Raw::open(file)?.rest((records * (1 + PIXELS)) as u64)?;
            for (example, record) in bytes.chunks_exact(1 + PIXELS).enumerate() {
                let label = u32::from(record[0]);
                if label as usize >= CLASSES.len() {
                    let (file, classes) = (file.clone(), CLASSES.len());
                    return Err(TrainError::Label { file, example, label, classes });
                }
                labels.push(label);
                pixels.extend_from_slice(&record[1..]);
            }
        }
        let name = format!("{} ({part})", self.folder.display());
        Dataset::from_memory(name, SHAPE, classes, pixels, labels)
    }
}

fn files(part: Part) -> Vec<String> {
    match part {
        Part::Train => (1..=5).map(|number| format!("data_batch_{number}.bin")).collect(),
        Part::Test => vec!["test_batch.bin".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Batches of two records; the pixels of a record are its label, but for the first, which is the batch's number.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let batches = folder.path().join("cifar-10-batches-bin");
        fs::create_dir(&batches).unwrap();
        for (batch, file) in files(Part::Train).into_iter().chain(files(Part::Test)).enumerate() {
            let record = |label: u8| {
                let mut record = vec![label; 1 + PIXELS];
                record[1] = batch as u8;
                record
            };
            fs::write(batches.join(file), [record(batch as u8), record(9)].concat()).unwrap();
        }
        folder
    }

    fn load(folder: &Path, part: Part) -> Result<Dataset, String> {
        let cifar = Cifar10::detect(folder).expect("it should be found");
        let here = cifar.folder.display().to_string();
        cifar.load_records(part, 2).map_err(|error| error.to_string().replace(&here, "."))
    }

    #[test]
    fn batches_follow_one_another() {
        let folder = folder();
        let train = load(folder.path(), Part::Train).unwrap();
        assert_eq!((train.len(), train.shape()), (10, [3, 32, 32]));
        assert!(train.labels().eq([0, 9, 1, 9, 2, 9, 3, 9, 4, 9]));
        assert_eq!(train.example(5).unwrap()[..3], [2, 9, 9]);
        assert_eq!(train.classes()[9], "truck");
        let test = load(folder.path(), Part::Test).unwrap();
        assert_eq!((test.len(), test.label(0)), (2, 5));
        fs::write(
            folder.path().join("cifar-10-batches-bin/batches.meta.txt"),
            "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n",
        )
        .unwrap();
        assert_eq!(load(folder.path(), Part::Test).unwrap().classes()[9], "j");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = folder();
        let batches = folder.path().join("cifar-10-batches-bin");
        let second = batches.join("data_batch_2.bin");
        let good = fs::read(&second).unwrap();
        let with = |content: &[u8]| {
            fs::write(&second, content).unwrap();
            load(folder.path(), Part::Train).unwrap_err()
        };
        // At the border between two records as well.
        assert_eq!(with(&good[..3073]), "./data_batch_2.bin: truncated: expected 6146 bytes, found 3073");
        assert_eq!(
            with(&[good.as_slice(), &[0]].concat()),
            "./data_batch_2.bin: too long: expected 6146 bytes, found more"
        );
        let mut label = good.clone();
        label[3073] = 10;
        assert_eq!(with(&label), "./data_batch_2.bin: example 1 has label 10, expected 0 to 9");
        fs::write(batches.join("batches.meta.txt"), "a\nb\n").unwrap();
        assert_eq!(with(&good), "./batches.meta.txt: 2 names of classes, expected 10");
        fs::remove_file(&second).unwrap();
        fs::remove_file(batches.join("data_batch_4.bin")).unwrap();
        assert_eq!(
            load(folder.path(), Part::Train).unwrap_err(),
            ".: data_batch_2.bin, data_batch_4.bin missing"
        );
    }

    #[test]
    fn a_file_has_ten_thousand_records() {
        let folder = folder();
        let error = Cifar10::detect(folder.path()).unwrap().load(Part::Test).unwrap_err().to_string();
        assert!(error.ends_with("test_batch.bin: truncated: expected 30730000 bytes, found 6146"), "{error}");
    }
}
