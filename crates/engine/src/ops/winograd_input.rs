//! The first step of Winograd's convolution: the image as the right sides of a batch of products.

use kiln_kernels::{winograd_input, winograd_input_row};

use super::{OpRules, PANEL, RhsLayout, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select::{self, WinogradInputKernel};
use crate::tensor::{DType, TensorDesc};
use crate::window::{Axis, Padding};
use crate::winograd::{RUN, Tiles, WinogradTile};

/// `output[P r + s][c][t] = (B^T d B)[r][s]` with `d` the `P x P` inputs that meet the outputs of the tile `t` in channel
/// `c`, 0 outside of the image; `P` is the tile's outputs along an axis + 2, and tiles count image by image, row by row.
/// `B` belongs to the points 0, 1, -1 for two outputs and 0, 3/4, -3/4, 3/2, -3/2 for four, and infinity: equation 8 of
/// Lavin and Gray (2015), with other points.
///
/// The input is `[N][C][H][W]`. The output is `[P^2][C][tiles]`, or in panels `[P^2][panels][C][8]`, with the number of
/// tiles rounded up to a multiple of eight; what is past the last tile is zero. A NaN or an infinity reaches all places of
/// its tiles.
///
/// The pass [`winograd`](crate::passes::winograd) adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradInput {
    /// Outputs of a tile.
    pub tile: WinogradTile,
    /// What surrounds the image.
    pub padding: Padding<2>,
    /// Whether tiles lie in panels of eight, as [`PackPanels`](super::PackPanels) lays out columns.
    pub panels: bool,
}

impl WinogradInput {
    fn axes(&self, input: &TensorDesc) -> Result<[Axis; 2], Mismatch> {
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 4)?;
        Axis::pair([3; 2], [1; 2], self.padding, [1; 2], [input.shape[2], input.shape[3]])
    }

    fn tiles(&self, input: &TensorDesc) -> Result<Tiles, Mismatch> {
        Ok(self.tile.cover(input.shape[0], self.axes(input)?.map(|axis| axis.output())))
    }

    /// How the right side of the product lies, for an image.
    ///
    /// # Errors
    /// A [`Mismatch`] where it is no image, or smaller than a window.
    pub fn layout(&self, input: &TensorDesc) -> Result<RhsLayout, Mismatch> {
        let cols = self.tiles(input)?.padded();
        Ok(if self.panels { RhsLayout::Panels { cols } } else { RhsLayout::RowMajor })
    }
}

impl OpRules for WinogradInput {
    const NAME: &'static str = "winograd_input";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let (cols, channels) = (self.tiles(input)?.padded(), input.shape[1]);
        let places = self.tile.places();
        Ok(match self.panels {
            true => TensorDesc::f32([places, cols / PANEL, channels, PANEL]),
            false => TensorDesc::f32([places, channels, cols]),
        })
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.input(0).desc;
        let at = |mismatch: Mismatch| mismatch.at(Self::NAME, lowering.path);
        let [height, width] = self.axes(desc).map_err(at)?;
        let tiles = self.tiles(desc).map_err(at)?;
        let (batch, channels) = (desc.shape[0], desc.shape[1]);
        let (input, output) = (lowering.whole(0)?, lowering.whole_output()?);
        let in_panel = if self.panels { PANEL } else { tiles.padded() };
        // Both kernels take the same parameters and bindings.
        macro_rules! dispatch {
            ($kernel:ident, $variant:expr, $lanes:expr) => {{
                let lanes: usize = $lanes;
                let count = channels * tiles.padded() / lanes;
                let params = $kernel::Params {
                    count: count as u32,
                    tiles: tiles.count() as u32,
                    tiles_h: tiles.rows as u32,
                    tiles_w: tiles.cols as u32,
                    channels: channels as u32,
                    panel_tiles: (in_panel / lanes) as u32,
                    batch: batch as u32,
                    in_h: height.input as u32,
                    in_w: width.input as u32,
                    before_h: height.before as u32,
                    before_w: width.before as u32,
                };
                let bindings = $kernel::Bindings { input, output }.into_array();
                let groups = count.div_ceil($variant.threads() as usize) as u64;
                lowering.dispatch($variant.kernel(), [], &params, bindings, groups)
            }};
        }
        match select::winograd_input(lowering.profile, self.tile, desc, tiles.cols) {
            WinogradInputKernel::Row(variant) => dispatch!(winograd_input_row, variant, RUN),
            WinogradInputKernel::Any(variant) => dispatch!(winograd_input, variant, variant.lanes() as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |tile, padding, panels, shape: &[usize]| {
            let desc = WinogradInput { tile, padding, panels }.infer(&[&TensorDesc::f32(shape)]);
            desc.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        let (two, four) = (WinogradTile::Two, WinogradTile::Four);
        assert_eq!(infer(four, Padding::all(1), false, &[1, 5, 28, 28]), Ok(vec![36, 5, 56]));
        assert_eq!(infer(four, Padding::all(1), true, &[1, 5, 28, 28]), Ok(vec![36, 7, 5, 8]));
        assert_eq!(infer(two, Padding::Valid, true, &[2, 3, 7, 4]), Ok(vec![16, 1, 3, 8]));
        assert_eq!(
            infer(two, Padding::Valid, true, &[2, 3, 2, 4]),
            Err("kernel height: expected at most the input's 2, got 3".into())
        );
        assert_eq!(
            infer(two, Padding::Valid, true, &[3, 2, 4]),
            Err("input rank: expected 4, got f32[3, 2, 4]".into())
        );
    }
}
