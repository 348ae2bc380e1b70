//! Which kernel computes the gradient of a convolution by its weight, and in how many parts.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    conv2d_grad_weight_lanes, conv2d_grad_weight_points, conv2d_grad_weight_rows, conv2d_grad_weight_shared,
};

use super::conv2d_lanes::fills_lanes;
use super::{LANES, SOFTWARE_ITERATIONS, looped};
use crate::lower::piece_limit;
use crate::ops::ConvGeometry;
use crate::tensor::DType;
use crate::window::Axis;

/// A kernel of the conv2d_grad_weight family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightGradKernel {
    Lanes(conv2d_grad_weight_lanes::Variant),
    Rows(conv2d_grad_weight_rows::Variant),
    Points(conv2d_grad_weight_points::Variant),
    Gather,
    Shared(conv2d_grad_weight_shared::Variant),
}

/// The kernel for so many images of a convolution.
pub(crate) fn conv2d_weight_grad(
    profile: &DeviceProfile,
    geometry: &ConvGeometry,
    images: usize,
) -> WeightGradKernel {
    if let Some(variant) = lanes(profile, geometry) {
        return WeightGradKernel::Lanes(variant);
    }
    if profile.kind.is_software() {
        let rows = conv2d_grad_weight_rows::Variant::ALL.iter().copied();
        let rows = rows.filter(|variant| fits(variant, geometry, images)).map(WeightGradKernel::Rows);
        let points = conv2d_grad_weight_points::Variant::ALL.iter().copied();
        let points = points.filter(|_| is_of_points(geometry)).map(WeightGradKernel::Points);
        let ways = rows.chain(points).chain([WeightGradKernel::Gather]);
        let best = ways.min_by_key(|way| way.cost(geometry, images));
        return best.expect("the gathering kernel should take any window");
    }
    use conv2d_grad_weight_shared::Variant;
    WeightGradKernel::Shared(match geometry.group_out() {
        0..=16 => Variant::T16,
        17..=32 => Variant::T32,
        _ if geometry.depth() <= 32 => Variant::T32,
        _ => Variant::T64,
    })
}

/// How many invocations, on a software adapter, or workgroups, elsewhere, should share the work: some for every core of
/// a large device. Workgroups of a software adapter have eight invocations.
const FILLS_SOFTWARE: usize = 256;
const FILLS_GPU: usize = 1024;

/// Pixels that a part should have at least: with fewer, its epilogue and the sum of parts take more than a tenth of the
/// time on a software adapter, and a GPU is filled anyway.
const FEWEST_PIXELS: usize = 512;

/// Bytes of image and gradient that stay in a software adapter's caches while all tiles of a part read them.
const CACHED: usize = 256 << 10;
/// And those for the kernel whose lanes share the inputs: its epilogue takes longer beside the sums, its loads less.
const CACHED_LANES: usize = 640 << 10;

/// In how many parts the sum is made.
pub(crate) fn weight_grad_parts(profile: &DeviceProfile, geometry: &ConvGeometry) -> usize {
    let software = profile.kind.is_software();
    let kernel = conv2d_weight_grad(profile, geometry, geometry.batch);
    let units = kernel.units(geometry, geometry.batch);
    let fills = if software { FILLS_SOFTWARE } else { FILLS_GPU };
    let mut wanted = fills.div_ceil(kernel.tiles(geometry));
    // What a software adapter can loop over in one part.
    let mut needed = 1;
    if software {
        let [height, width] = geometry.axes.map(|axis| axis.input);
        let pixels: usize = geometry.output().iter().product();
        let image = geometry.in_channels * height * width + geometry.out_channels * pixels;
        let cached = if matches!(kernel, WeightGradKernel::Lanes(_)) { CACHED_LANES } else { CACHED };
        wanted = wanted.max((geometry.batch * image * DType::BYTES).div_ceil(cached));
        needed = kernel.iterations(geometry, units).div_ceil(SOFTWARE_ITERATIONS / 2) as usize;
    }
    let pixels = geometry.batch * geometry.output().iter().product::<usize>();
    // All parts lie in one binding.
    let bytes = geometry.out_channels * geometry.depth() * DType::BYTES;
    let most = (piece_limit(profile) / bytes as u64).max(1) as usize;
    wanted.min(pixels.div_ceil(FEWEST_PIXELS)).max(needed).min(units).min(most)
}

