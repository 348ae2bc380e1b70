//! Examples that are image files: decoded, brought to one shape, and kept where they fit.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kiln_models::Image;

use crate::TrainError;

/// Image files, one an example.
pub(super) struct ImageFiles {
    paths: Vec<PathBuf>,
    shape: [usize; 3],
    /// Each example once it has been decoded; none where all together would take too much memory.
    kept: Option<Vec<OnceLock<Box<[u8]>>>>,
}

impl ImageFiles {
    /// Files that become examples of a shape, whose first number is 1 or 3. They are decoded when they are first read,
    /// and kept where all of them take at most `keep` bytes.
    pub(super) fn new(paths: Vec<PathBuf>, shape: [usize; 3], keep: u64) -> ImageFiles {
        let bytes = shape.iter().fold(paths.len() as u64, |bytes, n| bytes.saturating_mul(*n as u64));
        let kept = (bytes <= keep).then(|| paths.iter().map(|_| OnceLock::new()).collect());
        ImageFiles { paths, shape, kept }
    }

    pub(super) fn path(&self, index: usize) -> &Path {
        &self.paths[index]
    }

    /// Writes an example into `out`, which has its length.
    pub(super) fn read(&self, index: usize, out: &mut [u8]) -> Result<(), TrainError> {
        let decode = || example(&self.paths[index], self.shape);
        match &self.kept {
            None => out.copy_from_slice(&decode()?),
            Some(kept) => match kept[index].get() {
                Some(bytes) => out.copy_from_slice(bytes),
                None => {
                    let bytes = decode()?;
                    out.copy_from_slice(&bytes);
                    // Two threads may have decoded it at once, to the same bytes.
                    let _ = kept[index].set(bytes.into());
                }
            },
        }
        Ok(())
    }
}

/// An image file as `[channels][height][width]`.
pub(crate) fn example(path: &Path, [channels, height, width]: [usize; 3]) -> Result<Vec<u8>, TrainError> {
    let image = cover(&Image::open(path)?, height, width)?;
    Ok(match channels {
        1 => image.pixels().as_chunks().0.iter().map(|rgb| luma(*rgb)).collect(),
        _ => (0..3).flat_map(|c| image.pixels().as_chunks::<3>().0.iter().map(move |rgb| rgb[c])).collect(),
    })
}

/// Resized, keeping its form, to the smallest size that covers `height` x `width`, and the middle of that cropped.
fn cover(image: &Image, height: usize, width: usize) -> Result<Image, TrainError> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let wide = image.width() as u64 * height as u64 >= image.height() as u64 * width as u64;
    // The side that overlaps is rounded down, as `resize_short_side` does it, but never below what is needed.
    let resized = if wide {
        let long = image.width() as u64 * height as u64 / image.height() as u64;
        image.resize(u32::try_from(long).unwrap_or(u32::MAX), side(height))?
    } else {
        let long = image.height() as u64 * width as u64 / image.width() as u64;
        image.resize(side(width), u32::try_from(long).unwrap_or(u32::MAX))?
    };
    Ok(resized.center_crop(side(width), side(height))?)
}

/// How bright a colour is, by the weights of ITU-R 601 in 16 bits of fraction: PIL's `convert("L")`.
pub(crate) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + (1 << 15)) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use kiln_models::image::{Picture, write_png};

    use super::*;

    fn image(width: u32, height: u32) -> Image {
        let pixels = (0..width * height * 3).map(|i| (i * 7 % 256) as u8).collect();
        Image::from_rgb8("image", width, height, pixels).unwrap()
    }

    fn write(path: &Path, image: Image) {
        write_png(path, &Picture::from(image)).unwrap();
    }

    #[test]
    fn images_are_covered_and_cropped() {
        for (width, height) in [(20, 10), (10, 20), (9, 9), (10, 9), (1, 100), (31, 3), (6, 8)] {
            for (to_width, to_height) in [(6, 8), (20, 4), (5, 5), (1, 1)] {
                let covered = cover(&image(width, height), to_height, to_width).unwrap();
                assert_eq!((covered.width(), covered.height()), (to_width, to_height), "{width}x{height}");
            }
        }
        assert_eq!(cover(&image(6, 8), 8, 6).unwrap(), image(6, 8));
        // Twice as wide as needed: the middle half, and nothing is resized.
        assert_eq!(cover(&image(12, 8), 8, 6).unwrap(), image(12, 8).center_crop(6, 8).unwrap());
    }

    #[test]
    fn gray_is_that_of_pil() {
        let table = [([0, 0, 0], 0), ([255, 255, 255], 255), ([255, 0, 0], 76), ([0, 255, 0], 150)];
        for (rgb, gray) in table.into_iter().chain([([0, 0, 255], 29), ([10, 200, 60], 127), ([1, 1, 1], 1)])
        {
            assert_eq!(luma(rgb), gray, "{rgb:?}");
        }
    }

    #[test]
    fn channels_become_planes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write(&path, Image::from_rgb8("a", 2, 1, vec![10, 200, 60, 255, 0, 0]).unwrap());
        assert_eq!(example(&path, [3, 1, 2]).unwrap(), [10, 255, 200, 0, 60, 0]);
        assert_eq!(example(&path, [1, 1, 2]).unwrap(), [127, 76]);
    }

    #[test]
    fn what_fits_is_decoded_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let mut out = [0; 12];
        for (keep, still_there) in [(12, true), (11, false)] {
            write(&path, Image::from_rgb8("a", 2, 2, (0..12).collect()).unwrap());
            let files = ImageFiles::new(vec![path.clone()], [3, 2, 2], keep);
            files.read(0, &mut out).unwrap();
            assert_eq!(out, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(files.read(0, &mut out).is_ok(), still_there);
        }
    }

    #[test]
    fn a_broken_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"words").unwrap();
        let error = ImageFiles::new(vec![path.clone()], [3, 2, 2], 0).read(0, &mut [0; 12]).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(error.is_input_error());
    }
}
