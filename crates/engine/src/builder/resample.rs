//! Padding, upsampling, and channels in another order.

use super::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::ops::{Pad, PadMode, Upsample2d, Upsampling};

/// The ops. Each returns [`EngineError::Op`](crate::EngineError::Op) where shapes or options do not fit; the types named
/// in the text give the contract in full.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// `x` with more elements before and after its last dimensions, `[before, after]` for each in the order of the
    /// shape ([`Pad`]). Where there are fewer `sides` than dimensions, those in front stay as they are.
    ///
    /// ```
    /// use kiln_engine::ops::PadMode;
    /// use kiln_engine::{DType, GraphBuilder};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("net");
    /// let x = g.input("x", &[1, 3, 5, 7], DType::F32);
    /// let y = g.pad(x, &[[1, 1], [2, 0]], PadMode::Reflect)?;
    /// assert_eq!(g.desc(y).shape, [1, 3, 7, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pad(&mut self, x: Value, sides: &[[usize; 2]], mode: PadMode) -> Result<Value> {
        let before = self.desc(x).rank().saturating_sub(sides.len());
        let sides = [vec![[0; 2]; before], sides.to_vec()].concat();
        self.apply(Pad { sides, mode }, &[x])
    }

    /// `[N][C][H][W]` resized to `output` by the nearest element ([`Upsampling::Nearest`]).
    pub fn upsample_nearest2d(&mut self, x: Value, output: [usize; 2]) -> Result<Value> {
        self.apply(Upsample2d { output, mode: Upsampling::Nearest }, &[x])
    }

    /// `[N][C][H][W]` resized to `output` by bilinear interpolation ([`Upsampling::Bilinear`]).
    pub fn upsample_bilinear2d(
        &mut self,
        x: Value,
        output: [usize; 2],
        align_corners: bool,
    ) -> Result<Value> {
        self.apply(Upsample2d { output, mode: Upsampling::Bilinear { align_corners } }, &[x])
    }

    /// `[N][C][L]` resized to `output` elements by the nearest one ([`Upsampling::Nearest`]).
    pub fn upsample_nearest1d(&mut self, x: Value, output: usize) -> Result<Value> {
        let x = self.as_row("upsample_nearest1d", "input", x)?;
        let y = self.upsample_nearest2d(x, [1, output])?;
        self.without_row(y)
    }

    /// `[N][C][L]` resized to `output` elements by linear interpolation: [`Upsampling::Bilinear`] along one axis.
    pub fn upsample_linear1d(&mut self, x: Value, output: usize, align_corners: bool) -> Result<Value> {
        let x = self.as_row("upsample_linear1d", "input", x)?;
        let y = self.upsample_bilinear2d(x, [1, output], align_corners)?;
        self.without_row(y)
    }

    /// Channels of `[N][C][..]` dealt out anew: of `groups` runs of neighbours first the first of each, then the second
    /// of each, and so on. `torch.nn.functional.channel_shuffle`.
    pub fn channel_shuffle(&mut self, x: Value, groups: usize) -> Result<Value> {
        let shape = self.desc(x).shape.clone();
        let &[batch, channels, ..] = shape.as_slice() else {
            let mismatch = Mismatch::new("input rank", "at least 2", self.desc(x));
            return Err(mismatch.at("channel_shuffle", &self.path));
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Mismatch::new("groups", expected, groups).at("channel_shuffle", &self.path));
        }
        let plane = self.desc(x).elements_behind(2);
        let split = self.reshape(x, &[batch, groups, channels / groups, plane])?;
        let dealt = self.permute(split, &[0, 2, 1, 3])?;
        self.reshape(dealt, &shape)
    }
}
