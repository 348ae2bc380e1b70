//! Sizes: resizing as PIL does it, and cropping.

use std::ops::Range;

use super::{Image, check_size};
use crate::ModelError;

impl Image {
    /// Resized by bilinear interpolation whose triangle widens with the reduction, so that nothing aliases: byte for
    /// byte PIL's `resize(size, BILINEAR)`, torchvision's with `antialias`. The same size gives the same pixels.
    ///
    /// # Errors
    /// Where a side is 0 or there would be more than [`MAX_PIXELS`](super::MAX_PIXELS), also on the way, when the
    /// width is the new one and the height still the old.
    pub fn resize(&self, width: u32, height: u32) -> Result<Image, ModelError> {
        let what = format!("{}x{} resized to", self.width, self.height);
        check_size(&self.path, &what, width, height)?;
        check_size(&self.path, &what, width, self.height)?;
        let (old_width, old_height) = (self.width(), self.height());
        let (new_width, new_height) = (width as usize, height as usize);
        let wide = if old_width == new_width {
            self.pixels.clone()
        } else {
            resize_rows(&self.pixels, &weights(old_width, new_width), old_width)
        };
        let pixels = if old_height == new_height {
            wide
        } else {
            resize_columns(&wide, &weights(old_height, new_height), new_width * 3)
        };
        Ok(Image { path: self.path.clone(), width, height, pixels })
    }

    /// Resized so that the shorter side is `side`; the longer one is rounded down, as torchvision does.
    ///
    /// # Errors
    /// Those of [`resize`](Image::resize): a narrow strip becomes very long.
    pub fn resize_short_side(&self, side: u32) -> Result<Image, ModelError> {
        let long = |long: u32, short: u32| {
            u32::try_from(u64::from(side) * u64::from(long) / u64::from(short)).unwrap_or(u32::MAX)
        };
        if self.width <= self.height {
            self.resize(side, long(self.height, self.width))
        } else {
            self.resize(long(self.width, self.height), side)
        }
    }

    /// Resized so that the longer side is at most `side`, never enlarged; the other side is rounded to the
    /// nearest, and at least 1.
    ///
    /// # Errors
    /// Where `side` is 0.
    pub fn fit_within(&self, side: u32) -> Result<Image, ModelError> {
        let long = self.width.max(self.height);
        if long <= side {
            return Ok(self.clone());
        }
        if side == 0 {
            return Err(ModelError::image(&self.path, "no image fits within 0 pixels"));
        }
        let scaled = |extent: u32| {
            let scaled = scaled(u64::from(extent), u64::from(long), u64::from(side));
            u32::try_from(scaled).expect("a smaller image should have smaller sides")
        };
        self.resize(scaled(self.width), scaled(self.height))
    }

    /// The `width` x `height` pixels in the middle. An odd rest is split as Python rounds halves: to the even
    /// offset, which is torchvision's `center_crop`.
    ///
    /// # Errors
    /// Where the image is smaller than that, or a side is 0.
    pub fn center_crop(&self, width: u32, height: u32) -> Result<Image, ModelError> {
        check_size(&self.path, "cropped to", width, height)?;
        if width > self.width || height > self.height {
            let message =
                format!("{}x{} pixels are too few to crop {width}x{height}", self.width, self.height);
            return Err(ModelError::image(&self.path, message));
        }
        let left = half_to_even(self.width - width) as usize;
        let top = half_to_even(self.height - height) as usize;
        let rows = self.pixels.chunks_exact(self.width() * 3).skip(top).take(height as usize);
        let pixels = rows.flat_map(|row| &row[left * 3..(left + width as usize) * 3]).copied().collect();
        Ok(Image { path: self.path.clone(), width, height, pixels })
    }
}

/// What becomes of a side of an image when its longer one, `long`, is made `side`: rounded to the nearest, and at
/// least 1. No more than `u32` are expected.
pub(crate) fn scaled(extent: u64, long: u64, side: u64) -> u64 {
    ((extent * side + long / 2) / long).max(1)
}

/// The old pixels that make a new one, and their weights as integers: 2^[`FRACTION`] is 1.
struct Weights {
    span: Range<usize>,
    weights: Vec<i32>,
}

/// PIL's number of fractional bits: 8 of the 32 are the pixel's, 2 keep sums from overflowing.
const FRACTION: u32 = 32 - 8 - 2;

