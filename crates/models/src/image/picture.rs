//! Pictures made of a tensor's values, and PNG files.

use std::io::{self, Write};
use std::path::Path;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};

use super::{Image, check_size};
use crate::ModelError;
use crate::atomic::Unfinished;

/// How values become shades. Values that are not numbers become black.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As they are: 0 and below is black, `white` and above is white.
    Clamp,
    /// By their magnitude: 0 is black, `white` and above, or `-white` and below, is white.
    Abs,
    /// Stretched: the smallest finite value of all is black, the largest white. All alike are black.
    Scale,
}

impl Show {
    /// Bytes of values, rounded to the nearest, halves upward.
    pub(super) fn bytes(self, values: &[f32], white: f32) -> Vec<u8> {
        let byte = |shade: f32| shade.clamp(0.0, 255.0).round() as u8; // NaN casts to 0
        match self {
            // Where the values are bytes already, nothing may be lost on the way.
            Show::Clamp if white == 255.0 => values.iter().map(|value| byte(*value)).collect(),
            Show::Abs if white == 255.0 => values.iter().map(|value| byte(value.abs())).collect(),
            Show::Clamp => values.iter().map(|value| byte(value / white * 255.0)).collect(),
            Show::Abs => values.iter().map(|value| byte(value.abs() / white * 255.0)).collect(),
            Show::Scale => {
                let (low, high) = range(values);
                // In f64, since the distance of two f32 may not fit in one.
                let scale = 255.0 / (f64::from(high) - f64::from(low));
                let scaled = |value: &f32| match high > low {
                    true => byte(((f64::from(*value) - f64::from(low)) * scale) as f32),
                    false => 0,
                };
                values.iter().map(scaled).collect()
            }
        }
    }
}

/// The smallest and the largest finite value; (0, 0) where there is none.
fn range(values: &[f32]) -> (f32, f32) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let range = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
        (f32::min(low, value), f32::max(high, value))
    });
    if range.0 <= range.1 { range } else { (0.0, 0.0) }
}

/// A picture to be written: gray or RGB, 8 bits a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of the values of one plane (gray) or three (red, green, blue), `[channels][height][width]`.
    /// `white` is the value shown as white: 1 for a network's probabilities, 255 for filtered pixels;
    /// [`Show::Scale`] does not look at it.
    ///
    /// # Errors
    /// [`ModelError::Image`] for another number of planes or values, or a side of 0;
    /// [`ModelError::ImageSize`] above [`MAX_PIXELS`](super::MAX_PIXELS).
    pub fn from_planes(
        values: &[f32],
        [channels, height, width]: [usize; 3],
        show: Show,
        white: f32,
    ) -> Result<Picture, ModelError> {
        let picture = Picture::blank(channels, height, width)?;
        let plane = height * width;
        if values.len() != channels * plane {
            let (expected, got) = (channels * plane, values.len());
            let message = format!("{channels} planes of {width}x{height} are {expected} values, got {got}");
            return Err(ModelError::image(Path::new("picture"), message));
        }
        let bytes = show.bytes(values, white);
        let pixels = match channels {
            1 => bytes,
            _ => {
                (0..plane).flat_map(|i| (0..channels).map(move |c| c * plane + i)).map(|i| bytes[i]).collect()
            }
        };
        Ok(Picture { pixels, ..picture })
    }

    /// A picture without its pixels yet.
    fn blank(channels: usize, height: usize, width: usize) -> Result<Picture, ModelError> {
        let name = Path::new("picture");
        if channels != 1 && channels != 3 {
            let message = format!("expected 1 plane (gray) or 3 (RGB), got {channels}");
            return Err(ModelError::image(name, message));
        }
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (width, height) = (side(width), side(height));
        check_size(name, "a picture of", width, height)?;
        Ok(Picture { width, height, channels, pixels: Vec::new() })
    }

    /// A gray picture of one shade.
    pub(super) fn gray(width: usize, height: usize, fill: u8) -> Result<Picture, ModelError> {
        let picture = Picture::blank(1, height, width)?;
        Ok(Picture { pixels: vec![fill; width * height], ..picture })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height as usize
    }

    /// 1 for gray, 3 for RGB.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[height][width][channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Encodes it as PNG, in a hurry: files are a third larger than at their smallest, in a twentieth of the time.
    ///
    /// # Errors
    /// [`ModelError::Io`], naming `path`, where the writer fails.
    pub fn encode_png(&self, path: &Path, out: impl Write) -> Result<(), ModelError> {
        let color = if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let encoder = PngEncoder::new_with_quality(out, CompressionType::Fast, FilterType::Adaptive);
        encoder.write_image(&self.pixels, self.width, self.height, color).map_err(|error| {
            ModelError::io(
                path,
                match error {
                    ::image::ImageError::IoError(error) => error,
                    other => io::Error::other(other),
                },
            )
        })
    }
}

