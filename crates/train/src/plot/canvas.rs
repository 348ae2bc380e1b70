//! Pixels to draw on, and text on them.

use kiln_models::Image;
use kiln_models::image::Picture;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

use crate::TrainError;

/// Red, green, blue.
pub(super) type Color = [u8; 3];

pub(super) const WHITE: Color = [255; 3];
pub(super) const INK: Color = [33, 37, 41];

/// A drawing, white at first.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// The size of letters.
#[derive(Clone, Copy)]
pub(super) enum Letters {
    Small,
    Large,
}

impl Letters {
    fn raster(self) -> RasterHeight {
        match self {
            Letters::Small => RasterHeight::Size16,
            Letters::Large => RasterHeight::Size20,
        }
    }

    /// The height of a line.
    pub(super) fn height(self) -> usize {
        self.raster().val()
    }

    /// The width of a text.
    pub(super) fn width(self, text: &str) -> usize {
        text.chars().count() * get_raster_width(FontWeight::Regular, self.raster())
    }

    fn glyph(self, character: char) -> Option<RasterizedChar> {
        let glyph = |character| get_raster(character, FontWeight::Regular, self.raster());
        glyph(character).or_else(|| glyph('?'))
    }
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, pixels: vec![255; width * height * 3] }
    }

    /// Fills a rectangle, as far as it lies on the canvas.
    pub(super) fn fill(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], color: Color) {
        for row in y..(y + height).min(self.height) {
            for column in x..(x + width).min(self.width) {
                self.set(column, row, color);
            }
        }
    }

    /// Writes a text whose upper left corner is at a place.
    pub(super) fn text(&mut self, [x, y]: [usize; 2], text: &str, letters: Letters, color: Color) {
        self.letters(text, letters, |canvas, along, across, cover| {
            canvas.blend(x + along, y + across, color, cover);
        });
    }

    /// Writes a text upward whose lower left corner, turned, is at a place.
    pub(super) fn text_upward(&mut self, [x, y]: [usize; 2], text: &str, letters: Letters, color: Color) {
        self.letters(text, letters, |canvas, along, across, cover| {
            if let Some(row) = y.checked_sub(along) {
                canvas.blend(x + across, row, color, cover);
            }
        });
    }

    fn letters(&mut self, text: &str, letters: Letters, mut dot: impl FnMut(&mut Canvas, usize, usize, u8)) {
        let mut start = 0;
        for glyph in text.chars().filter_map(|character| letters.glyph(character)) {
            for (across, row) in glyph.rows().enumerate() {
                for (along, cover) in row.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                    dot(self, start + along, across, *cover);
                }
            }
            start += glyph.width();
        }
    }

    fn set(&mut self, x: usize, y: usize, color: Color) {
        let at = (y * self.width + x) * 3;
        self.pixels[at..at + 3].copy_from_slice(&color);
    }

    fn blend(&mut self, x: usize, y: usize, color: Color, cover: u8) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        for (pixel, color) in self.pixels[at..at + 3].iter_mut().zip(color) {
            *pixel = mix(*pixel, color, f64::from(cover) / 255.0);
        }
    }

    pub(super) fn finish(self, name: &str) -> Result<Picture, TrainError> {
        let (width, height) = (self.width as u32, self.height as u32);
        Ok(Image::from_rgb8(name, width, height, self.pixels)?.into())
    }
}

/// A color on the way from one to another.
pub(super) fn between(from: Color, to: Color, share: f64) -> Color {
    std::array::from_fn(|channel| mix(from[channel], to[channel], share))
}

fn mix(from: u8, to: u8, share: f64) -> u8 {
    (f64::from(from) + (f64::from(to) - f64::from(from)) * share).round() as u8
}
