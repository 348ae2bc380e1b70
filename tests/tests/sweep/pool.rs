//! Configurations of pooling: sliding, adaptive and global.

use kiln_engine::ops::{AveragePadding, PoolOptions};
use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_gpu::Gpu;
use kiln_reference::{Array, Pool};
use kiln_tests::graph::{Source, array};
use kiln_tests::tolerance::{EXACT, LINEAR};
use proptest::sample::select;
use proptest::strategy::Strategy;

use crate::axis::{self, Axis, Padded};
use crate::{conforms, sizes, sources};

/// What becomes of a window, and how windows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Max,
    MaxIndices,
    AverageWithPadding,
    AverageWithoutPadding,
    AdaptiveMax,
    AdaptiveAverage,
    GlobalMax,
    GlobalAverage,
}

/// One pooling with all its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooled {
    pub(crate) kind: Kind,
    pub(crate) one_axis: bool,
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    /// Whether an element of the image is NaN.
    pub(crate) nan: bool,
    pub(crate) padded: Padded,
    pub(crate) axes: [Axis; 2],
    pub(crate) ceil_mode: bool,
    /// Extents of what an adaptive pooling gives.
    pub(crate) output: [usize; 2],
    pub(crate) source: Source,
}

pub(crate) fn poolings() -> impl Strategy<Value = Pooled> {
    use Kind::*;
    let kind = select(vec![
        Max,
        Max,
        MaxIndices,
        AverageWithPadding,
        AverageWithPadding,
        AverageWithoutPadding,
        AverageWithoutPadding,
        AdaptiveMax,
        AdaptiveAverage,
        GlobalMax,
        GlobalAverage,
    ]);
    let channels = select(vec![1usize, 2, 3, 5, 7, 17]);
    let output = [1..=9usize, 1..=9];
    let flags = (proptest::bool::weighted(0.2), proptest::bool::ANY, proptest::bool::weighted(0.1));
    (kind, 1..=3usize, channels, axis::pairs(1..=5, 1..=3), flags, output, sources()).prop_map(
        |(
            kind,
            batch,
            channels,
            (mut axes, padded, one_axis),
            (nan, ceil_mode, past),
            mut output,
            source,
        )| {
            for axis in &mut axes {
                if matches!(kind, AverageWithPadding | AverageWithoutPadding) {
                    axis.dilation = 1;
                }
                // No more padding than half of a window, so a window without it fits where one with it did.
                axis.padding = axis.padding.map(|padding| padding.min(axis.span() / 2));
                let least = axis.span().saturating_sub(axis.padding[0] + axis.padding[1]);
                if padded != Padded::Same && ceil_mode && past {
                    // The only window reaches past the end.
                    axis.input = (least + 1).saturating_sub(axis.stride).max(1);
                } else if padded != Padded::Same {
                    axis.input = axis.input.max(least);
                }
            }
            if one_axis {
                output[0] = 1;
            }
            Pooled { kind, one_axis, batch, channels, nan, padded, axes, ceil_mode, output, source }
        },
    )
}

impl Pooled {
    pub(crate) fn check(&self, gpu: &Gpu) -> Result<(), String> {
        let image = [self.batch, self.channels, self.axes[0].input, self.axes[1].input];
        let shape = |shape: [usize; 4]| {
            let [n, c, h, w] = shape;
            if self.one_axis { vec![n, c, w] } else { vec![n, c, h, w] }
        };
        let x = crate::image(&shape(image), self.nan);
        let numbers = Array::new(&image, array(&x).data);
        let mut expected = self.oracle(&numbers);
        let bounds = match self.kind {
            Kind::Max | Kind::MaxIndices | Kind::AdaptiveMax | Kind::GlobalMax => EXACT.bounds(&expected),
            _ => LINEAR.bounds(&self.oracle(&sizes(&numbers))),
        };
        let &[n, c, h, w] = expected.shape.as_slice() else {
            return Err("the oracle should give images".into());
        };
        // The builder has no global pooling of a sequence.
        expected.shape = if self.is_global() { vec![n, c, h, w] } else { shape([n, c, h, w]) };
        conforms(gpu, self.source, &[x], |g, v| self.build(g, v[0]), &expected, &bounds)
    }

