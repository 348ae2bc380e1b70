//! Contact sheets: the feature maps of a layer side by side.

use super::picture::{Picture, Show};
use crate::ModelError;

/// What is black and what is white in a tile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TileRange {
    /// The tile's own smallest and largest value: shows the pattern of every map, even a faint one.
    #[default]
    Own,
    /// Those of all tiles: shows how strong the maps are beside each other.
    Common,
}

/// How a contact sheet looks. The default chooses columns and magnification by the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SheetOptions {
    /// What is black and what is white.
    pub range: TileRange,
    /// Tiles in a row.
    pub columns: Option<usize>,
    /// Pixels between the tiles and around them.
    pub gap: usize,
    /// Pixels, across and down, for each value.
    pub zoom: Option<usize>,
}

impl Default for SheetOptions {
    fn default() -> Self {
        SheetOptions { range: TileRange::Own, columns: None, gap: 1, zoom: None }
    }
}

/// Between the tiles and around them: lighter than the black that fills most maps, darker than what stands out in them.
const GAP_SHADE: u8 = 72;
/// Smaller tiles are magnified to about this many pixels.
const LEAST_TILE: usize = 48;
/// And so are sheets of few tiles, by their longer side.
const LEAST_SHEET: usize = 384;

/// One gray tile for each plane of `[planes][height][width]`, in reading order.
///
/// # Errors
/// [`ModelError::Image`] where a dimension is 0 or the number of values does not fit;
/// [`ModelError::ImageSize`] where the sheet has more than [`MAX_PIXELS`](super::MAX_PIXELS).
pub fn contact_sheet(
    values: &[f32],
    [planes, height, width]: [usize; 3],
    options: &SheetOptions,
) -> Result<Picture, ModelError> {
    let refused = |message: String| Err(ModelError::image("contact sheet".as_ref(), message));
    let plane = height.saturating_mul(width);
    if planes == 0 || plane == 0 {
        return refused(format!("{planes} maps of {width}x{height} show nothing"));
    }
    if planes.checked_mul(plane) != Some(values.len()) {
        return refused(format!("{planes} maps of {width}x{height} cannot be {} values", values.len()));
    }
    let gap = options.gap;
    let columns = options.columns.unwrap_or_else(|| columns(planes, width, height)).clamp(1, planes);
    let rows = planes.div_ceil(columns);
    let longer = width.saturating_mul(columns).max(height.saturating_mul(rows));
    let zoom = options.zoom.unwrap_or((LEAST_TILE / width.max(height)).max(LEAST_SHEET / longer)).max(1);
    let extent = |tiles: usize, side: usize| {
        side.saturating_mul(zoom).saturating_add(gap).saturating_mul(tiles).saturating_add(gap)
    };
    let (sheet_width, sheet_height) = (extent(columns, width), extent(rows, height));
    let mut sheet = Picture::gray(sheet_width, sheet_height, GAP_SHADE)?;
    let shades = match options.range {
        TileRange::Own => values.chunks_exact(plane).flat_map(|tile| Show::Scale.bytes(tile, 1.0)).collect(),
        TileRange::Common => Show::Scale.bytes(values, 1.0),
    };
    let pixels = sheet.pixels_mut();
    for (tile, shades) in shades.chunks_exact(plane).enumerate() {
        let left = gap + tile % columns * (width * zoom + gap);
        let top = gap + tile / columns * (height * zoom + gap);
        for y in 0..height * zoom {
            let line = &shades[y / zoom * width..][..width];
            let start = (top + y) * sheet_width + left;
            for (x, pixel) in pixels[start..start + width * zoom].iter_mut().enumerate() {
                *pixel = line[x / zoom];
            }
        }
    }
    Ok(sheet)
}

/// Pictures one below the other, on the left; what is free beside a narrow one is as between the tiles.
///
/// # Errors
/// [`ModelError::Image`] where there is none or one is not gray; [`ModelError::ImageSize`] where all of them have more
/// than [`MAX_PIXELS`](super::MAX_PIXELS).
pub fn stack(sheets: &[Picture]) -> Result<Picture, ModelError> {
    if sheets.iter().any(|sheet| sheet.channels() != 1) {
        return Err(ModelError::image("contact sheets".as_ref(), "expected gray pictures"));
    }
    let width = sheets.iter().map(Picture::width).max().unwrap_or(0);
    let height = sheets.iter().map(Picture::height).sum();
    let mut all = Picture::gray(width, height, GAP_SHADE)?;
    let mut free = all.pixels_mut().chunks_exact_mut(width);
    for row in sheets.iter().flat_map(|sheet| sheet.pixels().chunks_exact(sheet.width())) {
        if let Some(place) = free.next() {
            place[..row.len()].copy_from_slice(row);
        }
    }
    Ok(all)
}

