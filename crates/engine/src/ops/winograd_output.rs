//! The last step of Winograd's convolution: from products to an image, with what follows the convolution.

use kiln_kernels::winograd_output;

use super::{Epilogue, OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::winograd::{Tiles, WinogradTile};
use crate::work::{Work, elements};

/// `y[n][oc][T i + a][T j + b] = (A^T m A)[a][b]` with `m[r][s] = input[P r + s][oc][t]`, `t` the tile in row `i` and column
/// `j` of the image `n`, `T` the tile's outputs along an axis and `P = T + 2`; then the [`Epilogue`] by channels, and
/// where `pool` says so the maximum over windows of 2x2 and stride 2. `A` belongs to the points of
/// [`WinogradInput`](super::WinogradInput).
///
/// The input is `[P^2][out][tiles]`, with the number of tiles rounded up to a multiple of eight; the output is
/// `[N][out][OH][OW]`, or pooled `[N][out][OH / 2][OW / 2]`, rounded down. Inputs are the products, then those of the
/// epilogue, whose residual is of `y`'s shape.
///
/// The pass [`winograd`](crate::passes::winograd) adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradOutput {
    /// Outputs of a tile.
    pub tile: WinogradTile,
    /// Images.
    pub batch: usize,
    /// Height and width of `y`.
    pub extents: [usize; 2],
    /// Whether the maximum over 2x2 windows is made.
    pub pool: bool,
    /// What is done with the sums before.
    pub epilogue: Epilogue,
}

impl WinogradOutput {
    fn tiles(&self) -> Tiles {
        self.tile.cover(self.batch, self.extents)
    }
}

impl OpRules for WinogradOutput {
    const NAME: &'static str = "winograd_output";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let Some(input) = inputs.first() else {
            return Err(Mismatch::new("number of inputs", "at least 1", inputs.len()));
        };
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 3)?;
        let channels = input.shape[1];
        expect::shape("input", input, &[self.tile.places(), channels, self.tiles().padded()])?;
        let [height, width] = self.extents;
        let whole = TensorDesc::f32([self.batch, channels, height, width]);
        self.epilogue.check(1, inputs, channels, &whole)?;
        Ok(match self.pool {
            true => TensorDesc::f32([self.batch, channels, height / 2, width / 2]),
            false => whole,
        })
    }

    fn work(&self, inputs: &[&TensorDesc], _: &TensorDesc) -> Work {
        Work::elementwise(inputs.first().map_or(0, |input| elements(input)))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use winograd_output::Variant;
        let (channels, tiles) = (lowering.output.desc.shape[1], self.tiles());
        let variant = match (lowering.profile.kind.is_software(), self.tile) {
            (true, WinogradTile::Four) => Variant::Wide4,
            (true, WinogradTile::Two) => Variant::Wide2,
            (false, WinogradTile::Four) => Variant::Base4,
            (false, WinogradTile::Two) => Variant::Base2,
        };
        let row_runs = tiles.padded() / variant.lanes() as usize;
        let count = channels * row_runs;
        let params = winograd_output::Params {
            count: count as u32,
            row_runs: row_runs as u32,
            tiles: tiles.count() as u32,
            tiles_h: tiles.rows as u32,
            tiles_w: tiles.cols as u32,
            out_channels: channels as u32,
            out_h: self.extents[0] as u32,
            out_w: self.extents[1] as u32,
            flags: u32::from(self.epilogue.bias),
        };
        let input = lowering.whole(0)?;
        let bias = if self.epilogue.bias { lowering.whole(1)? } else { input };
        let residual = match self.epilogue.residual {
            true => lowering.whole(1 + usize::from(self.epilogue.bias))?,
            false => input,
        };
        let bindings = winograd_output::Bindings { input, bias, residual, output: lowering.whole_output()? };
        let overrides = winograd_output::Overrides {
            activation: self.epilogue.activation_code(),
            residual: u32::from(self.epilogue.residual),
            pool: u32::from(self.pool),
        };
        let groups = count.div_ceil(variant.threads() as usize) as u64;
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let plain = WinogradOutput {
            tile: WinogradTile::Four,
            batch: 2,
            extents: [7, 5],
            pool: false,
            epilogue: Epilogue::default(),
        };
        let infer = |op: WinogradOutput, shapes: &[&[usize]]| {
            let descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
            let desc = op.infer(&descs.iter().collect::<Vec<_>>());
            desc.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(plain, &[&[36, 9, 8]]), Ok(vec![2, 9, 7, 5]));
        let all = Epilogue { residual: true, ..Epilogue::with_bias(true) };
        let pooled = WinogradOutput { pool: true, epilogue: all, ..plain };
        assert_eq!(infer(pooled, &[&[36, 9, 8], &[9], &[2, 9, 7, 5]]), Ok(vec![2, 9, 3, 2]));
        assert_eq!(infer(plain, &[&[16, 9, 8]]), Err("input: expected [36, 9, 8], got f32[16, 9, 8]".into()));
        let biased = WinogradOutput { epilogue: Epilogue::with_bias(true), ..plain };
        assert_eq!(infer(biased, &[&[36, 9, 8], &[8]]), Err("bias: expected [9], got f32[8]".into()));
        let two = WinogradOutput { tile: WinogradTile::Two, batch: 1, ..plain };
        assert_eq!(infer(two, &[&[16, 9, 16]]), Ok(vec![1, 9, 7, 5]));
    }
}