    fn is_global(&self) -> bool {
        matches!(self.kind, Kind::GlobalMax | Kind::GlobalAverage)
    }

    fn oracle(&self, x: &Array) -> Array {
        let pool = Pool {
            kernel: self.axes.map(|axis| axis.kernel),
            stride: self.axes.map(|axis| axis.stride),
            padding: axis::sides(&self.axes, self.padded),
            dilation: self.axes.map(|axis| axis.dilation),
            ceil_mode: self.ceil_mode,
        };
        match self.kind {
            Kind::Max => kiln_reference::max_pool2d(x, pool),
            Kind::MaxIndices => kiln_reference::max_pool2d_indices(x, pool),
            Kind::AverageWithPadding => kiln_reference::avg_pool2d(x, pool, true),
            Kind::AverageWithoutPadding => kiln_reference::avg_pool2d(x, pool, false),
            Kind::AdaptiveMax => kiln_reference::adaptive_max_pool2d(x, self.output),
            Kind::AdaptiveAverage => kiln_reference::adaptive_avg_pool2d(x, self.output),
            Kind::GlobalMax => kiln_reference::max(x, &[2, 3], true),
            Kind::GlobalAverage => kiln_reference::mean(x, &[2, 3], true),
        }
    }

    fn build(&self, g: &mut GraphBuilder, x: Value) -> Result<Value, EngineError> {
        let image = [self.batch, self.channels, self.axes[0].input, self.axes[1].input];
        let padding = match self.kind {
            Kind::AverageWithPadding => AveragePadding::Include,
            _ => AveragePadding::Exclude,
        };
        match (self.kind, self.one_axis) {
            (Kind::GlobalMax | Kind::GlobalAverage, _) => {
                let x = g.reshape(x, &image)?;
                if self.kind == Kind::GlobalMax { g.global_max_pool2d(x) } else { g.global_avg_pool2d(x) }
            }
            (Kind::Max, true) => g.max_pool1d(x, self.options_1d()),
            (Kind::Max, false) => g.max_pool2d(x, self.options()),
            (Kind::MaxIndices, true) => g.max_pool1d_indices(x, self.options_1d()),
            (Kind::MaxIndices, false) => g.max_pool2d_indices(x, self.options()),
            (Kind::AverageWithPadding | Kind::AverageWithoutPadding, true) => {
                g.avg_pool1d(x, self.options_1d(), padding)
            }
            (Kind::AverageWithPadding | Kind::AverageWithoutPadding, false) => {
                g.avg_pool2d(x, self.options(), padding)
            }
            (Kind::AdaptiveMax, true) => g.adaptive_max_pool1d(x, self.output[1]),
            (Kind::AdaptiveMax, false) => g.adaptive_max_pool2d(x, self.output),
            (Kind::AdaptiveAverage, true) => g.adaptive_avg_pool1d(x, self.output[1]),
            (Kind::AdaptiveAverage, false) => g.adaptive_avg_pool2d(x, self.output),
        }
    }

    fn options(&self) -> PoolOptions<2> {
        PoolOptions {
            kernel: self.axes.map(|axis| axis.kernel),
            stride: self.axes.map(|axis| axis.stride),
            padding: axis::padding(&self.axes, self.padded),
            dilation: self.axes.map(|axis| axis.dilation),
            ceil_mode: self.ceil_mode,
        }
    }

    fn options_1d(&self) -> PoolOptions<1> {
        let [_, width] = self.axes;
        PoolOptions {
            kernel: [width.kernel],
            stride: [width.stride],
            padding: axis::padding_1d(&self.axes, self.padded),
            dilation: [width.dilation],
            ceil_mode: self.ceil_mode,
        }
    }
}
