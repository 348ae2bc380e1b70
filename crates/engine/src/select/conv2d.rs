//! Which kernel computes a convolution.

use std::borrow::Cow;

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    conv2d_block, conv2d_depthwise, conv2d_depthwise_rows, conv2d_lanes, conv2d_lanes_one, conv2d_naive,
    conv2d_register, conv2d_shared, conv2d_spread,
};

use super::tiles::{self, Tiles};
use crate::choices::Candidate;
use crate::lower::piece_limit;
use crate::ops::{Conv2d, ConvGeometry, ConvWeight, PANEL};
use crate::tensor::DType;
use crate::window::Axis;

/// A kernel of the conv2d family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConvKernel {
    Register(conv2d_register::Variant, Sharing),
    Block(conv2d_block::Variant),
    Lanes(conv2d_lanes::Variant),
    One(conv2d_lanes_one::Variant),
    Spread(conv2d_spread::Variant),
    Depthwise(conv2d_depthwise::Variant, Sharing),
    DepthwiseRows(conv2d_depthwise_rows::Variant),
    Shared(conv2d_shared::Variant),
    Naive,
}

impl Candidate for ConvKernel {
    fn name(&self) -> Cow<'static, str> {
        let (kernel, sharing) = match self {
            Self::Register(variant, sharing) => (variant.kernel(), *sharing),
            Self::Block(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::Lanes(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::One(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::Spread(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::Depthwise(variant, sharing) => (variant.kernel(), *sharing),
            Self::DepthwiseRows(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::Shared(variant) => (variant.kernel(), Sharing::NEIGHBOURS),
            Self::Naive => (conv2d_naive::Variant::Base.kernel(), Sharing::NEIGHBOURS),
        };
        let Sharing { pixel_step, tap_step } = sharing;
        Cow::Owned(match sharing == Sharing::NEIGHBOURS {
            true => kernel.to_string(),
            false => format!("{kernel} steps {pixel_step}:{tap_step}"),
        })
    }
}

/// How the pixels of a tile hand on their inputs from tap to tap.
///
/// Neighbours in a tile are `pixel_step` outputs apart, so their inputs are `pixel_step * stride` apart; taps that
/// follow each other are `tap_step` apart, so theirs are `tap_step * dilation` apart. Where these are equal, all pixels
/// but the last find in the tap before what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    pub(crate) pixel_step: usize,
    pub(crate) tap_step: usize,
}

impl Sharing {
    /// Neighbouring pixels and taps, where all of a window's row is loaded at once.
    const NEIGHBOURS: Self = Self { pixel_step: 1, tap_step: 1 };

    /// Neighbouring pixels, which load their inputs anew for each tap.
    fn none(width: &Axis) -> Self {
        Self { pixel_step: 1, tap_step: width.kernel }
    }

    /// The least steps that share, if there are two such taps and two such pixels.
    fn full(width: &Axis) -> Option<Self> {
        let common = gcd(width.stride, width.dilation);
        let full = Self { pixel_step: width.dilation / common, tap_step: width.stride / common };
        (full.tap_step < width.kernel && full.pixel_step < width.output()).then_some(full)
    }

    /// Tiles of `pixels` outputs that cover each phase of a row.
    pub(crate) fn row_tiles(&self, outputs: usize, pixels: u32) -> usize {
        outputs.div_ceil(self.pixel_step).div_ceil(pixels as usize)
    }

    /// Tiles that cover a row.
    fn tiles(&self, outputs: usize, pixels: u32) -> usize {
        self.pixel_step * self.row_tiles(outputs, pixels)
    }

    /// The time in which a tile of single numbers gets its inputs for one tap, as a mean.
    fn inputs(&self, width: &Axis, pixels: usize) -> usize {
        let begun = self.tap_step.min(width.kernel);
        let handed_on = (pixels - 1) * SKIPPED + LOAD;
        (begun * pixels * LOAD + (width.kernel - begun) * handed_on) / width.kernel
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether the weight of a convolution should be packed in panels for the register kernel: on software adapters, unless
/// there is but one input channel to sum over, or the panels exceed what can be bound.
pub(crate) fn wants_conv_panels(profile: &DeviceProfile, geometry: &ConvGeometry) -> bool {
    let panels = geometry.groups * geometry.group_out().div_ceil(PANEL);
    let bytes = panels.saturating_mul(geometry.depth()).saturating_mul(PANEL * DType::BYTES);
    profile.kind.is_software() && !geometry.is_depthwise() && bytes as u64 <= piece_limit(profile)
}

/// The kernels for a convolution whose weight lies as `op` says, the table's choice first.
pub(crate) fn conv2d_candidates(
    profile: &DeviceProfile,
    op: &Conv2d,
    geometry: &ConvGeometry,
) -> Vec<ConvKernel> {
    match (op.weight, profile.kind.is_software(), geometry.is_depthwise()) {
        (ConvWeight::Panels { .. }, _, _) => panels(geometry),
        (ConvWeight::Taps { .. }, _, _) => super::conv2d_by_taps(profile, geometry).into_iter().collect(),
        (_, true, true) => vec![depthwise(geometry)],
        (_, false, true) => {
            vec![ConvKernel::Depthwise(conv2d_depthwise::Variant::Gpu, Sharing::none(&geometry.axes[1]))]
        }
        (_, true, false) => vec![ConvKernel::Naive],
        (_, false, false) => conv2d_parts_candidates(profile, geometry, 1),
    }
}

/// The kernels for a convolution on a GPU that is made in parts of its depth, the table's choice first.
pub(crate) fn conv2d_parts_candidates(
    profile: &DeviceProfile,
    geometry: &ConvGeometry,
    parts: usize,
) -> Vec<ConvKernel> {
    let variants = tiles::fastest_first(profile, shared(geometry), parts, |variant| cut(geometry, variant));
    variants.into_iter().map(ConvKernel::Shared).collect()
}

/// In how many parts of its depth a convolution may be made, the table's choice first.
pub(crate) fn conv2d_parts(
    profile: &DeviceProfile,
    op: &Conv2d,
    geometry: &ConvGeometry,
) -> Vec<(&'static str, usize)> {
    if profile.kind.is_software() || op.weight != ConvWeight::Plain || geometry.is_depthwise() {
        return vec![("1", 1)];
    }
    let outputs: usize = geometry.output_shape().iter().product();
    let tiles: Vec<Tiles> = shared(geometry).map(|variant| cut(geometry, variant)).collect();
    tiles::parts(profile, geometry.depth(), outputs as u64, &tiles)
}

/// The variants of tiles in workgroup memory that can read the weight, one of each size.
fn shared(geometry: &ConvGeometry) -> impl Iterator<Item = conv2d_shared::Variant> {
    let wide = if geometry.depth().is_multiple_of(4) { 4 } else { 1 };
    conv2d_shared::Variant::ALL.iter().copied().filter(move |variant| variant.wide() == wide)
}

/// The tiles that a variant cuts a convolution into.
fn cut(geometry: &ConvGeometry, variant: conv2d_shared::Variant) -> Tiles {
    let pixels: usize = geometry.batch * geometry.output().iter().product::<usize>();
    let channel_tiles = geometry.groups * geometry.group_out().div_ceil(variant.tile_oc() as usize);
    Tiles {
        count: (channel_tiles * pixels.div_ceil(variant.tile_pixels() as usize)) as u64,
        sides: [variant.tile_oc(), variant.tile_pixels()],
        own: [variant.own_oc(), variant.own_pixels()],
        threads: variant.threads(),
        depth: geometry.depth(),
    }
}

/// Whether an image is made of whole blocks of four numbers, so that any block of images is.
fn in_blocks(geometry: &ConvGeometry) -> bool {
    let [height, width] = geometry.axes;
    (geometry.in_channels * height.input * width.input).is_multiple_of(4)
}

/// The kernels with panels of weights, those that should take least time first, up to a quarter more than the best: what
/// should take longer is not worth a measurement.
fn panels(geometry: &ConvGeometry) -> Vec<ConvKernel> {
    let registers = registers(geometry)
        .map(|(variant, sharing)| (ConvKernel::Register(variant, sharing), cost(geometry, variant, sharing)));
    let blocks = blocks(geometry).map(|(variant, time)| (ConvKernel::Block(variant), time));
    let mut ways: Vec<_> = registers.chain(blocks).collect();
    ways.sort_by_key(|&(_, time)| time);
    let best = ways.first().expect("some variant should take any window").1;
    ways.into_iter().take_while(|&(_, time)| time <= best + best / 4).map(|(kernel, _)| kernel).collect()
}

/// The time of all invocations of the kernel that a software adapter takes, in multiply-adds of one.
pub(super) fn direct_time(geometry: &ConvGeometry) -> usize {
    let registers = registers(geometry).map(|(variant, sharing)| cost(geometry, variant, sharing));
    registers.chain(blocks(geometry).map(|(_, time)| time)).min().unwrap_or(usize::MAX)
}

/// The block variants that can, and the time that each takes.
fn blocks(geometry: &ConvGeometry) -> impl Iterator<Item = (conv2d_block::Variant, usize)> {
    let [height, width] = &geometry.axes;
    let fits = move |variant: &conv2d_block::Variant| {
        let taps = variant.taps() as usize;
        let plain = |axis: &Axis| axis.kernel == taps && axis.stride == 1 && axis.dilation == 1;
        let full = width.before == taps - 1 && width.after == taps - 1;
        let whole_row = full && width.output() <= variant.cols() as usize;
        in_blocks(geometry) && plain(height) && plain(width) && (variant.full() == 0 || whole_row)
    };
    let time = move |variant: conv2d_block::Variant| {
        let [rows, cols, taps, vecs] =
            [variant.rows(), variant.cols(), variant.taps(), variant.vecs()].map(|count| count as usize);
        // Elements of a row of inputs, and how many products each tap makes of it.
        let (span, products) = match variant.full() {
            0 => (cols + taps - 1, cols),
            _ => (cols + 1 - taps, cols + 1 - taps),
        };
        let step = STEP + span * SPANNED + taps * vecs * (WEIGHTS + 4 * rows * products);
        // At the first row of taps, the rows of inputs that no step before has loaded.
        let steps = geometry.depth() / taps * step + geometry.group_in() * (rows - 1) * span * SPANNED;
        let channel_tiles = geometry.groups * geometry.group_out().div_ceil(4 * vecs);
        let row_tiles = height.output().div_ceil(rows);
        let tiles = geometry.batch * row_tiles * width.output().div_ceil(cols) * channel_tiles;
        let time = tiles * (steps + rows * cols * 4 * vecs * OUTPUT);
        // The sums of eight channels hardly fit.
        if vecs > 1 { time + time / 8 } else { time }
    };
    let variants = conv2d_block::Variant::ALL.iter().copied().filter(fits);
    variants.map(move |variant| (variant, time(variant)))
}

/// The register variants that can, each in all ways that it can.
fn registers(geometry: &ConvGeometry) -> impl Iterator<Item = (conv2d_register::Variant, Sharing)> {
    let width = &geometry.axes[1];
    let blocks = in_blocks(geometry);
    conv2d_register::Variant::ALL.iter().flat_map(move |&variant| {
        let sharings = match (variant.wide() > 1, variant.taps()) {
            (true, taps) => {
                let fits = width.kernel == taps as usize && width.stride == variant.stride() as usize;
                let neighbours = taps == 1 || width.dilation == 1;
                [(blocks && fits && neighbours).then_some(Sharing::NEIGHBOURS), None]
            }
            (false, 1) => [Some(Sharing::none(width)), Sharing::full(width)],
            (false, _) => {
                let in_threes = |full: &Sharing| width.kernel.is_multiple_of(3) && full.tap_step == 1;
                [Sharing::full(width).filter(in_threes), None]
            }
        };
        sharings.into_iter().flatten().map(move |sharing| (variant, sharing))
    })
}

// What takes how long, in multiply-adds of one invocation: fitted to the rates of all variants on lavapipe.
/// A number of the input.
const LOAD: usize = 17;
/// A number that a pixel takes over from its neighbour: the load is masked off, not left out.
const SKIPPED: usize = 10;
/// A number of the input that is loaded in blocks.
const SPANNED: usize = 11;
/// A vector of weights.
const WEIGHTS: usize = 7;
/// A step of the loop besides all that.
const STEP: usize = 100;
/// An element of the output.
const OUTPUT: usize = 50;

/// The time of all invocations of a register variant.
fn cost(geometry: &ConvGeometry, variant: conv2d_register::Variant, sharing: Sharing) -> usize {
    let [height, width] = geometry.axes;
    let (pixels, taps, vecs) = (variant.pixels() as usize, variant.taps() as usize, variant.vecs() as usize);
    let span = (pixels - 1) * variant.stride() as usize + taps;
    let inputs = match (variant.wide() > 1, taps) {
        (true, _) => span * SPANNED,
        (false, 1) => sharing.inputs(&width, pixels),
        (false, _) => span * LOAD,
    };
    let step = STEP + inputs + vecs * taps * (WEIGHTS + 4 * pixels);
    let tile = geometry.depth() / taps * step + pixels * 4 * vecs * OUTPUT;
    let channel_tiles = geometry.groups * geometry.group_out().div_ceil(4 * vecs);
    geometry.batch * height.output() * sharing.tiles(width.output(), variant.pixels()) * channel_tiles * tile
}

/// On a software adapter.
fn depthwise(geometry: &ConvGeometry) -> ConvKernel {
    let [height, width] = geometry.axes;
    let plain = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    if plain(&height) && plain(&width) && in_blocks(geometry) {
        use conv2d_depthwise_rows::Variant;
        let outputs = width.output();
        let columns = |variant: &Variant| outputs.next_multiple_of(variant.pixels() as usize);
        // The wider, unless that covers many columns more.
        let wide = columns(&Variant::W16) <= columns(&Variant::W8) + outputs / 4;
        return ConvKernel::DepthwiseRows(if wide { Variant::W16 } else { Variant::W8 });
    }
    let variant = conv2d_depthwise::Variant::Cpu;
    let load = |sharing: &Sharing| {
        sharing.tiles(width.output(), variant.pixels()) * sharing.inputs(&width, variant.pixels() as usize)
    };
    let (none, full) = (Sharing::none(&width), Sharing::full(&width));
    let sharing = full.filter(|full| load(full) < load(&none)).unwrap_or(none);
    ConvKernel::Depthwise(variant, sharing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ConvOptions;
    use crate::tensor::TensorDesc;
    use crate::window::Padding;

    fn geometry(input: [usize; 3], out: usize, kernel: usize, options: ConvOptions<2>) -> ConvGeometry {
        let image = TensorDesc::f32([1, input[0], input[1], input[2]]);
        let weight = TensorDesc::f32([out, input[0] / options.groups, kernel, kernel]);
        Conv2d::new(options).geometry(&image, &weight).expect("the convolution should fit")
    }

    /// The widths of maps that networks have, and the relatives of the plain 3x3.
    #[test]
    fn what_software_adapters_run() {
        use conv2d_register::Variant;
        let same = ConvOptions { padding: Padding::all(1), ..Default::default() };
        let dilated = |by| ConvOptions { dilation: [by; 2], padding: Padding::all(by), ..same };
        let grouped = |groups| ConvOptions { groups, ..same };
        for (input, out, kernel, options, expected) in [
            ([3, 224, 224], 64, 3, same, Variant::Row16X3),
            ([256, 56, 56], 256, 3, same, Variant::Row14X3),
            ([512, 14, 14], 512, 3, same, Variant::Row14X3),
            ([512, 7, 7], 512, 3, same, Variant::Row8X3),
            ([64, 32, 32], 64, 3, same, Variant::Row16X3),
            // 7 x 7 of three channels are no whole blocks.
            ([3, 7, 7], 64, 3, same, Variant::Any8),
            ([256, 28, 28], 256, 3, grouped(2), Variant::Row14X3),
            ([256, 28, 28], 256, 3, grouped(32), Variant::Thin28X3),
            ([128, 14, 14], 128, 3, grouped(32), Variant::Slim14X3),
            ([256, 56, 56], 256, 3, ConvOptions { stride: [2; 2], ..same }, Variant::HalfX3),
            ([256, 28, 28], 256, 3, dilated(2), Variant::Any14X3),
            ([256, 28, 28], 256, 3, dilated(3), Variant::Any28),
            ([64, 1, 3136], 256, 1, ConvOptions::default(), Variant::Row24X1),
            ([512, 1, 49], 2048, 1, ConvOptions::default(), Variant::Any28),
        ] {
            let geometry = geometry(input, out, kernel, options);
            let best = registers(&geometry).min_by_key(|&(variant, way)| cost(&geometry, variant, way));
            let variant = best.map(|(variant, _)| variant);
            assert_eq!(variant, Some(expected), "{kernel}x{kernel} of {input:?}, {options:?}");
        }
    }

    #[test]
    fn what_is_made_in_blocks() {
        use conv2d_block::Variant;
        let plain = ConvOptions::default();
        let padded = |by| ConvOptions { padding: Padding::all(by), ..plain };
        for (input, out, kernel, options, expected) in [
            ([1, 28, 28], 20, 5, plain, Some(Variant::Five8)),
            ([20, 12, 12], 50, 5, plain, Some(Variant::Five8)),
            ([50, 8, 8], 20, 5, padded(4), Some(Variant::FiveFull8)),
            ([3, 14, 14], 16, 5, plain, Some(Variant::Five5)),
            ([16, 10, 10], 3, 5, padded(4), Some(Variant::FiveFull10)),
            ([64, 56, 56], 64, 5, padded(2), Some(Variant::Five8)),
            ([64, 28, 28], 64, 5, padded(2), Some(Variant::Five7)),
            ([64, 28, 28], 64, 5, ConvOptions { stride: [2; 2], ..plain }, None),
            ([3, 7, 7], 16, 5, plain, None),
            ([50, 10, 10], 50, 3, plain, Some(Variant::Three8)),
            ([20, 12, 12], 50, 3, plain, Some(Variant::Three5)),
            ([50, 8, 8], 50, 3, padded(2), Some(Variant::ThreeFull8)),
            ([50, 10, 10], 20, 3, padded(2), Some(Variant::ThreeFull10)),
            ([64, 8, 8], 64, 3, padded(1), Some(Variant::Three8)),
            ([64, 112, 112], 64, 3, padded(1), None),
            ([256, 56, 56], 256, 3, padded(1), None),
            ([512, 28, 28], 512, 3, padded(1), None),
            ([512, 14, 14], 512, 3, padded(1), None),
        ] {
            let chosen = match panels(&geometry(input, out, kernel, options))[0] {
                ConvKernel::Block(variant) => Some(variant),
                _ => None,
            };
            assert_eq!(chosen, expected, "{kernel}x{kernel} of {input:?}, {options:?}");
        }
    }

    /// Large tiles where there are enough to fill a GPU, and vectors of weights where the depth has them.
    #[test]
    fn what_gpus_run() {
        use conv2d_shared::Variant;
        let same = ConvOptions { padding: Padding::all(1), ..Default::default() };
        let chosen = |kind, batch, input: [usize; 3], out, kernel, options| {
            let mut geometry = geometry(input, out, kernel, options);
            geometry.batch = batch;
            let profile = DeviceProfile::made_up(kind, kiln_gpu::Limits::BASELINE);
            match conv2d_parts_candidates(&profile, &geometry, 1)[0] {
                ConvKernel::Shared(variant) => variant,
                other => panic!("{other:?}"),
            }
        };
        use kiln_gpu::DeviceKind::{Discrete, Integrated};
        for (batch, input, out, kernel, options, discrete, integrated) in [
            (1, [3, 224, 224], 64, 3, same, Variant::T64x128, Variant::T64x128),
            (1, [64, 224, 224], 64, 3, same, Variant::T64x128Wide, Variant::T64x128Wide),
            (32, [256, 56, 56], 256, 3, same, Variant::T128Wide, Variant::T128Wide),
            (1, [256, 56, 56], 256, 3, same, Variant::T64Wide, Variant::T128Wide),
            (1, [512, 14, 14], 512, 3, same, Variant::T32Wide, Variant::T32Wide),
            (1, [3, 224, 224], 8, 5, ConvOptions::default(), Variant::T16, Variant::T16),
        ] {
            let both = [Discrete, Integrated].map(|kind| chosen(kind, batch, input, out, kernel, options));
            assert_eq!(both, [discrete, integrated], "{batch} of {input:?}");
        }
    }

    #[test]
    fn inputs_are_handed_on_where_two_pixels_and_two_taps_meet() {
        let full = |stride, dilation| {
            let options =
                ConvOptions { stride: [stride; 2], dilation: [dilation; 2], ..ConvOptions::default() };
            Sharing::full(&geometry([1, 40, 40], 1, 3, options).axes[1])
        };
        assert_eq!(full(1, 1), Some(Sharing { pixel_step: 1, tap_step: 1 }));
        assert_eq!(full(1, 3), Some(Sharing { pixel_step: 3, tap_step: 1 }));
        assert_eq!(full(4, 6), Some(Sharing { pixel_step: 3, tap_step: 2 }));
        assert_eq!(full(3, 1), None, "no tap is three further");
        assert_eq!(full(1, 19), None, "the two outputs are not as far apart as the taps");
    }

    #[test]
    fn depthwise_kernels() {
        let options = |channels, stride| ConvOptions {
            groups: channels,
            stride: [stride; 2],
            padding: Padding::all(1),
            ..Default::default()
        };
        let kernel = |channels, extent, stride| {
            depthwise(&geometry([channels, extent, extent], channels, 3, options(channels, stride)))
        };
        use conv2d_depthwise_rows::Variant;
        assert_eq!(kernel(32, 112, 1), ConvKernel::DepthwiseRows(Variant::W16));
        assert_eq!(kernel(32, 14, 1), ConvKernel::DepthwiseRows(Variant::W16));
        assert_eq!(kernel(32, 7, 1), ConvKernel::DepthwiseRows(Variant::W8));
        assert!(matches!(kernel(32, 112, 2), ConvKernel::Depthwise(..)));
        assert!(matches!(kernel(3, 7, 1), ConvKernel::Depthwise(..)));
    }
}
