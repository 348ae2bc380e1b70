//! Folders of images, one folder for each class.
//!
//! Either the two parts have folders of their own, `train` and `test` (or `val`), each with a folder for each class; or
//! the classes lie side by side, and some images of each are kept for the test, chosen by a seed. A class is called by
//! its folder; classes are sorted by name. Images are files that end in `.jpg`, `.jpeg`, `.png` or `.webp`, at any
//! depth, sorted by path; whatever begins with a dot is left alone.
//!
//! Examples take turns: the first image of each class, then the second of each, and so on, so that the first thousand
//! examples are not all of one class.

use std::path::{Path, PathBuf};

use kiln_models::Image;
use walkdir::{DirEntry, WalkDir};

use super::dataset::round;
use super::images::ImageFiles;
use super::{Dataset, Part};
use crate::TrainError;
use crate::random::{Purpose, Random};

/// How to read a folder of images.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderOptions {
    /// The shape of an example: 1 or 3 channels, height, width. Each image is resized, keeping its form, until it covers
    /// the size, and cropped to the middle; one channel makes it gray. By default three channels and the size of the
    /// first training image.
    pub shape: Option<[usize; 3]>,
    /// The fraction of each class that is kept for the test where the folder has no test part: more than 0, less than
    /// 1, rounded to the nearest image but at least one and never all.
    pub test_fraction: f64,
    /// Decides which images these are.
    pub seed: u64,
    /// Decoded images are kept in memory where those of a part take at most this many bytes; otherwise they are decoded
    /// again each time.
    pub keep_bytes: u64,
}

impl Default for FolderOptions {
    /// A fifth of each class for the test, seed 0, at most 1 GiB of decoded images a part.
    fn default() -> Self {
        FolderOptions { shape: None, test_fraction: 0.2, seed: 0, keep_bytes: 1 << 30 }
    }
}

/// A folder of images by class. Its files have been listed, not read.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    classes: Vec<String>,
    train: Vec<Listed>,
    test: Vec<Listed>,
    options: FolderOptions,
}

/// An image and its label.
#[derive(Clone, Debug)]
struct Listed {
    path: PathBuf,
    label: u32,
}

/// The images of one class.
struct Class {
    name: String,
    images: Vec<PathBuf>,
}

impl Folder {
    /// Lists the images below a folder. `None` where it has no folders, so that it is no such data set.
    ///
    /// # Errors
    /// Where a folder cannot be read, a class has no images, a class can't be divided since it has one image only, the
    /// test part has a class that the training part lacks, or an option has an impossible value.
    pub fn detect(root: &Path, options: &FolderOptions) -> Result<Option<Folder>, TrainError> {
        check(options)?;
        let train = root.join("train");
        let test = ["test", "val"].into_iter().map(|name| root.join(name)).find(|path| path.is_dir());
        let (train, test) = match (train.is_dir(), test) {
            (true, Some(test)) => (classes(&train)?, classes(&test)?),
            (true, None) => {
                let missing = vec!["a folder test or val beside train".to_owned()];
                return Err(TrainError::MissingFiles { folder: root.to_owned(), missing });
            }
            (false, Some(test)) => {
                let beside = test.file_name().unwrap_or_default().to_string_lossy();
                let missing = vec![format!("a folder train beside {beside}")];
                return Err(TrainError::MissingFiles { folder: root.to_owned(), missing });
            }
            (false, None) => divide(root, classes(root)?, options)?,
        };
        if train.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = train.iter().map(|class| class.name.clone()).collect();
        if let Some(stranger) = test.iter().find(|class| !names.contains(&class.name)) {
            let message =
                format!("the test part has a class {:?} that the training part lacks", stranger.name);
            return Err(TrainError::content(root, message));
        }
        for name in &names {
            if !test.iter().any(|class| class.name == *name) {
                log::warn!("{}: the test part has no images of class {name:?}", root.display());
            }
        }
        let (train, test) = (take_turns(train, &names), take_turns(test, &names));
        Ok(Some(Folder { root: root.to_owned(), classes: names, train, test, options: options.clone() }))
    }

    /// A part. Its images are decoded when they are read.
    ///
    /// # Errors
    /// Where the part has no images, or the first training image cannot be read and its size is needed.
    pub fn load(&self, part: Part) -> Result<Dataset, TrainError> {
        let listed = if part == Part::Train { &self.train } else { &self.test };
        let name = format!("{} ({part})", self.root.display());
        let shape = match self.options.shape {
            Some(shape) => shape,
            None => {
                let first = self.train.first().expect("a folder without training images should be refused");
                let image = Image::open(&first.path)?;
                [3, image.height(), image.width()]
            }
        };
        let paths = listed.iter().map(|listed| listed.path.clone()).collect();
        let labels = listed.iter().map(|listed| listed.label).collect();
        let files = ImageFiles::new(paths, shape, self.options.keep_bytes);
        Dataset::from_files(name, shape, self.classes.clone(), files, labels)
    }
}

