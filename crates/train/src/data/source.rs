//! What kind of data set a folder holds.

use std::path::{Path, PathBuf};

use super::cifar10::Cifar10;
use super::folder::{Folder, FolderOptions};
use super::idx::Idx;
use super::{Dataset, Part, xor};
use crate::TrainError;
use crate::normalization::Normalization;

/// Where Debian's package `dataset-fashion-mnist` puts its files.
const DEBIAN_FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// The kinds of data sets that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// IDX files ([`super::idx`]).
    Idx,
    /// CIFAR-10's binary batches ([`super::cifar10`]).
    Cifar10,
    /// Images in a folder for each class ([`super::folder`]).
    Folder,
    /// The four points of exclusive or ([`super::xor`]).
    Xor,
}

/// A data set that has been found. Its parts are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Idx(Idx),
    Cifar10(Cifar10),
    Folder(Folder),
    Xor,
}

/// Both parts of a data set: the same classes and the same shape.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What a network learns from.
    pub train: Dataset,
    /// What it is judged by in the end.
    pub test: Dataset,
}

impl Source {
    /// Finds the data set in a folder; the files in it tell what it is. Where there is no folder `fashion-mnist`, that
    /// name stands for the files of Debian's package `dataset-fashion-mnist`, and where there is no folder `xor`, that
    /// one stands for the points of exclusive or. The options are for folders of images.
    ///
    /// # Errors
    /// Where there is no such folder, or nothing in it that is known, or it is a folder of images with something amiss.
    pub fn open(path: &Path, options: &FolderOptions) -> Result<Source, TrainError> {
        Source::open_or(path, options, Path::new(DEBIAN_FASHION_MNIST))
    }

