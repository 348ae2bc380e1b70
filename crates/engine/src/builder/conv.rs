//! Convolutions.

use super::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::ops::{Conv2d, ConvOptions, Epilogue};

#[allow(clippy::missing_errors_doc, reason = "EngineError::Op, as for all ops")]
impl GraphBuilder {
    /// Convolution of `x` (`[N][C][H][W]`) with a weight of `[out][C / groups][kh][kw]` and a bias of `[out]`
    /// ([`Conv2d`]): `torch.nn.functional.conv2d`.
    ///
    /// ```
    /// use kiln_engine::ops::ConvOptions;
    /// use kiln_engine::{DType, GraphBuilder, Padding};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("net");
    /// let x = g.input("x", &[1, 3, 224, 224], DType::F32);
    /// let (weight, bias) = (g.constant("weight", &[64, 3, 3, 3]), g.constant("bias", &[64]));
    /// let y = g.conv2d(x, weight, Some(bias), ConvOptions { padding: Padding::all(1), ..Default::default() })?;
    /// assert_eq!(g.desc(y).shape, [1, 64, 224, 224]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn conv2d(
        &mut self,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        options: ConvOptions<2>,
    ) -> Result<Value> {
        let op = Conv2d { epilogue: Epilogue::with_bias(bias.is_some()), ..Conv2d::new(options) };
        let inputs: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.apply(op, &inputs)
    }

    /// Convolution of `x` (`[N][C][L]`) with a weight of `[out][C / groups][k]` and a bias of `[out]`: the image of
    /// [`conv2d`](Self::conv2d) has one row. `torch.nn.functional.conv1d`.
    pub fn conv1d(
        &mut self,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        options: ConvOptions<1>,
    ) -> Result<Value> {
        let x = self.as_row("conv1d", "input", x)?;
        let weight = self.as_row("conv1d", "weight", weight)?;
        let y = self.conv2d(x, weight, bias, options.into())?;
        self.without_row(y)
    }

    /// `[a][b][l]` as an image of one row, `[a][b][1][l]`: how ops over one spatial axis reach those over two.
    pub(super) fn as_row(&mut self, op: &'static str, what: &str, x: Value) -> Result<Value> {
        let desc = self.desc(x);
        let &[first, second, length] = desc.shape.as_slice() else {
            return Err(Mismatch::new(format!("{what} rank"), 3, desc).at(op, &self.path));
        };
        self.reshape(x, &[first, second, 1, length])
    }

    /// The way back from [`as_row`](Self::as_row).
    pub(super) fn without_row(&mut self, x: Value) -> Result<Value> {
        let mut shape = self.desc(x).shape.clone();
        shape.remove(2);
        self.reshape(x, &shape)
    }
}
