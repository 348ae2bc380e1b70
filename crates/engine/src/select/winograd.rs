//! Whether a convolution is made directly or by Winograd's transforms.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{winograd_input, winograd_input_row};

use super::{conv2d, conv2d_by_taps, shares_by_subgroup, table_first};
use crate::lower::piece_limit;
use crate::ops::ConvGeometry;
use crate::tensor::{DType, TensorDesc};
use crate::winograd::{RUN, WinogradTile};

/// A way to make a convolution, by its name: directly, or in tiles of so many outputs.
pub(crate) type ConvWay = (&'static str, Option<WinogradTile>);

const DIRECT: ConvWay = ("direct", None);

/// The ways to make a convolution that the transforms are made for, the table's choice first. `constant` says whether its
/// weight is transformed at load, and not in every run.
///
/// A GPU's table has the direct kernel: what the transforms are worth there has not been measured.
pub(crate) fn convolutions(profile: &DeviceProfile, geometry: &ConvGeometry, constant: bool) -> Vec<ConvWay> {
    let tiles = WinogradTile::ALL.into_iter().filter(|&tile| holds(profile, geometry, tile));
    let ways = tiles.map(|tile| (name(tile), Some(tile)));
    let table = match profile.kind.is_software() {
        true => {
            // Tiles of four are less exact than those of two, and those than none, and each takes more memory for the weight:
            // a gain of less than a fifth is not worth it.
            let direct = (DIRECT, direct_time(profile, geometry));
            let timed = ways.clone().filter_map(|way| Some((way, time(profile, geometry, way.1?, constant))));
            let wins = |time: usize, over: usize| time.saturating_mul(6) < over.saturating_mul(5);
            let (best, _) = timed.fold(direct, |best, way| if wins(way.1, best.1) { way } else { best });
            best
        }
        false => DIRECT,
    };
    table_first(table, std::iter::once(DIRECT).chain(ways))
}

const fn name(tile: WinogradTile) -> &'static str {
    match tile {
        WinogradTile::Two => "winograd2",
        WinogradTile::Four => "winograd4",
    }
}

/// Whether each tensor in between fits what a kernel can bind.
fn holds(profile: &DeviceProfile, geometry: &ConvGeometry, tile: WinogradTile) -> bool {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let cols = tile.cover(geometry.batch, geometry.output()).padded();
    let fits = |rows: usize, cols: usize| {
        let elements = rows.saturating_mul(cols).saturating_mul(tile.places());
        elements.saturating_mul(DType::BYTES) as u64 <= piece_limit(profile)
    };
    fits(inputs, cols) && fits(outputs, cols) && fits(inputs, outputs)
}

/// The time of the direct kernel, on a software adapter.
fn direct_time(profile: &DeviceProfile, geometry: &ConvGeometry) -> usize {
    let time = conv2d::direct_time(geometry);
    // Where lanes share their inputs.
    if conv2d_by_taps(profile, geometry).is_some() { time / 5 * 3 } else { time }
}

// What takes how long on lavapipe, in the unit of the direct kernels' time: a multiply-add of an invocation.
/// A multiply-add of a product, with its share of the loads, in hundredths; and columns that take as long as fewer. Where
/// lanes share what they load, and elsewhere.
const PRODUCTS: [(usize, usize); 2] = [(115, 16), (200, 64)];
/// An element of a product that is written.
const WRITTEN: usize = 20;
/// A number of the transformed weight: in a network it comes from memory in every run, at some 10 GB/s.
const WEIGHT: usize = 14;
/// A dispatch, which keeps two cores waiting.
const DISPATCH: usize = 700_000;

/// The time of all three steps, and of the weight's transform where that is not made at load.
fn time(profile: &DeviceProfile, geometry: &ConvGeometry, tile: WinogradTile, constant: bool) -> usize {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let cols = tile.cover(geometry.batch, geometry.output()).padded();
    // Of four tiles of a channel; of a filter's taps in one, with their packing.
    let (input, output, weight) = match tile {
        WinogradTile::Two => (3_600, 2_600, 2_700),
        WinogradTile::Four => (11_000, 8_500, 6_000),
    };
    let (product, least) = PRODUCTS[usize::from(!shares_by_subgroup(profile))];
    let products = outputs * cols.max(least) * (inputs * product / 100 + WRITTEN) + inputs * outputs * WEIGHT;
    let transforms = cols / RUN * (inputs * input + outputs * output);
    let weights = if constant { 0 } else { inputs * outputs * weight + DISPATCH };
    transforms + tile.places() * products + weights + 2 * DISPATCH
}