fn check(options: &FolderOptions) -> Result<(), TrainError> {
    let fraction = options.test_fraction;
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(TrainError::option("test fraction", fraction, "expected more than 0 and less than 1"));
    }
    match options.shape {
        Some([channels, height, width]) if !matches!(channels, 1 | 3) || height == 0 || width == 0 => {
            let shape = format!("{:?}", [channels, height, width]);
            Err(TrainError::option("image shape", shape, "expected [1 or 3, height, width]"))
        }
        _ => Ok(()),
    }
}

fn hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.')
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| ["jpg", "jpeg", "png", "webp"].contains(&extension.as_str()))
}

/// What lies in a folder, sorted by name; links are followed.
fn entries(folder: &Path, depth: usize) -> impl Iterator<Item = Result<DirEntry, TrainError>> {
    let walk = WalkDir::new(folder).min_depth(1).max_depth(depth).follow_links(true).sort_by_file_name();
    let folder = folder.to_owned();
    walk.into_iter().filter_entry(|entry| !hidden(entry)).map(move |entry| {
        entry.map_err(|error| {
            let path = error.path().unwrap_or(&folder).to_owned();
            TrainError::Io { path, source: error.into() }
        })
    })
}

/// The classes below a folder, sorted by name.
fn classes(folder: &Path) -> Result<Vec<Class>, TrainError> {
    let mut classes = Vec::new();
    for entry in entries(folder, 1) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            continue;
        }
        let mut images = Vec::new();
        for entry in entries(entry.path(), usize::MAX) {
            let entry = entry?;
            if entry.file_type().is_file() && is_image(entry.path()) {
                images.push(entry.into_path());
            }
        }
        if images.is_empty() {
            let message = "no images in this folder; expected .jpg, .jpeg, .png or .webp files of one class";
            return Err(TrainError::content(entry.path(), message));
        }
        classes.push(Class { name: entry.file_name().to_string_lossy().into_owned(), images });
    }
    Ok(classes)
}

/// Keeps some images of each class for the test. Both parts stay sorted.
fn divide(
    root: &Path,
    classes: Vec<Class>,
    options: &FolderOptions,
) -> Result<(Vec<Class>, Vec<Class>), TrainError> {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (number, Class { name, images }) in classes.into_iter().enumerate() {
        if images.len() < 2 {
            let message = "one image; expected at least 2, one to train with and one for the test";
            return Err(TrainError::content(&root.join(&name), message));
        }
        let mut places = crate::order::stored(images.len());
        Random::new(options.seed, Purpose::Test, 0, number as u32).shuffle(&mut places);
        let kept = round(images.len(), options.test_fraction).clamp(1, images.len() - 1);
        let mut for_test = vec![false; images.len()];
        places[..kept].iter().for_each(|place| for_test[*place as usize] = true);
        let mut parts = [Vec::new(), Vec::new()];
        for (image, for_test) in images.into_iter().zip(for_test) {
            parts[usize::from(for_test)].push(image);
        }
        let [to_train, to_test] = parts;
        train.push(Class { name: name.clone(), images: to_train });
        test.push(Class { name, images: to_test });
    }
    Ok((train, test))
}

