//! The gradients of a transposed convolution.

use super::{ConvTranspose2d, ConvTransposeWeight, TransposedAxis};
use crate::autodiff::Backward;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::conv2d_weight_grad::weight_gradient;
use crate::ops::{Conv2d, ConvOptions, Epilogue, OpRules};
use crate::window::Padding;

/// It is the way back of a convolution, so that convolution is its own: of the gradient, by the same weight. The weight's
/// gradient is that of the convolution with image and gradient in each other's place.
pub(super) fn backward(op: &ConvTranspose2d, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
    if op.weight != ConvTransposeWeight::Plain {
        return Err(backward.refuse("a transposed convolution with a plain weight"));
    }
    if op.epilogue != Epilogue::with_bias(op.epilogue.bias) {
        return Err(backward
            .refuse("a transposed convolution without activation and residual, which passes add later"));
    }
    let (x, weight, grad) = (backward.input(0), backward.input(1), backward.grad());
    let geometry = op
        .geometry(backward.g.desc(x), backward.g.desc(weight))
        .map_err(|mismatch| mismatch.at(ConvTranspose2d::NAME, backward.g.path()))?;
    let mut gradients = backward.none();
    if op.epilogue.bias && backward.wants(2) {
        gradients[2] = Some(backward.g.channel_sum(grad)?);
    }
    if !backward.wants(0) && !backward.wants(1) {
        return Ok(gradients);
    }
    let mut met = grad;
    for (dim, axis) in [2, 3].into_iter().zip(geometry.axes) {
        let extent = reached(&axis);
        if extent < axis.output() {
            met = backward.g.slice(met, dim, 0, extent)?;
        }
    }
    let options = ConvOptions {
        stride: op.options.stride,
        padding: Padding::Sides(geometry.axes.map(|axis| [axis.padding, padding_behind(&axis)])),
        dilation: op.options.dilation,
        groups: op.options.groups,
    };
    if backward.wants(0) {
        gradients[0] = Some(backward.g.apply(Conv2d::new(options), &[met, weight])?);
    }
    if backward.wants(1) {
        gradients[1] = Some(weight_gradient(backward.g, met, x, geometry.kernel(), options)?);
    }
    Ok(gradients)
}

/// Elements of the output up to the last that an input reaches, or all where the rest makes no further window.
fn reached(axis: &TransposedAxis) -> usize {
    let beyond = axis.output_padding.saturating_sub(axis.padding);
    if beyond >= axis.stride { axis.output() - beyond } else { axis.output() }
}

/// The padding behind the output with which the convolution has as many windows as there are inputs.
fn padding_behind(axis: &TransposedAxis) -> usize {
    axis.padding.saturating_sub(axis.output_padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Axis;

    #[test]
    fn the_convolution_back_has_a_window_for_each_input() {
        let mut cut = 0;
        for (input, kernel) in (1..=5).flat_map(|input| (1..=4).map(move |kernel| (input, kernel))) {
            for (stride, dilation) in (1..=4).flat_map(|s| (1..=4).map(move |d| (s, d))) {
                for (padding, output_padding) in (0..=6).flat_map(|p| (0..4).map(move |o| (p, o))) {
                    let axis = TransposedAxis { input, kernel, stride, dilation, padding, output_padding };
                    if axis.check("width").is_err() {
                        continue;
                    }
                    let extent = reached(&axis);
                    let back = Axis {
                        input: extent,
                        kernel,
                        stride,
                        dilation,
                        before: padding,
                        after: padding_behind(&axis),
                    };
                    assert_eq!(back.output(), input, "{axis:?}");
                    cut += usize::from(extent < axis.output());
                }
            }
        }
        assert!(cut > 10, "{cut}");
    }
}