/// The kernel of the image's transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WinogradInputKernel {
    Row(winograd_input_row::Variant),
    Any(winograd_input::Variant),
}

/// The kernel that transforms an image of so many tiles in a row: on a software adapter in vectors of four, where the image
/// is made of whole blocks.
pub(crate) fn winograd_input(
    profile: &DeviceProfile,
    tile: WinogradTile,
    image: &TensorDesc,
    tile_cols: usize,
) -> WinogradInputKernel {
    use WinogradInputKernel::{Any, Row};
    let wide = profile.kind.is_software() && image.elements().is_multiple_of(4);
    match (wide, tile_cols.is_multiple_of(RUN), tile) {
        (true, true, WinogradTile::Four) => Row(winograd_input_row::Variant::Four),
        (true, true, WinogradTile::Two) => Row(winograd_input_row::Variant::Two),
        (true, false, WinogradTile::Four) => Any(winograd_input::Variant::Wide4),
        (true, false, WinogradTile::Two) => Any(winograd_input::Variant::Wide2),
        (false, _, WinogradTile::Four) => Any(winograd_input::Variant::Base4),
        (false, _, WinogradTile::Two) => Any(winograd_input::Variant::Base2),
    }
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Limits};

    use super::*;
    use crate::ops::{Conv2d, ConvOptions};
    use crate::select::lavapipe;
    use crate::window::Padding;

    fn geometry(x: [usize; 4], out: usize) -> ConvGeometry {
        let same = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
        let (image, weight) = (TensorDesc::f32(x), TensorDesc::f32([out, x[1], 3, 3]));
        Conv2d::new(same).geometry(&image, &weight).expect("the convolution should fit")
    }

    /// VGG's layers, and what is too small, or has too few channels, to be worth three steps.
    #[test]
    fn what_software_adapters_transform() {
        use WinogradTile::{Four, Two};
        for (x, out, expected) in [
            ([1, 3, 224, 224], 64, None),
            ([1, 64, 224, 224], 64, Some(Four)),
            ([1, 64, 112, 112], 128, Some(Four)),
            ([1, 128, 56, 56], 256, Some(Four)),
            ([1, 512, 28, 28], 512, Some(Four)),
            ([1, 512, 14, 14], 512, Some(Two)),
            ([8, 512, 14, 14], 512, Some(Four)),
            ([1, 512, 7, 7], 512, Some(Two)),
            ([1, 16, 32, 32], 16, None),
            ([1, 128, 4, 4], 8, None),
        ] {
            let ways = convolutions(&lavapipe(), &geometry(x, out), true);
            assert_eq!(ways[0].1, expected, "{x:?} to {out}");
            assert_eq!(ways.len(), 3, "{x:?} to {out}: {ways:?}");
        }
    }

    /// A weight that changes with every run is transformed in every run.
    #[test]
    fn a_trained_weight_needs_more_tiles() {
        let table = |x, out, constant| convolutions(&lavapipe(), &geometry(x, out), constant)[0].1.is_some();
        assert!(table([1, 512, 14, 14], 512, true) && !table([1, 512, 14, 14], 512, false));
        assert!(table([16, 64, 56, 56], 64, false));
    }

    #[test]
    fn gpus_have_it_as_a_candidate() {
        let gpu = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        let names =
            convolutions(&gpu, &geometry([1, 64, 56, 56], 64), true).into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), ["direct", "winograd2", "winograd4"]);
    }

    /// Eleven images of 64 x 224 x 224 in tiles of four are 36 x 64 x 34,496 numbers, of two 16 x 64 x 137,984.
    #[test]
    fn what_cannot_be_bound_is_direct() {
        let limits = Limits { max_binding: 320 << 20, max_buffer: 320 << 20, ..Limits::BASELINE };
        let names = |limits| {
            let profile = DeviceProfile { limits, ..lavapipe() };
            let ways = convolutions(&profile, &geometry([11, 64, 224, 224], 64), true);
            ways.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(limits), ["winograd4", "direct"]);
        assert_eq!(names(Limits::BASELINE), ["direct"]);
    }
}
