//! Sizes of Winograd's convolution: tiles of outputs, and the places of a transformed tile.

use crate::ops::{ConvGeometry, PANEL};
use crate::window::Axis;

/// How many outputs a tile has along either axis in Winograd's convolution by 3x3 taps: F(2x2, 3x3) or F(4x4, 3x3) of
/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WinogradTile {
    /// 2: 16 products for each tile, channel and filter, 4 an output, where a direct convolution has 9.
    Two,
    /// 4: 36 products, 2.25 an output. Less exact than two, by a factor of about four.
    Four,
}

impl WinogradTile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Two, Self::Four];

    /// Outputs along an axis.
    pub const fn outputs(self) -> usize {
        match self {
            WinogradTile::Two => 2,
            WinogradTile::Four => 4,
        }
    }

    /// Elements of a transformed tile: `(outputs + 2)^2`.
    pub const fn places(self) -> usize {
        (self.outputs() + 2) * (self.outputs() + 2)
    }

    /// The tiles that cover images with outputs of such extents.
    pub(crate) fn cover(self, batch: usize, [height, width]: [usize; 2]) -> Tiles {
        let along = |extent: usize| extent.div_ceil(self.outputs());
        Tiles { batch, rows: along(height), cols: along(width) }
    }
}

/// The tiles of a batch of images, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    batch: usize,
    /// Rows of tiles in an image.
    pub(crate) rows: usize,
    /// Tiles in a row.
    pub(crate) cols: usize,
}

impl Tiles {
    /// All tiles.
    pub(crate) fn count(&self) -> usize {
        self.batch.saturating_mul(self.rows).saturating_mul(self.cols)
    }

    /// The columns of the matrices that hold the tiles: whole panels, so that rows of the product are whole vectors. Those
    /// past the last tile are zero.
    pub(crate) fn padded(&self) -> usize {
        self.count().next_multiple_of(PANEL)
    }
}

/// Neighbouring tiles that an invocation of a software adapter makes as a vector.
pub(crate) const RUN: usize = 4;

/// Whether a convolution is of the kind that the transforms are made for: 3x3, without stride, dilation and groups.
pub(crate) fn fits(geometry: &ConvGeometry) -> bool {
    let plain = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    geometry.groups == 1 && geometry.axes.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_outputs() {
        let tiles = WinogradTile::Four.cover(3, [14, 7]);
        assert_eq!((tiles.rows, tiles.cols, tiles.count(), tiles.padded()), (4, 2, 24, 24));
        let tiles = WinogradTile::Two.cover(1, [1, 5]);
        assert_eq!((tiles.rows, tiles.cols, tiles.count(), tiles.padded()), (1, 3, 3, 8));
        assert_eq!(WinogradTile::ALL.map(WinogradTile::places), [16, 36]);
    }
}