impl From<Image> for Picture {
    fn from(image: Image) -> Picture {
        Picture { width: image.width, height: image.height, channels: 3, pixels: image.pixels }
    }
}

/// Without the pixels.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{}, {} channels)", self.width, self.height, self.channels)
    }
}

/// Writes a picture as a PNG file that appears whole or not at all: under another name first, in the same folder.
///
/// # Errors
/// [`ModelError::Io`], naming `path`.
pub fn write_png(path: &Path, picture: &Picture) -> Result<(), ModelError> {
    let io = |error| ModelError::io(path, error);
    let mut file = io::BufWriter::new(Unfinished::beside(path).map_err(io)?);
    picture.encode_png(path, &mut file)?;
    file.into_inner().map_err(|error| io(error.into_error()))?.finish().map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_three_rules() {
        let values = [-300.0, -20.0, 0.0, 0.5, 1.49, 254.5, 999.0, f32::NAN, f32::INFINITY];
        assert_eq!(Show::Clamp.bytes(&values, 255.0), [0, 0, 0, 1, 1, 255, 255, 0, 255]);
        assert_eq!(Show::Abs.bytes(&values, 255.0), [255, 20, 0, 1, 1, 255, 255, 0, 255]);
        assert_eq!(Show::Scale.bytes(&[-1.0, 0.0, 1.0, f32::NAN], 255.0), [0, 128, 255, 0]);
        assert_eq!(Show::Scale.bytes(&[f32::MIN, 0.0, f32::MAX], 255.0), [0, 128, 255]);
        assert_eq!(Show::Scale.bytes(&[4.0, 4.0], 255.0), [0, 0]);
        assert_eq!(Show::Scale.bytes(&[f32::INFINITY, f32::NAN], 255.0), [0, 0]);
        assert_eq!(Show::Clamp.bytes(&[0.0, 0.2, 1.0, 1.5], 1.0), [0, 51, 255, 255]);
    }

    #[test]
    fn planes_become_pixels() {
        let picture = Picture::from_planes(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], [3, 1, 2], Show::Clamp, 255.0);
        assert_eq!(picture.unwrap().pixels(), [1, 2, 3, 4, 5, 6]);
        let refused = |values: &[f32], shape| {
            Picture::from_planes(values, shape, Show::Clamp, 1.0).unwrap_err().to_string()
        };
        assert_eq!(refused(&[0.0; 4], [2, 1, 2]), "picture: expected 1 plane (gray) or 3 (RGB), got 2");
        assert_eq!(refused(&[0.0; 4], [1, 1, 2]), "picture: 1 planes of 2x1 are 2 values, got 4");
        assert_eq!(refused(&[], [1, 0, 2]), "picture: a picture of 2x0 has no pixels");
    }

    #[test]
    fn a_png_is_written_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.png");
        let values: Vec<f32> = (0..3 * 7 * 5).map(|i| (i * 2) as f32).collect();
        let picture = Picture::from_planes(&values, [3, 7, 5], Show::Clamp, 255.0).unwrap();
        for _ in 0..2 {
            write_png(&path, &picture).unwrap();
            let back = Image::open(&path).unwrap();
            assert_eq!((back.width(), back.height()), (5, 7));
            assert_eq!(Picture::from(back), picture);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no/out.png");
        let message = write_png(&nowhere, &picture).unwrap_err().to_string();
        assert!(message.starts_with(&nowhere.display().to_string()), "{message}");
    }
}
