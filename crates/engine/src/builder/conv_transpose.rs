//! Transposed convolutions.

use super::GraphBuilder;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::{ConvTranspose2d, ConvTransposeOptions, Epilogue};

#[allow(clippy::missing_errors_doc, reason = "EngineError::Op, as for all ops")]
impl GraphBuilder {
    /// Transposed convolution of `x` (`[N][C][H][W]`) with a weight of `[C][out / groups][kh][kw]` and a bias of `[out]`
    /// ([`ConvTranspose2d`]): `torch.nn.functional.conv_transpose2d`.
    ///
    /// ```
    /// use kiln_engine::ops::ConvTransposeOptions;
    /// use kiln_engine::{DType, GraphBuilder};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("decoder");
    /// let x = g.input("x", &[1, 64, 14, 14], DType::F32);
    /// let weight = g.constant("weight", &[64, 32, 4, 4]);
    /// let doubling = ConvTransposeOptions { stride: [2, 2], padding: [1, 1], ..Default::default() };
    /// let y = g.conv_transpose2d(x, weight, None, doubling)?;
    /// assert_eq!(g.desc(y).shape, [1, 32, 28, 28]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn conv_transpose2d(
        &mut self,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        options: ConvTransposeOptions<2>,
    ) -> Result<Value> {
        let op = ConvTranspose2d {
            epilogue: Epilogue::with_bias(bias.is_some()),
            ..ConvTranspose2d::new(options)
        };
        let inputs: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.apply(op, &inputs)
    }

    /// Transposed convolution of `x` (`[N][C][L]`) with a weight of `[C][out / groups][k]` and a bias of `[out]`: the
    /// image of [`conv_transpose2d`](Self::conv_transpose2d) has one row. `torch.nn.functional.conv_transpose1d`.
    pub fn conv_transpose1d(
        &mut self,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        options: ConvTransposeOptions<1>,
    ) -> Result<Value> {
        let x = self.as_row("conv_transpose1d", "input", x)?;
        let weight = self.as_row("conv_transpose1d", "weight", weight)?;
        let y = self.conv_transpose2d(x, weight, bias, options.into())?;
        self.without_row(y)
    }
}
