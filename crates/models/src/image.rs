//! Images: read from files, prepared for networks, and written as PNG.
//!
//! [`Image`] is what comes in, always RGB of 8 bits; [`Recipe`] makes a network's input of it; [`Picture`] is
//! what goes out, gray or RGB, made of a tensor's values by one of the ways in [`Show`] or as a
//! [`contact_sheet`] of feature maps.

mod decode;
mod picture;
mod recipe;
mod resize;
mod sheet;

use std::path::{Path, PathBuf};

pub use picture::{Picture, Show, write_png};
pub use recipe::Recipe;
pub(crate) use resize::scaled;
pub use sheet::{SheetOptions, TileRange, contact_sheet, stack};

use crate::ModelError;

/// The most pixels of an image that Kiln reads, makes by resizing, or writes: 300 MB as RGB.
pub const MAX_PIXELS: u64 = 100_000_000;

/// An image in memory: RGB, 8 bits a channel, rows from the top, upright.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it came from, for messages.
    path: PathBuf,
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Image {
    /// An image from its pixels, `[height][width][3]`. `name` stands for it in messages.
    ///
    /// # Errors
    /// [`ModelError::Image`] where a side is 0 or the number of bytes does not fit,
    /// [`ModelError::ImageSize`] above [`MAX_PIXELS`].
    pub fn from_rgb8(
        name: impl Into<PathBuf>,
        width: u32,
        height: u32,
        pixels: Vec<u8>,
    ) -> Result<Image, ModelError> {
        let path = name.into();
        check_size(&path, "an image of", width, height)?;
        let expected = width as usize * height as usize * 3;
        if pixels.len() != expected {
            let got = pixels.len();
            let message = format!("{width}x{height} pixels of RGB are {expected} bytes, got {got}");
            return Err(ModelError::Image { file: path, message });
        }
        Ok(Image { path, width, height, pixels })
    }

    /// The file it was read from, or the name it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Columns; at least 1.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// Rows; at least 1.
    pub fn height(&self) -> usize {
        self.height as usize
    }

    /// The pixels, `[height][width][3]`, red first.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The channels one after the other, `[3][height][width]`, from 0 to 255.
    pub fn planes(&self) -> Vec<f32> {
        self.map_planes(|value, _| f32::from(value))
    }

    /// `[3][height][width]`, each value made from a byte and the number of its channel.
    fn map_planes(&self, value: impl Fn(u8, usize) -> f32) -> Vec<f32> {
        let value = &value;
        (0..3)
            .flat_map(|channel| self.pixels.chunks_exact(3).map(move |pixel| value(pixel[channel], channel)))
            .collect()
    }
}

/// Without the pixels.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} {}x{})", self.path.display(), self.width, self.height)
    }
}

/// Refuses a size without pixels or with too many. `what` stands before the size in the message.
fn check_size(path: &Path, what: &str, width: u32, height: u32) -> Result<(), ModelError> {
    if width == 0 || height == 0 {
        return Err(ModelError::image(path, format!("{what} {width}x{height} has no pixels")));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let (file, what) = (path.to_owned(), what.to_owned());
        return Err(ModelError::ImageSize { file, what, width, height, limit: MAX_PIXELS });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_the_channels_one_after_the_other() {
        let image = Image::from_rgb8("two", 2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(image.planes(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(format!("{image:?}"), "Image(two 2x1)");
    }

    #[test]
    fn impossible_images_are_refused() {
        let refused = |width, height, bytes| {
            Image::from_rgb8("x.png", width, height, vec![0; bytes]).unwrap_err().to_string()
        };
        assert_eq!(refused(0, 2, 0), "x.png: an image of 0x2 has no pixels");
        assert_eq!(refused(2, 2, 11), "x.png: 2x2 pixels of RGB are 12 bytes, got 11");
        assert_eq!(
            refused(50_000, 50_000, 0),
            "x.png: an image of 50000x50000 is 2500000000 pixels, over the limit of 100000000"
        );
    }
}