/// The variant whose lanes share the inputs, if one is made for maps of that width: where it is, it is the fastest.
fn lanes(profile: &DeviceProfile, geometry: &ConvGeometry) -> Option<conv2d_grad_weight_lanes::Variant> {
    let [height, width] = &geometry.axes;
    let [inputs, outputs] = [height.input * width.input, height.output() * width.output()];
    let takes = |variant: &conv2d_grad_weight_lanes::Variant| {
        let [taps, wide, pad] = [variant.taps(), variant.width(), variant.pad()].map(|count| count as usize);
        let words = variant.bits() == 32 || profile.int64;
        let window = geometry.axes.iter().all(|axis| axis.is_plain(taps, pad));
        // Planes are whole loads.
        let whole =
            inputs.is_multiple_of(variant.ins() as usize) && outputs.is_multiple_of(variant.grads() as usize);
        window && width.input == wide && words && whole
    };
    let variants = conv2d_grad_weight_lanes::Variant::ALL.iter().copied();
    variants.filter(|_| fills_lanes(profile, geometry)).find(takes)
}

/// Whether a variant takes such a window, and image and gradient are made of whole blocks of four numbers.
fn fits(variant: &conv2d_grad_weight_rows::Variant, geometry: &ConvGeometry, images: usize) -> bool {
    let [height, width] = geometry.axes;
    let window = |axis: &Axis| {
        axis.kernel == variant.taps() as usize
            && axis.stride == variant.stride() as usize
            && (axis.dilation == 1 || axis.kernel == 1)
    };
    let in_blocks = |channels: usize, plane: usize| (images * channels * plane).is_multiple_of(4);
    let [out_h, out_w] = geometry.output();
    geometry.axes.iter().all(window)
        && in_blocks(geometry.in_channels, height.input * width.input)
        && in_blocks(geometry.out_channels, out_h * out_w)
        && (variant.aligned() == 0 || out_w.is_multiple_of(4))
}

/// Whether windows are single elements, of planes of whole blocks of four.
fn is_of_points(geometry: &ConvGeometry) -> bool {
    let single = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.padded() == axis.input;
    let plane: usize = geometry.output().iter().product();
    geometry.axes.iter().all(single) && plane.is_multiple_of(4)
}

/// The rows of outputs of a strip: long enough that the rows of the input loaded beside each strip do not count.
const STRIP_ROWS: usize = 32;

// What takes how long, in multiply-adds of one invocation: fitted to the rates of the variants on lavapipe.
/// A vector of image or gradient, with what turns it to where it is used.
const LOAD: usize = 73;
/// A row of a unit besides that.
const STEP: usize = 150;
/// A pixel, by the gathering kernel.
const GATHERED: usize = 4800;
/// An output.
const OUTPUT: usize = 100;

impl WeightGradKernel {
    /// Invocations, on a software adapter, or workgroups, elsewhere, that make one part.
    pub(crate) fn tiles(&self, geometry: &ConvGeometry) -> usize {
        let (group_in, group_out) = (geometry.group_in(), geometry.group_out());
        let tiles = match self {
            // A workgroup's, which is one.
            Self::Lanes(variant) => {
                group_out.next_multiple_of(LANES) * group_in.div_ceil(variant.ics() as usize)
            }
            Self::Rows(variant) => {
                group_out.div_ceil(variant.ocs() as usize) * group_in.div_ceil(variant.ics() as usize)
            }
            Self::Points(variant) => group_out.div_ceil(8 * variant.halves() as usize) * group_in.div_ceil(8),
            Self::Gather => group_out.div_ceil(16) * geometry.depth().div_ceil(16),
            Self::Shared(variant) => {
                group_out.div_ceil(variant.tile_oc() as usize)
                    * geometry.depth().div_ceil(variant.tile_terms() as usize)
            }
        };
        geometry.groups * tiles
    }

    /// What the sum over so many images is cut into parts by: pixels, blocks of four, some rows, or as many columns of a
    /// strip as the kernel that goes down rows takes at once.
    pub(crate) fn units(&self, geometry: &ConvGeometry, images: usize) -> usize {
        let [height, width] = geometry.output();
        match self {
            Self::Lanes(variant) => images * height.div_ceil(variant.rows() as usize),
            Self::Rows(variant) => {
                let Strips { strips, .. } = Strips::of(geometry);
                images * strips * width.div_ceil(variant.cols() as usize)
            }
            Self::Points(_) => images * height * width / 4,
            Self::Gather | Self::Shared(_) => images * height * width,
        }
    }

