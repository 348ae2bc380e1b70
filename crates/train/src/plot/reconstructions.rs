//! Images above what a network makes of them.

use kiln_models::image::Picture;

use super::canvas::{Canvas, Color, INK, Letters};
use crate::TrainError;
use crate::normalization::Normalization;

const COLUMNS: usize = 10;
const GAP: usize = 4;
const MARGIN: usize = 16;
/// Smaller images are magnified to about this many pixels.
const LEAST_TILE: usize = 84;

/// Rows of images `[example][channel][row][column]`, each above its reconstruction; both are normalised, and shown as
/// they were before. One channel is gray, three are a color, of any other number the first is shown.
///
/// # Errors
/// Where there is no image, another number of values than the shape says, or the picture would be too large.
pub fn reconstructions(
    images: &[f32],
    outputs: &[f32],
    [count, channels, height, width]: [usize; 4],
    normalization: &Normalization,
) -> Result<Picture, TrainError> {
    normalization.check([channels, height, width])?;
    let example = channels * height * width;
    if images.len() != count * example || outputs.len() != images.len() || images.is_empty() {
        let value = format!("of {} and {} values", images.len(), outputs.len());
        let expected = format!("expected {count} images of {channels}x{height}x{width} in each");
        return Err(TrainError::option("pictures", value, expected));
    }
    let zoom = (LEAST_TILE / width.max(height)).max(1);
    let [tile_width, tile_height] = [width * zoom, height * zoom];
    let columns = count.min(COLUMNS);
    let pair = 2 * (tile_height + GAP) + MARGIN;
    let title = "test images, and below each what the network makes of it";
    let top = MARGIN + Letters::Large.height() + MARGIN / 2;
    let across = (columns * (tile_width + GAP)).max(Letters::Large.width(title)) + 2 * MARGIN;
    let mut canvas = Canvas::new(across, top + count.div_ceil(columns) * pair);
    canvas.text([MARGIN, MARGIN], title, Letters::Large, INK);
    let pairs = images.chunks_exact(example).zip(outputs.chunks_exact(example));
    for (index, (image, output)) in pairs.enumerate() {
        let x = MARGIN + index % columns * (tile_width + GAP);
        let y = top + index / columns * pair;
        for (values, y) in [(image, y), (output, y + tile_height + GAP)] {
            for place in 0..height * width {
                let color = color(values, place, height * width, channels, normalization);
                let [row, column] = [place / width, place % width];
                canvas.fill([x + column * zoom, y + row * zoom], [zoom, zoom], color);
            }
        }
    }
    canvas.finish("reconstructions")
}

fn color(values: &[f32], place: usize, plane: usize, channels: usize, norm: &Normalization) -> Color {
    std::array::from_fn(|channel| {
        let channel = if channels == 3 { channel } else { 0 };
        let value = f64::from(values[channel * plane + place]) * norm.std[channel] + norm.mean[channel];
        (value * 255.0).round().clamp(0.0, 255.0) as u8 // NaN casts to 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_look_as_they_did_before_the_normalization() {
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        let picture = reconstructions(&[-2.0, 2.0], &[0.0, f32::NAN], [2, 1, 1, 1], &normalization).unwrap();
        let at = |x: usize, y: usize| picture.pixels()[(y * picture.width() + x) * 3];
        let top = MARGIN + Letters::Large.height() + MARGIN / 2;
        let (right, below) = (MARGIN + LEAST_TILE + GAP, top + LEAST_TILE + GAP);
        assert_eq!([at(MARGIN, top), at(right, top)], [0, 255]);
        assert_eq!([at(MARGIN, below), at(right, below)], [128, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let unit = Normalization::unit(1);
        assert!(reconstructions(&[0.0; 4], &[0.0; 3], [1, 1, 2, 2], &unit).is_err());
        assert!(reconstructions(&[], &[], [0, 1, 2, 2], &unit).is_err());
        assert!(reconstructions(&[0.0; 12], &[0.0; 12], [1, 3, 2, 2], &unit).is_err());
        assert!(reconstructions(&[0.0; 8], &[0.0; 8], [1, 2, 2, 2], &Normalization::unit(2)).is_ok());
    }
}
