//! The gradients of a convolution.

use super::{Conv2d, ConvGeometry, ConvWeight};
use crate::autodiff::Backward;
use crate::builder::GraphBuilder;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::conv2d_weight_grad::weight_gradient;
use crate::ops::{ConvTranspose2d, ConvTransposeOptions, Epilogue, OpRules};
use crate::window::Axis;

pub(super) fn backward(op: &Conv2d, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
    if op.weight != ConvWeight::Plain {
        return Err(backward.refuse("a convolution with a plain weight"));
    }
    if op.epilogue != Epilogue::with_bias(op.epilogue.bias) {
        return Err(backward.refuse("a convolution without activation and residual, which passes add later"));
    }
    let (x, weight, grad) = (backward.input(0), backward.input(1), backward.grad());
    let geometry = op
        .geometry(backward.g.desc(x), backward.g.desc(weight))
        .map_err(|mismatch| mismatch.at(Conv2d::NAME, backward.g.path()))?;
    let mut gradients = backward.none();
    if backward.wants(0) {
        gradients[0] = Some(input_gradient(backward.g, op, &geometry, [x, weight, grad])?);
    }
    if backward.wants(1) {
        gradients[1] = Some(weight_gradient(backward.g, x, grad, geometry.kernel(), op.options)?);
    }
    if op.epilogue.bias && backward.wants(2) {
        gradients[2] = Some(backward.g.channel_sum(grad)?);
    }
    Ok(gradients)
}

/// The way back of one axis: a transposed convolution, and what is cut off at either end of what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WayBack {
    padding: usize,
    output_padding: usize,
    /// First element that belongs to the input.
    start: usize,
}

impl WayBack {
    /// A transposed convolution takes as much away before the input as behind it, but for its output padding, which is
    /// less than the stride or the dilation. Where a convolution's paddings differ by more, the larger rest is cut off.
    fn of(axis: &Axis) -> Self {
        let Axis { before, after, stride, dilation, .. } = *axis;
        // Elements behind the last one that a window meets.
        let unmet = axis.remainder();
        match (before + unmet).checked_sub(after) {
            None => Self { padding: before, output_padding: 0, start: 0 },
            Some(more) if more < stride.max(dilation) => {
                Self { padding: before, output_padding: more, start: 0 }
            }
            Some(_) => {
                let padding = after.saturating_sub(unmet);
                Self { padding, output_padding: unmet.saturating_sub(after), start: before - padding }
            }
        }
    }
}

fn input_gradient(
    g: &mut GraphBuilder,
    op: &Conv2d,
    geometry: &ConvGeometry,
    [x, weight, grad]: [Value; 3],
) -> Result<Value> {
    let shape = g.desc(x).shape.clone();
    if geometry.is_linear() {
        let (rows, cols, depth) = (geometry.batch, geometry.out_channels, geometry.depth());
        let grad = g.reshape(grad, &[rows, cols])?;
        let weight = g.reshape(weight, &[cols, depth])?;
        let gradient = g.matmul(grad, weight)?;
        return g.reshape(gradient, &shape);
    }
    let ways = geometry.axes.map(|axis| WayBack::of(&axis));
    let options = ConvTransposeOptions {
        stride: op.options.stride,
        padding: ways.map(|way| way.padding),
        output_padding: ways.map(|way| way.output_padding),
        dilation: op.options.dilation,
        groups: op.options.groups,
    };
    let mut gradient = g.apply(ConvTranspose2d::new(options), &[grad, weight])?;
    for (dim, way) in [2, 3].into_iter().zip(ways) {
        if g.desc(gradient).shape[dim] != shape[dim] {
            gradient = g.slice(gradient, dim, way.start, way.start + shape[dim])?;
        }
    }
    Ok(gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of every window on an axis: the way back has an output that holds the input, all of it at its place.
    #[test]
    fn the_way_back_covers_the_input() {
        let mut seen = [0; 3];
        for (input, kernel) in (1..=7).flat_map(|input| (1..=4).map(move |kernel| (input, kernel))) {
            for (stride, dilation) in (1..=4).flat_map(|s| (1..=3).map(move |d| (s, d))) {
                for (before, after) in (0..=9).flat_map(|b| (0..=9).map(move |a| (b, a))) {
                    let axis = Axis { input, kernel, stride, dilation, before, after };
                    if axis.span() > axis.padded() {
                        continue;
                    }
                    let WayBack { padding, output_padding, start } = WayBack::of(&axis);
                    assert!(output_padding < stride.max(dilation), "{axis:?}");
                    let whole = (axis.output() - 1) * stride + axis.span() + output_padding;
                    assert!(padding < whole.div_ceil(2), "{axis:?}: {padding} of {whole}");
                    assert_eq!(padding + start, before, "{axis:?}");
                    assert!(start + input <= whole - 2 * padding, "{axis:?}");
                    seen[usize::from(output_padding > 0)
                        + 2 * usize::from(start > 0 && output_padding == 0)] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
    }
}