/// As many columns as make the sheet about square or up to twice as wide, without an empty place where that can be.
fn columns(planes: usize, width: usize, height: usize) -> usize {
    let square = (planes as f64 * height as f64 / width as f64).sqrt().ceil() as usize;
    let square = square.clamp(1, planes);
    (square..=planes.min(2 * square)).find(|columns| planes.is_multiple_of(*columns)).unwrap_or(square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_no_hole_where_they_can() {
        let of = |planes| columns(planes, 8, 8);
        assert_eq!([1, 2, 3, 7, 10].map(of), [1, 2, 3, 3, 5]);
        assert_eq!([64, 96, 128, 256, 512].map(of), [8, 12, 16, 16, 32]);
        assert_eq!(columns(16, 100, 25), 2);
        assert_eq!(columns(16, 25, 100), 8);
        assert_eq!(columns(4096, 1, 1), 64);
    }

    #[test]
    fn tiles_stand_in_reading_order_with_gaps() {
        let options = SheetOptions { columns: Some(2), zoom: Some(1), ..SheetOptions::default() };
        let values = [0.0, 1.0, 0.0, 10.0, -5.0, 5.0];
        let g = GAP_SHADE;
        let sheet = contact_sheet(&values, [3, 1, 2], &options).unwrap();
        assert_eq!((sheet.width(), sheet.height(), sheet.channels()), (7, 5, 1));
        #[rustfmt::skip]
        assert_eq!(sheet.pixels(), [
            g, g, g, g, g, g, g,
            g, 0, 255, g, 0, 255, g,
            g, g, g, g, g, g, g,
            g, 0, 255, g, g, g, g,
            g, g, g, g, g, g, g,
        ]);
        let common = contact_sheet(&values, [3, 1, 2], &SheetOptions { range: TileRange::Common, ..options });
        let common = common.unwrap();
        assert_eq!([8, 9, 11, 12, 22, 23].map(|at| common.pixels()[at]), [85, 102, 85, 255, 0, 170]);
    }

    #[test]
    fn small_maps_are_magnified() {
        let sheet = contact_sheet(&[0.0, 1.0, 2.0, 4.0], [1, 2, 2], &SheetOptions::default()).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (386, 386));
        let at = |x: usize, y: usize| sheet.pixels()[y * 386 + x];
        assert_eq!([at(1, 1), at(192, 192), at(193, 1), at(192, 193), at(384, 384)], [0, 0, 64, 128, 255]);
        let size = |planes: usize, side: usize| {
            let values = vec![0.0; planes * side * side];
            contact_sheet(&values, [planes, side, side], &SheetOptions::default()).unwrap().width()
        };
        // Many maps are magnified one by one, a single vector until it can be looked at, and large maps not at all.
        assert_eq!([size(512, 14), size(1, 64), size(64, 224)], [32 * 43 + 1, 6 * 64 + 2, 8 * 225 + 1]);
    }

    #[test]
    fn sheets_are_stacked_on_the_left() {
        let tile = |width: usize| Picture::gray(width, 1, 9).unwrap();
        let both = stack(&[tile(1), tile(2)]).unwrap();
        assert_eq!((both.width(), both.height(), both.pixels()), (2, 2, &[9, GAP_SHADE, 9, 9][..]));
        assert!(stack(&[]).is_err());
    }

    #[test]
    fn what_is_no_sheet_is_refused() {
        let refused =
            |values: &[f32], shape, options| contact_sheet(values, shape, &options).unwrap_err().to_string();
        let plain = SheetOptions::default();
        assert_eq!(refused(&[], [0, 2, 2], plain), "contact sheet: 0 maps of 2x2 show nothing");
        assert_eq!(refused(&[0.0; 5], [1, 2, 2], plain), "contact sheet: 1 maps of 2x2 cannot be 5 values");
        let huge = SheetOptions { zoom: Some(usize::MAX), ..plain };
        assert!(refused(&[0.0; 4], [1, 2, 2], huge).contains("over the limit"));
    }
}