    /// Loops of an invocation over so many of them.
    pub(crate) fn iterations(&self, geometry: &ConvGeometry, units: usize) -> u64 {
        let units = units as u64;
        match self {
            Self::Rows(variant) => {
                let rows = Strips::of(geometry).rows as u64;
                let step = looped(u64::from(variant.stride()), 0);
                looped(units, looped(rows, step) + u64::from(variant.taps()))
            }
            Self::Lanes(_) | Self::Points(_) | Self::Gather => looped(units, 0),
            Self::Shared(_) => looped(units.div_ceil(16), 0),
        }
    }

    /// The time of all invocations on a software adapter.
    fn cost(&self, geometry: &ConvGeometry, images: usize) -> usize {
        let [height, _] = geometry.output();
        match self {
            Self::Rows(variant) => {
                let [taps, stride, cols, ocs, ics] =
                    [variant.taps(), variant.stride(), variant.cols(), variant.ocs(), variant.ics()]
                        .map(|count| count as usize);
                let span = (cols - 1) * stride + taps;
                let grads = if variant.aligned() == 1 { cols / 4 } else { (cols + 6) / 4 };
                let loads = ics * stride * ((span + 6) / 4) + ocs * grads;
                let step = STEP + loads * LOAD + ocs * ics * taps * taps * cols;
                let rows = self.units(geometry, images) * height / Strips::of(geometry).strips;
                self.tiles(geometry) * (rows * step + ocs * ics * taps * taps * OUTPUT)
            }
            Self::Points(variant) => {
                let halves = variant.halves() as usize;
                let step = STEP + (8 + 8 * halves) * LOAD + 256 * halves;
                self.tiles(geometry) * (self.units(geometry, images) * step + 64 * halves * OUTPUT)
            }
            Self::Lanes(_) => 0,
            Self::Gather | Self::Shared(_) => self.tiles(geometry) * self.units(geometry, images) * GATHERED,
        }
    }
}

/// How the rows of an image's outputs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strips {
    /// Strips of an image.
    pub(crate) strips: usize,
    /// Rows of a strip; the last may be shorter.
    pub(crate) rows: usize,
}

