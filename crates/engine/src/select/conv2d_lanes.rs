//! Which convolutions the lanes of a software adapter's subgroup share.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{conv2d_lanes, conv2d_lanes_one, conv2d_spread};

use super::{ConvKernel, LANES, SOFTWARE_ITERATIONS, looped, shares_by_subgroup};
use crate::lower::piece_limit;
use crate::ops::{ConvGeometry, ConvWeight};
use crate::tensor::DType;

/// Whether lanes can have a channel of the output each: of planes of whole vectors, and with few lanes idle. Where more
/// are, the other kernels, which know no lanes, catch up.
pub(super) fn fills_lanes(profile: &DeviceProfile, geometry: &ConvGeometry) -> bool {
    let channels = geometry.out_channels;
    let [height, width] = &geometry.axes;
    let planes = [height.input * width.input, height.output() * width.output()];
    shares_by_subgroup(profile)
        && geometry.groups == 1
        && 10 * channels >= 7 * channels.next_multiple_of(LANES)
        && planes.iter().all(|plane| plane.is_multiple_of(4))
}

/// The kernel that takes a convolution with its weight by taps, if one is made for maps of that width.
pub(crate) fn conv2d_by_taps(profile: &DeviceProfile, geometry: &ConvGeometry) -> Option<ConvKernel> {
    let bytes = ConvWeight::taps_shape(geometry).iter().product::<usize>() * DType::BYTES;
    let fits = fills_lanes(profile, geometry) && bytes as u64 <= piece_limit(profile);
    let [height, width] = &geometry.axes;
    if !fits {
        return None;
    }
    let words = |bits: u32| bits == 32 || profile.int64;
    // Planes are whole loads, and whole stores.
    let whole = |ins: u32, outs: u32| {
        (height.input * width.input).is_multiple_of(ins as usize)
            && (height.output() * width.output()).is_multiple_of(outs as usize)
    };
    let goes_down = |variant: &conv2d_lanes_one::Variant| {
        let [taps, wide] = [variant.taps(), variant.width()].map(|count| count as usize);
        let window = geometry.in_channels == 1 && geometry.axes.iter().all(|axis| axis.is_plain(taps, 0));
        let row_tiles = height.output().div_ceil(variant.rows() as usize);
        let ends = looped(row_tiles as u64, 0) <= SOFTWARE_ITERATIONS;
        let fits = width.input == wide && whole(variant.ins(), variant.outs());
        window && fits && words(variant.bits()) && ends
    };
    let spreads = |variant: &conv2d_spread::Variant| {
        let [taps, wide] = [variant.taps(), variant.width()].map(|count| count as usize);
        let window = geometry.axes.iter().all(|axis| axis.is_plain(taps, taps - 1));
        let ends = spread_iterations(*variant, geometry) <= SOFTWARE_ITERATIONS;
        window && width.input == wide && words(variant.bits()) && whole(variant.ins(), variant.outs()) && ends
    };
    let takes = |variant: &conv2d_lanes::Variant| {
        let [taps, wide, pad, high] =
            [variant.taps(), variant.width(), variant.pad(), variant.height()].map(|count| count as usize);
        let window = geometry.axes.iter().all(|axis| axis.is_plain(taps, pad));
        let fits = width.input == wide && (high == 0 || height.input == high);
        window && fits && words(variant.bits()) && whole(variant.ins(), variant.outs())
    };
    let one = conv2d_lanes_one::Variant::ALL.iter().copied().find(goes_down).map(ConvKernel::One);
    let spread = || conv2d_spread::Variant::ALL.iter().copied().find(spreads).map(ConvKernel::Spread);
    let lanes = || conv2d_lanes::Variant::ALL.iter().copied().find(takes).map(ConvKernel::Lanes);
    one.or_else(spread).or_else(lanes)
}