/// The first image of each class, then the second of each, and so on.
fn take_turns(classes: Vec<Class>, names: &[String]) -> Vec<Listed> {
    let mut listed = Vec::new();
    for class in classes {
        let label = names.iter().position(|name| *name == class.name).expect("all classes should be named");
        let label = label as u32;
        listed
            .extend(class.images.into_iter().enumerate().map(|(turn, path)| (turn, Listed { path, label })));
    }
    listed.sort_by_key(|(turn, listed)| (*turn, listed.label));
    listed.into_iter().map(|(_, listed)| listed).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kiln_models::image::{Picture, write_png};

    use super::*;

    /// A folder with files; a name that ends in `.png` becomes an image of 4 x 3 pixels.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, file) in files.iter().enumerate() {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if file.ends_with(".png") {
                let image = Image::from_rgb8(&path, 4, 3, vec![number as u8; 36]).unwrap();
                write_png(&path, &Picture::from(image)).unwrap();
            } else {
                fs::write(path, "words").unwrap();
            }
        }
        folder
    }

    fn detect(folder: &tempfile::TempDir, options: &FolderOptions) -> Result<Option<Folder>, String> {
        let here = folder.path().display().to_string();
        Folder::detect(folder.path(), options).map_err(|error| error.to_string().replace(&here, "."))
    }

    fn load(folder: &tempfile::TempDir, part: Part) -> Dataset {
        let found = detect(folder, &FolderOptions::default()).unwrap().unwrap();
        found.load(part).unwrap()
    }

    /// The paths of a part, from the folder on.
    fn paths(folder: &tempfile::TempDir, dataset: &Dataset) -> Vec<String> {
        let here = format!("{}/", folder.path().display());
        let paths = (0..dataset.len()).map(|index| dataset.describe(index));
        paths.map(|path| path.replace('\\', "/").replace(&here, "")).collect()
    }

    const TWO_PARTS: &[&str] = &[
        "train/dog/b.png",
        "train/dog/a.png",
        "train/cat/1.png",
        "train/cat/deep/2.png",
        "train/cat/3.png",
        "train/cat/.3.png",
        "train/cat/notes.txt",
        "train/.git/x.png",
        "train/readme.png",
        "val/cat/9.png",
    ];

    #[test]
    fn classes_are_sorted_and_take_turns() {
        let folder = folder(TWO_PARTS);
        let train = load(&folder, Part::Train);
        assert_eq!(train.classes(), ["cat", "dog"]);
        assert_eq!(train.shape(), [3, 3, 4]);
        assert_eq!(
            paths(&folder, &train),
            [
                "train/cat/1.png",
                "train/dog/a.png",
                "train/cat/3.png",
                "train/dog/b.png",
                "train/cat/deep/2.png"
            ]
        );
        assert!(train.labels().eq([0, 1, 0, 1, 0]));
        assert_eq!(train.example(1).unwrap(), [1; 36]);
        assert_eq!(paths(&folder, &load(&folder, Part::Test)), ["val/cat/9.png"]);
    }

    #[test]
    fn a_shape_can_be_asked_for() {
        let folder = folder(TWO_PARTS);
        let options = FolderOptions { shape: Some([1, 2, 2]), ..FolderOptions::default() };
        let train = detect(&folder, &options).unwrap().unwrap().load(Part::Train).unwrap();
        assert_eq!((train.shape(), train.example(3).unwrap()), ([1, 2, 2], vec![0; 4]));
        assert_eq!(train.example(1).unwrap(), [1; 4]);
    }

    #[test]
    fn one_folder_is_divided_by_the_seed() {
        let names: Vec<String> =
            (0..15).map(|i| format!("{}/{i:02}.png", if i < 10 { "cat" } else { "dog" })).collect();
        let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let parts = |seed| {
            let options = FolderOptions { seed, ..FolderOptions::default() };
            let found = detect(&folder, &options).unwrap().unwrap();
            [Part::Train, Part::Test].map(|part| paths(&folder, &found.load(part).unwrap()))
        };
        let [train, test] = parts(0);
        let dogs = |paths: &[String]| paths.iter().filter(|path| path.starts_with("dog")).count();
        assert_eq!((train.len(), test.len(), dogs(&test)), (12, 3, 1));
        let mut all = [train.clone(), test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, names);
        assert_eq!(parts(0), [train.clone(), test]);
        assert_ne!(parts(1)[0], train);
    }

    #[test]
    fn each_class_is_in_both_parts() {
        let folder = folder(&["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/3.png"]);
        for (test_fraction, expected) in [(0.01, [3, 2]), (0.99, [2, 3])] {
            let options = FolderOptions { test_fraction, ..FolderOptions::default() };
            let found = detect(&folder, &options).unwrap().unwrap();
            let sizes = [Part::Train, Part::Test].map(|part| found.load(part).unwrap().len());
            assert_eq!(sizes, expected, "{test_fraction}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |files: &[&str]| detect(&folder(files), &FolderOptions::default()).unwrap_err();
        assert_eq!(refused(&["train/cat/1.png"]), ".: a folder test or val beside train missing");
        assert_eq!(refused(&["test/cat/1.png"]), ".: a folder train beside test missing");
        assert_eq!(
            refused(&["train/cat/1.png", "test/cat/1.png", "test/cow/1.png"]),
            ".: the test part has a class \"cow\" that the training part lacks"
        );
        assert_eq!(
            refused(&["cat/1.png", "cat/2.png", "dog/words.txt"]),
            "./dog: no images in this folder; expected .jpg, .jpeg, .png or .webp files of one class"
        );
        assert_eq!(
            refused(&["cat/1.png", "cat/2.png", "dog/1.png"]),
            "./dog: one image; expected at least 2, one to train with and one for the test"
        );
        let options = FolderOptions { test_fraction: 0.0, ..FolderOptions::default() };
        assert_eq!(
            detect(&folder(&[]), &options).unwrap_err(),
            "test fraction 0: expected more than 0 and less than 1"
        );
        let options = FolderOptions { shape: Some([2, 5, 5]), ..FolderOptions::default() };
        assert_eq!(
            detect(&folder(&[]), &options).unwrap_err(),
            "image shape [2, 5, 5]: expected [1 or 3, height, width]"
        );
    }

    #[test]
    fn a_folder_without_folders_is_something_else() {
        assert!(detect(&folder(&["a.png", ".hidden/b.png"]), &FolderOptions::default()).unwrap().is_none());
    }
}