impl Strips {
    pub(crate) fn of(geometry: &ConvGeometry) -> Self {
        let [height, _] = geometry.output();
        let rows = height.div_ceil(height.div_ceil(STRIP_ROWS));
        Self { strips: height.div_ceil(rows), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, ConvOptions};
    use crate::select::lavapipe;
    use crate::tensor::TensorDesc;
    use crate::window::Padding;
    use conv2d_grad_weight_rows::Variant;
    use kiln_gpu::{DeviceKind, Gpu, Limits};

    fn profile(kind: DeviceKind) -> DeviceProfile {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a device that computes nothing should open");
        DeviceProfile { kind, ..gpu.profile().clone() }
    }

    fn geometry(x: [usize; 4], out: usize, kernel: usize, options: ConvOptions<2>) -> ConvGeometry {
        let weight = TensorDesc::f32([out, x[1] / options.groups, kernel, kernel]);
        Conv2d::new(options).geometry(&TensorDesc::f32(x), &weight).expect("the convolution should fit")
    }

    /// The layers of small networks.
    #[test]
    fn what_software_adapters_run() {
        let software = profile(DeviceKind::Cpu);
        let plain = ConvOptions::default();
        let same = ConvOptions { padding: Padding::all(1), ..plain };
        let half = ConvOptions { stride: [2; 2], ..same };
        for (x, out, kernel, options, expected) in [
            ([100, 1, 28, 28], 20, 5, plain, Some(Variant::FiveAligned)),
            ([100, 20, 12, 12], 50, 5, plain, Some(Variant::FiveAligned)),
            ([20, 3, 14, 14], 16, 5, plain, Some(Variant::FiveNarrow)),
            ([100, 20, 26, 26], 20, 3, plain, Some(Variant::ThreeAligned)),
            ([100, 20, 28, 28], 20, 3, plain, Some(Variant::ThreeSeven)),
            ([100, 20, 12, 12], 50, 3, plain, Some(Variant::ThreeNarrow)),
            ([100, 1, 28, 28], 20, 3, plain, Some(Variant::ThreeThin)),
            ([32, 16, 32, 32], 16, 3, same, Some(Variant::ThreeAligned)),
            ([32, 16, 32, 32], 32, 3, half, Some(Variant::ThreeHalf)),
            ([32, 32, 16, 16], 32, 3, ConvOptions { groups: 32, ..same }, Some(Variant::ThreeSingle)),
            ([32, 16, 32, 32], 8, 4, half, Some(Variant::FourHalf)),
            ([8, 32, 7, 7], 64, 1, plain, Some(Variant::One)),
            ([8, 3, 32, 32], 64, 7, half, None),
            ([32, 16, 32, 32], 16, 3, ConvOptions { dilation: [2; 2], ..same }, None),
            // 25 numbers an image, and nine images: no whole vectors.
            ([9, 1, 5, 5], 4, 3, same, None),
        ] {
            let expected = expected.map_or(WeightGradKernel::Gather, WeightGradKernel::Rows);
            let chosen = conv2d_weight_grad(&software, &geometry(x, out, kernel, options), x[0]);
            assert_eq!(chosen, expected, "{kernel}x{kernel} of {x:?} to {out}, {options:?}");
        }
        use conv2d_grad_weight_lanes::Variant as Lanes;
        for (x, out, kernel, options, expected) in [
            ([100, 20, 12, 12], 50, 5, plain, Some(Lanes::Five12)),
            ([100, 20, 26, 26], 20, 3, plain, Some(Lanes::Three26)),
            ([100, 20, 12, 12], 50, 3, plain, Some(Lanes::Three12)),
            ([32, 64, 8, 8], 64, 3, same, Some(Lanes::ThreeSame8)),
            // Planes of ten gradients are no whole vectors.
            ([100, 20, 3, 12], 16, 3, plain, None),
            ([100, 20, 12, 12], 10, 5, plain, None),
            ([100, 20, 13, 13], 50, 5, plain, None),
        ] {
            let chosen = conv2d_weight_grad(&lavapipe(), &geometry(x, out, kernel, options), x[0]);
            let lanes = match chosen {
                WeightGradKernel::Lanes(variant) => Some(variant),
                _ => None,
            };
            assert_eq!(lanes, expected, "{kernel}x{kernel} of {x:?} to {out}, {options:?}");
        }
        for (out, expected) in
            [(64, conv2d_grad_weight_points::Variant::Wide), (8, conv2d_grad_weight_points::Variant::Narrow)]
        {
            let chosen = conv2d_weight_grad(&software, &geometry([32, 32, 14, 14], out, 1, plain), 32);
            assert_eq!(chosen, WeightGradKernel::Points(expected), "1x1 to {out}");
        }
    }

    #[test]
    fn parts_fill_a_device_and_stay_within_its_limits() {
        let kinds = [DeviceKind::Cpu, DeviceKind::Discrete].map(profile);
        for (x, out, kernel) in [
            ([100, 1, 28, 28], 20, 5),
            ([100, 20, 12, 12], 50, 5),
            ([1, 1, 3, 3], 1, 3),
            ([1, 1, 2000, 2000], 1, 3),
            ([7, 512, 28, 28], 512, 3),
            ([60_000, 1, 28, 28], 2, 2),
        ] {
            let geometry = geometry(x, out, kernel, ConvOptions::default());
            for profile in &kinds {
                let parts = weight_grad_parts(profile, &geometry);
                let way = conv2d_weight_grad(profile, &geometry, x[0]);
                let run = way.units(&geometry, x[0]).div_ceil(parts);
                let case = format!("{way:?} in {parts} parts of {run} for {x:?}");
                assert!((1..=way.units(&geometry, x[0])).contains(&parts), "{case}");
                if profile.kind.is_software() {
                    assert!(way.iterations(&geometry, run) <= SOFTWARE_ITERATIONS, "{case}");
                }
                let pixels = x[0] * geometry.output().iter().product::<usize>();
                let filled = way.tiles(&geometry) * parts >= FILLS_SOFTWARE;
                assert!(filled || pixels < 2 * FEWEST_PIXELS * parts, "{case}");
            }
        }
    }

    #[test]
    fn strips_cover_an_image() {
        for height in 1..=200 {
            let geometry = geometry([1, 1, height, 5], 1, 1, ConvOptions::default());
            let Strips { strips, rows } = Strips::of(&geometry);
            assert!(
                rows <= STRIP_ROWS && strips * rows >= height && (strips - 1) * rows < height,
                "{height}"
            );
        }
    }
}