/// The weights along one axis: a triangle around each new pixel's centre, one old pixel wide to each side when
/// enlarging and one new pixel wide when reducing, cut at the edges, with a sum of 1. In f64 and rounded as PIL does
/// it, so that the bytes are the same.
fn weights(old: usize, new: usize) -> Vec<Weights> {
    let scale = old as f64 / new as f64;
    let reach = scale.max(1.0);
    let of_pixel = |pixel: usize| {
        let centre = (pixel as f64 + 0.5) * scale;
        let start = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(old);
        let triangle = |at: usize| {
            let distance = ((at as f64 - centre + 0.5) * (1.0 / reach)).abs();
            (1.0 - distance).max(0.0)
        };
        let raw: Vec<f64> = (start..end).map(triangle).collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |weight: &f64| (weight / sum * f64::from(1 << FRACTION) + 0.5) as i32;
        Weights { span: start..end, weights: raw.iter().map(fixed).collect() }
    };
    (0..new).map(of_pixel).collect()
}

/// A weighted sum with its rounding, as a byte.
fn byte(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION - 1);

fn resize_rows(pixels: &[u8], weights: &[Weights], old_width: usize) -> Vec<u8> {
    let rows = pixels.chunks_exact(old_width * 3);
    let mut resized = Vec::with_capacity(rows.len() * weights.len() * 3);
    for row in rows {
        for Weights { span, weights } in weights {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[span.start * 3..span.end * 3].chunks_exact(3).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            resized.extend(sums.map(byte));
        }
    }
    resized
}

fn resize_columns(pixels: &[u8], weights: &[Weights], row_bytes: usize) -> Vec<u8> {
    let mut resized = Vec::with_capacity(weights.len() * row_bytes);
    let mut sums = vec![HALF; row_bytes];
    for Weights { span, weights } in weights {
        sums.fill(HALF);
        let rows = pixels[span.start * row_bytes..span.end * row_bytes].chunks_exact(row_bytes);
        for (row, weight) in rows.zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        resized.extend(sums.iter().map(|sum| byte(*sum)));
    }
    resized
}

/// Half of a number, the half of an odd one rounded to the even neighbour.
fn half_to_even(n: u32) -> u32 {
    n / 2 + (n % 4) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u32, height: u32) -> Image {
        let pixels = (0..width * height * 3).map(|i| (i % 251) as u8).collect();
        Image::from_rgb8("test.png", width, height, pixels).unwrap()
    }

    fn size(image: &Image) -> (usize, usize) {
        (image.width(), image.height())
    }

    #[test]
    fn the_short_side_decides() {
        assert_eq!(size(&plain(300, 201).resize_short_side(100).unwrap()), (149, 100));
        assert_eq!(size(&plain(201, 300).resize_short_side(100).unwrap()), (100, 149));
        assert_eq!(plain(7, 9).resize_short_side(7).unwrap(), plain(7, 9));
    }

    #[test]
    fn a_strip_is_refused_before_it_grows() {
        let error = plain(1, 20_000).resize_short_side(256).unwrap_err();
        assert!(error.is_input_error());
        assert_eq!(
            error.to_string(),
            "test.png: 1x20000 resized to 256x5120000 is 1310720000 pixels, over the limit of 100000000"
        );
        assert!(plain(1, 20_000).resize_short_side(u32::MAX).is_err());
        assert!(plain(3, 3).resize(0, 4).is_err());
    }

    #[test]
    fn fitting_only_shrinks() {
        assert_eq!(size(&plain(300, 201).fit_within(100).unwrap()), (100, 67));
        assert_eq!(size(&plain(201, 300).fit_within(100).unwrap()), (67, 100));
        assert_eq!(size(&plain(30, 20).fit_within(100).unwrap()), (30, 20));
        assert_eq!(size(&plain(900, 1).fit_within(10).unwrap()), (10, 1));
        assert!(plain(9, 9).fit_within(0).is_err());
    }

    #[test]
    fn a_crop_is_in_the_middle_and_odd_rests_go_to_the_even_offset() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half_to_even), [0, 0, 1, 2, 2, 2, 3, 4]);
        let crop = plain(5, 4).center_crop(2, 3).unwrap();
        assert_eq!(size(&crop), (2, 3));
        let at = |x: u8, y: u8| (y * 5 + x) * 3;
        assert_eq!(crop.pixels()[0], at(2, 0));
        assert_eq!(crop.pixels()[6 * 2], at(2, 2));
        let message = plain(5, 4).center_crop(2, 5).unwrap_err().to_string();
        assert_eq!(message, "test.png: 5x4 pixels are too few to crop 2x5");
    }
}