    fn open_or(path: &Path, options: &FolderOptions, debian: &Path) -> Result<Source, TrainError> {
        let wanted = path;
        if path == Path::new(xor::NAME) && !path.exists() {
            return Ok(Source { path: path.to_owned(), kind: Kind::Xor });
        }
        let by_name = !path.exists() && path == Path::new("fashion-mnist");
        let path = if by_name { debian } else { path };
        if let Err(error) = std::fs::read_dir(path) {
            if by_name {
                let message = format!(
                    "no such folder, and none at {}: `apt-get install dataset-fashion-mnist` puts one there",
                    debian.display()
                );
                return Err(TrainError::NoDataset { path: wanted.to_owned(), message });
            }
            if error.kind() == std::io::ErrorKind::NotFound {
                let message =
                    "no such folder; expected one with a data set, or the word fashion-mnist or xor";
                return Err(TrainError::NoDataset { path: wanted.to_owned(), message: message.to_owned() });
            }
            return Err(TrainError::io(path, error));
        }
        let kind = if let Some(idx) = Idx::detect(path) {
            Kind::Idx(idx)
        } else if let Some(cifar) = Cifar10::detect(path) {
            Kind::Cifar10(cifar)
        } else if let Some(folder) = Folder::detect(path, options)? {
            Kind::Folder(folder)
        } else {
            let message =
                "no data set in this folder; expected IDX files (train-images-idx3-ubyte), CIFAR-10's \
                           binary batches (data_batch_1.bin), or a folder of images for each class"
                    .to_owned();
            return Err(TrainError::NoDataset { path: path.to_owned(), message });
        };
        Ok(Source { path: path.to_owned(), kind })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    pub fn format(&self) -> Format {
        match self.kind {
            Kind::Idx(_) => Format::Idx,
            Kind::Cifar10(_) => Format::Cifar10,
            Kind::Folder(_) => Format::Folder,
            Kind::Xor => Format::Xor,
        }
    }

    /// Reads one part.
    ///
    /// # Errors
    /// Where its files are missing or not what they should be; see the modules of the formats.
    pub fn part(&self, part: Part) -> Result<Dataset, TrainError> {
        match &self.kind {
            Kind::Idx(idx) => idx.load(part),
            Kind::Cifar10(cifar) => cifar.load(part),
            Kind::Folder(folder) => folder.load(part),
            Kind::Xor => Ok(xor::dataset()),
        }
    }

    /// Reads both parts.
    ///
    /// # Errors
    /// Those of [`part`](Source::part), and where the examples of the two have different shapes.
    pub fn parts(&self) -> Result<Parts, TrainError> {
        let (train, test) = (self.part(Part::Train)?, self.part(Part::Test)?);
        if train.shape() != test.shape() {
            let path = self.path.clone();
            return Err(TrainError::Shapes { path, train: train.shape(), test: test.shape() });
        }
        Ok(Parts { train, test })
    }

    /// How its examples are normalised: by the mean and deviation of those that are trained on
    /// ([`Normalization::of`]), unless the data set has numbers of its own.
    ///
    /// # Errors
    /// Those of [`Normalization::of`].
    pub fn normalization(&self, train: &Dataset, threads: usize) -> Result<Normalization, TrainError> {
        match &self.kind {
            Kind::Xor => Ok(xor::normalization()),
            _ => Normalization::of(train, threads),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn images(count: u32, side: u32) -> Vec<u8> {
        let header = [0x803, count, side, side].into_iter().flat_map(u32::to_be_bytes);
        header.chain(vec![0; (count * side * side) as usize]).collect()
    }

    fn labels(count: u32) -> Vec<u8> {
        [0x801, count].into_iter().flat_map(u32::to_be_bytes).chain(vec![1; count as usize]).collect()
    }

    fn idx(test_side: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content| fs::write(folder.path().join(name), content).unwrap();
        write("train-images-idx3-ubyte", images(3, 5));
        write("train-labels-idx1-ubyte", labels(3));
        write("t10k-images-idx3-ubyte", images(2, test_side));
        write("t10k-labels-idx1-ubyte", labels(2));
        folder
    }

    fn open(path: &Path) -> Result<Source, TrainError> {
        Source::open(path, &FolderOptions::default())
    }

    #[test]
    fn the_files_tell_what_it_is() {
        let source = open(idx(5).path()).unwrap();
        assert_eq!(source.format(), Format::Idx);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test_batch.bin"), "").unwrap();
        assert_eq!(open(folder.path()).unwrap().format(), Format::Cifar10);
        let folder = tempfile::tempdir().unwrap();
        for image in ["cat/1.png", "cat/2.png"] {
            fs::create_dir_all(folder.path().join("cat")).unwrap();
            fs::write(folder.path().join(image), "").unwrap();
        }
        assert_eq!(open(folder.path()).unwrap().format(), Format::Folder);
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no data set in this folder; expected IDX files"), "{error}");
    }

    #[test]
    fn both_parts_have_one_shape() {
        let folder = idx(5);
        let parts = open(folder.path()).unwrap().parts().unwrap();
        assert_eq!((parts.train.len(), parts.test.len()), (3, 2));
        let folder = idx(4);
        let error = open(folder.path()).unwrap().parts().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "training examples are [1, 5, 5] (channels, height, width), test examples [1, 4, 4]"
            ),
            "{error}"
        );
    }

    #[test]
    fn xor_is_built_in() {
        let source = open(Path::new("xor")).unwrap();
        assert_eq!(source.format(), Format::Xor);
        let parts = source.parts().unwrap();
        assert_eq!((parts.train.len(), parts.test.len()), (4, 4));
        assert_eq!(source.normalization(&parts.train, 1).unwrap(), Normalization::unit(2));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = open(Path::new("no/such/folder")).unwrap_err();
        assert!(error.is_input_error());
        assert!(error.to_string().starts_with("no/such/folder: "), "{error}");
    }

    #[test]
    fn fashion_mnist_is_found_by_its_name() {
        let open =
            |debian: &Path| Source::open_or(Path::new("fashion-mnist"), &FolderOptions::default(), debian);
        let folder = idx(5);
        assert_eq!(open(folder.path()).unwrap().path(), folder.path());
        let error = open(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("fashion-mnist: no such folder, and none at "), "{error}");
        assert!(error.ends_with("`apt-get install dataset-fashion-mnist` puts one there"), "{error}");
    }
}