/// Loop iterations of an invocation that spreads an image's inputs: it goes down all of the image.
fn spread_iterations(variant: conv2d_spread::Variant, geometry: &ConvGeometry) -> u64 {
    let row_tiles = geometry.axes[0].input.div_ceil(variant.rows() as usize);
    looped(row_tiles as u64, looped(geometry.in_channels as u64, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, ConvOptions};
    use crate::select::lavapipe;
    use crate::tensor::TensorDesc;
    use crate::window::Padding;
    use ConvKernel::{Lanes, One, Spread};
    use conv2d_lanes::Variant;
    use kiln_gpu::DeviceKind;

    fn geometry(x: [usize; 4], out: usize, kernel: usize, options: ConvOptions<2>) -> ConvGeometry {
        let weight = TensorDesc::f32([out, x[1] / options.groups, kernel, kernel]);
        Conv2d::new(options).geometry(&TensorDesc::f32(x), &weight).expect("the convolution should fit")
    }

    #[test]
    fn small_maps_of_known_width_are_shared() {
        let plain = ConvOptions::default();
        let padded = |by| ConvOptions { padding: Padding::all(by), ..plain };
        for (x, out, kernel, options, expected) in [
            ([100, 20, 12, 12], 50, 5, plain, Some(Lanes(Variant::Five12))),
            ([100, 1, 28, 28], 20, 5, plain, Some(One(conv2d_lanes_one::Variant::Five28))),
            ([100, 2, 28, 28], 20, 5, plain, Some(Lanes(Variant::Five28))),
            // Planes are whole vectors of four numbers, not of eight.
            ([100, 1, 27, 28], 20, 5, plain, Some(One(conv2d_lanes_one::Variant::Five28Plain))),
            // An invocation goes down an image of too many rows.
            ([1, 1, 140_004, 28], 20, 5, plain, Some(Lanes(Variant::Five28))),
            ([100, 50, 8, 8], 20, 5, padded(4), Some(Spread(conv2d_spread::Variant::Five8))),
            ([100, 20, 26, 26], 20, 3, plain, Some(Lanes(Variant::Three26))),
            ([100, 20, 24, 24], 20, 3, padded(2), Some(Spread(conv2d_spread::Variant::Three24))),
            ([100, 50, 8, 8], 50, 3, padded(2), Some(Lanes(Variant::ThreeFull8))),
            ([32, 64, 8, 8], 64, 3, padded(1), Some(Lanes(Variant::ThreeSame8))),
            // An invocation would loop for longer than a software driver lets it.
            ([1, 64, 2048, 24], 8, 3, padded(2), None),
            // A tile is a whole image there.
            ([32, 64, 12, 8], 64, 3, padded(1), None),
            // Most lanes would be idle.
            ([100, 20, 12, 12], 10, 5, plain, None),
            ([100, 20, 12, 12], 50, 5, ConvOptions { stride: [2; 2], ..plain }, None),
            ([100, 20, 12, 12], 50, 5, ConvOptions { groups: 2, ..plain }, None),
            ([100, 20, 13, 13], 50, 5, plain, None),
            // 3 x 10 outputs are no whole vectors.
            ([100, 20, 5, 12], 50, 3, plain, None),
        ] {
            let chosen = conv2d_by_taps(&lavapipe(), &geometry(x, out, kernel, options));
            assert_eq!(chosen, expected, "{kernel}x{kernel} of {x:?} to {out}, {options:?}");
        }
    }

    #[test]
    fn other_subgroups_share_nothing() {
        let wide = DeviceProfile { subgroup: (16, 16), ..lavapipe() };
        let without = DeviceProfile { subgroups: false, ..lavapipe() };
        let gpu = DeviceProfile { kind: DeviceKind::Discrete, ..lavapipe() };
        let geometry = geometry([100, 20, 12, 12], 50, 5, ConvOptions::default());
        for profile in [wide, without, gpu] {
            assert_eq!(conv2d_by_taps(&profile, &geometry), None);
        }
    }
}
