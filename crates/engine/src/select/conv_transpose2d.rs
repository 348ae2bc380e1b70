//! Which kernel computes a transposed convolution.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{conv_transpose2d_depthwise, conv_transpose2d_gather, conv_transpose2d_row};

use crate::ops::{ConvTranspose2d, ConvTransposeGeometry, ConvTransposeWeight, TransposedAxis};

/// A kernel of the conv_transpose2d family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConvTransposeKernel {
    Row(conv_transpose2d_row::Variant),
    Gather(conv_transpose2d_gather::Variant),
    Depthwise(conv_transpose2d_depthwise::Variant),
    Naive,
}

/// Whether the weight of a transposed convolution should be packed in panels for the kernels that make several channels
/// at once. Panels are eight channels wide: groups of a channel or two leave them empty, which a GPU minds sooner, since
/// a software adapter spends its time on loads. Packing is a pass over the weight, in every run unless it is `constant`.
pub(crate) fn wants_conv_transpose_panels(
    profile: &DeviceProfile,
    geometry: &ConvTransposeGeometry,
    constant: bool,
) -> bool {
    let fewest = if profile.kind.is_software() { 2 } else { 4 };
    let [height, width] = geometry.axes;
    let worthwhile = geometry.batch * height.phase() * width.phase() >= 16;
    geometry.group_out() >= fewest && (constant || worthwhile)
}

/// The kernel for a transposed convolution whose weight lies as `op` says.
pub(crate) fn conv_transpose2d(
    profile: &DeviceProfile,
    op: &ConvTranspose2d,
    geometry: &ConvTransposeGeometry,
) -> ConvTransposeKernel {
    use conv_transpose2d_gather::Variant;
    if op.weight == ConvTransposeWeight::Plain {
        let depthwise = if profile.kind.is_software() { depthwise(geometry) } else { None };
        return depthwise.map_or(ConvTransposeKernel::Naive, ConvTransposeKernel::Depthwise);
    }
    // The narrower variants where the wider would leave half of their channels empty.
    let gather = match (profile.kind.is_software(), geometry.group_out() > 32) {
        (true, true) => Variant::Cpu64,
        (true, false) => Variant::Cpu16,
        (false, true) => Variant::Gpu64,
        (false, false) => Variant::Gpu16,
    };
    match row(geometry) {
        Some((variant, cost)) if profile.kind.is_software() && cost < gather_cost(geometry, gather) => {
            ConvTransposeKernel::Row(variant)
        }
        _ => ConvTransposeKernel::Gather(gather),
    }
}

/// The variant for the gradient of a depthwise convolution of stride 2, of images of whole blocks of four.
fn depthwise(geometry: &ConvTransposeGeometry) -> Option<conv_transpose2d_depthwise::Variant> {
    let [height, width] = &geometry.axes;
    let halves = |axis: &TransposedAxis| axis.stride == 2 && axis.dilation == 1;
    let in_blocks = (geometry.in_channels * height.input * width.input).is_multiple_of(4);
    let fits = geometry.group_out() == 1 && halves(height) && halves(width) && in_blocks;
    conv_transpose2d_depthwise::Variant::ALL.iter().copied().find(|variant| {
        let taps = variant.taps() as usize;
        fits && geometry.kernel() == [taps; 2]
    })
}

/// What a load takes, and a step of the loop over channels besides its loads and products, each in the time of one
/// multiply-add of an invocation: fitted to the rates of all variants on lavapipe, as those of conv2d are.
const LOAD: usize = 18;
const ROW_STEP: usize = 250;
const GATHER_STEP: usize = 50;

/// The time that a phase takes for one input channel and sixteen output channels with the gathering kernel, whose tiles
/// run on over the ends of rows. Each tap of a row is met by one phase.
fn gather_cost(geometry: &ConvTransposeGeometry, variant: conv_transpose2d_gather::Variant) -> usize {
    let [height, width] = &geometry.axes;
    let pixels = variant.pixels() as usize;
    let tile = pixels * (variant.threads() / variant.panel_lanes()) as usize;
    let tap = GATHER_STEP + pixels * 16 + (pixels + 4) * LOAD;
    width.kernel * (height.phase() * width.phase()).div_ceil(tile) * tile / pixels * tap
}

/// The row variant that takes least time for the same, of those that can, and that time.
fn row(geometry: &ConvTransposeGeometry) -> Option<(conv_transpose2d_row::Variant, usize)> {
    let [height, width] = &geometry.axes;
    // Blocks of four, so that any block of images is made of them; neighbouring inputs from tap to tap.
    let in_blocks = (geometry.in_channels * height.input * width.input).is_multiple_of(4);
    if !in_blocks || !width.stride.is_multiple_of(width.dilation) {
        return None;
    }
    let cost = |variant: &conv_transpose2d_row::Variant| {
        let (pixels, taps) = (variant.pixels() as usize, variant.taps() as usize);
        let blocks = (pixels + taps - 1 + 6) / 4;
        let step = ROW_STEP + pixels * 16 * taps + (blocks + 4 * taps) * LOAD;
        width.kernel / taps * height.phase() * width.phase().div_ceil(pixels) * step
    };
    let fits = |variant: &&conv_transpose2d_row::Variant| {
        width.kernel.is_multiple_of(width.step() * variant.taps() as usize)
    };
    let variants = conv_transpose2d_row::Variant::ALL.iter().filter(fits);
    variants.map(|&variant| (variant, cost(&variant))).min_by_key(|&(_, cost)| cost)
}
