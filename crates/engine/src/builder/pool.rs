//! Pooling.

use super::GraphBuilder;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::{
    AdaptivePool2d, AdaptivePooling, AveragePadding, Pool2d, PoolOptions, Pooling, longest_window,
};
use crate::window::Padding;

/// Windows of more elements are taken in two steps, along the rows and then along the columns: a software adapter cuts
/// an invocation short that walks over too many, and a maximum or mean of a rectangle is one of its rows' all the same.
const LARGEST_WINDOW: usize = 1 << 14;

/// The ops. Each returns [`EngineError::Op`](crate::EngineError::Op) where shapes or options do not fit; the types named
/// in the text give the contract in full. NaN passes through all of them.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// The greatest element of each window of `[N][C][H][W]` ([`Pooling::Max`]): `torch.nn.functional.max_pool2d`.
    ///
    /// ```
    /// use kiln_engine::ops::PoolOptions;
    /// use kiln_engine::{DType, GraphBuilder, Padding};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("net");
    /// let x = g.input("x", &[1, 64, 112, 112], DType::F32);
    /// let vgg = g.max_pool2d(x, PoolOptions::new([2, 2]))?;
    /// assert_eq!(g.desc(vgg).shape, [1, 64, 56, 56]);
    ///
    /// let resnet = PoolOptions { stride: [2, 2], padding: Padding::all(1), ..PoolOptions::new([3, 3]) };
    /// let y = g.max_pool2d(x, resnet)?;
    /// assert_eq!(g.desc(y).shape, [1, 64, 56, 56]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_pool2d(&mut self, x: Value, options: PoolOptions<2>) -> Result<Value> {
        self.pool2d(x, Pooling::Max, options)
    }

    /// Where in its plane the greatest element of each window lies, `h * W + w` as u32 ([`Pooling::MaxIndex`]):
    /// `max_pool2d` with `return_indices`.
    pub fn max_pool2d_indices(&mut self, x: Value, options: PoolOptions<2>) -> Result<Value> {
        self.pool2d(x, Pooling::MaxIndex, options)
    }

    /// The mean of each window of `[N][C][H][W]` ([`Pooling::Average`]): `torch.nn.functional.avg_pool2d`.
    pub fn avg_pool2d(
        &mut self,
        x: Value,
        options: PoolOptions<2>,
        padding: AveragePadding,
    ) -> Result<Value> {
        self.pool2d(x, Pooling::Average(padding), options)
    }

    /// [`max_pool2d`](Self::max_pool2d) over the one spatial axis of `[N][C][L]`.
    pub fn max_pool1d(&mut self, x: Value, options: PoolOptions<1>) -> Result<Value> {
        let x = self.as_row("max_pool1d", "input", x)?;
        let y = self.max_pool2d(x, options.into())?;
        self.without_row(y)
    }

    /// [`max_pool2d_indices`](Self::max_pool2d_indices) over the one spatial axis of `[N][C][L]`: places in the line.
    pub fn max_pool1d_indices(&mut self, x: Value, options: PoolOptions<1>) -> Result<Value> {
        let x = self.as_row("max_pool1d", "input", x)?;
        let y = self.max_pool2d_indices(x, options.into())?;
        self.without_row(y)
    }

    /// [`avg_pool2d`](Self::avg_pool2d) over the one spatial axis of `[N][C][L]`.
    pub fn avg_pool1d(
        &mut self,
        x: Value,
        options: PoolOptions<1>,
        padding: AveragePadding,
    ) -> Result<Value> {
        let x = self.as_row("avg_pool1d", "input", x)?;
        let y = self.avg_pool2d(x, options.into(), padding)?;
        self.without_row(y)
    }

    /// The greatest elements of windows that share `[N][C][H][W]` evenly, `[N][C]` by `output` of them
    /// ([`AdaptivePool2d`]): `torch.nn.functional.adaptive_max_pool2d`.
    pub fn adaptive_max_pool2d(&mut self, x: Value, output: [usize; 2]) -> Result<Value> {
        self.adaptive_pool2d(x, AdaptivePooling::Max, output)
    }

    /// The means of windows that share `[N][C][H][W]` evenly, `[N][C]` by `output` of them ([`AdaptivePool2d`]):
    /// `torch.nn.functional.adaptive_avg_pool2d`.
    pub fn adaptive_avg_pool2d(&mut self, x: Value, output: [usize; 2]) -> Result<Value> {
        self.adaptive_pool2d(x, AdaptivePooling::Average, output)
    }

    /// [`adaptive_max_pool2d`](Self::adaptive_max_pool2d) over the one spatial axis of `[N][C][L]`.
    pub fn adaptive_max_pool1d(&mut self, x: Value, output: usize) -> Result<Value> {
        let x = self.as_row("adaptive_max_pool1d", "input", x)?;
        let y = self.adaptive_max_pool2d(x, [1, output])?;
        self.without_row(y)
    }

    /// [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d) over the one spatial axis of `[N][C][L]`.
    pub fn adaptive_avg_pool1d(&mut self, x: Value, output: usize) -> Result<Value> {
        let x = self.as_row("adaptive_avg_pool1d", "input", x)?;
        let y = self.adaptive_avg_pool2d(x, [1, output])?;
        self.without_row(y)
    }

    /// The mean of each plane of `[N][C][H][W]`, as `[N][C][1][1]`.
    pub fn global_avg_pool2d(&mut self, x: Value) -> Result<Value> {
        self.adaptive_avg_pool2d(x, [1, 1])
    }

    /// The greatest element of each plane of `[N][C][H][W]`, as `[N][C][1][1]`.
    pub fn global_max_pool2d(&mut self, x: Value) -> Result<Value> {
        self.adaptive_max_pool2d(x, [1, 1])
    }

    fn pool2d(&mut self, x: Value, pooling: Pooling, options: PoolOptions<2>) -> Result<Value> {
        let [height, width] = options.kernel;
        // An index can't be taken in two steps: the second would give a place among maxima.
        let splits = height > 1 && width > 1 && pooling != Pooling::MaxIndex;
        if !splits || height.saturating_mul(width) <= LARGEST_WINDOW {
            return self.apply(Pool2d { pooling, options }, &[x]);
        }
        let along = |axis: usize| {
            let only = |value: usize| if axis == 0 { [value, 1] } else { [1, value] };
            let padding = match options.padding {
                Padding::Sides(mut sides) => {
                    sides[1 - axis] = [0, 0];
                    Padding::Sides(sides)
                }
                same_or_valid => same_or_valid,
            };
            PoolOptions {
                kernel: only(options.kernel[axis]),
                stride: only(options.stride[axis]),
                dilation: only(options.dilation[axis]),
                padding,
                ceil_mode: options.ceil_mode,
            }
        };
        let rows = self.apply(Pool2d { pooling, options: along(1) }, &[x])?;
        self.apply(Pool2d { pooling, options: along(0) }, &[rows])
    }

    fn adaptive_pool2d(&mut self, x: Value, pooling: AdaptivePooling, output: [usize; 2]) -> Result<Value> {
        let op = AdaptivePool2d { pooling, output };
        let &[_, _, height, width] = self.desc(x).shape.as_slice() else { return self.apply(op, &[x]) };
        if output == [1, 1] && pooling == AdaptivePooling::Average {
            // One window: a reduction, whose gradient is a number a plane.
            return self.mean(x, &[2, 3], true);
        }
        let longest = |input: usize, output: usize| longest_window(input, output.max(1));
        let window = longest(height, output[0]).saturating_mul(longest(width, output[1]));
        if window <= LARGEST_WINDOW {
            return self.apply(op, &[x]);
        }
        let rows = self.apply(AdaptivePool2d { pooling, output: [height, output[1]] }, &[x])?;
        self.apply(op, &[rows])
    }
}
