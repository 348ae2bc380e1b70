//! How the elements of each channel are shared out among parts.

use crate::tensor::TensorDesc;

/// Planes of at least so many elements occupy a workgroup; the parts of shorter ones go to one invocation each.
const WIDE: usize = 32;
/// How many parts of channels there should be: enough workgroups, or invocations, to fill a GPU.
const WORKGROUPS: usize = 512;
const INVOCATIONS: usize = 8192;
/// Loads that a part of such a kind is worth at least.
const LEAST_WIDE: usize = 512;
const LEAST_NARROW: usize = 16;
/// And at most, so that no invocation of a software adapter loops too often.
const MOST: usize = 4096;

/// The parts of `[images][channels][inner]`: groups of images, and segments of their planes. A matter of the shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    /// Loads of a plane.
    pub(crate) inner: usize,
    /// Numbers of a load.
    pub(crate) width: usize,
    /// Images of a group; the last may have fewer.
    pub(crate) part_images: usize,
    pub(crate) segments: usize,
    /// Loads of a segment; the last may have fewer.
    pub(crate) length: usize,
}

impl Parts {
    /// Those of a tensor of `[N, C]` or `[N, C, ...]`.
    pub(crate) fn of(desc: &TensorDesc) -> Self {
        let (images, channels, plane) = (desc.shape[0], desc.shape[1], desc.elements_behind(2));
        let width = if plane.is_multiple_of(4) { 4 } else { 1 };
        let inner = plane / width;
        let (target, least) =
            if plane >= WIDE { (WORKGROUPS, LEAST_WIDE) } else { (INVOCATIONS, LEAST_NARROW) };
        let loads = images.saturating_mul(inner);
        let size = loads.div_ceil(target.div_ceil(channels)).clamp(least, MOST);
        let (part_images, segments) = if size >= inner {
            // A power of two ends where the pieces of a tensor that must be cut do.
            let fitting = (size / inner).min(images);
            (1 << fitting.ilog2(), 1)
        } else {
            (1, inner.div_ceil(size))
        };
        let length = inner.div_ceil(segments);
        Self { images, channels, inner, width, part_images, segments: inner.div_ceil(length), length }
    }

    /// Groups of images.
    pub(crate) fn groups(&self) -> usize {
        self.images.div_ceil(self.part_images)
    }

    /// Parts of each channel.
    pub(crate) fn count(&self) -> usize {
        self.groups() * self.segments
    }

    /// Whether the elements of one plane occupy a workgroup.
    pub(crate) fn is_wide(&self) -> bool {
        self.inner * self.width >= WIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::{SOFTWARE_ITERATIONS, looped};

    const SHAPES: [&[usize]; 13] = [
        &[1, 1],
        &[7, 3],
        &[100, 500, 1, 1],
        &[60_000, 8],
        &[100, 20, 24, 24],
        &[100, 50, 8, 8],
        &[97, 13, 5, 7],
        &[1, 3, 1024, 1024],
        &[1, 1, 999_983],
        &[128, 64, 56, 56],
        &[2, 1000, 7, 7],
        &[1 << 20, 2],
        &[1, 1 << 20, 3],
    ];

    #[test]
    fn every_element_is_in_one_part_and_no_part_is_empty() {
        for shape in SHAPES {
            let parts = Parts::of(&TensorDesc::f32(shape));
            let Parts { inner, segments, length, part_images, .. } = parts;
            assert!((segments - 1) * length < inner && inner <= segments * length, "{shape:?}: {parts:?}");
            assert!(part_images.is_power_of_two() && part_images <= parts.images, "{shape:?}: {parts:?}");
            assert!(segments == 1 || part_images == 1, "{shape:?}: {parts:?}");
            assert_eq!(inner * parts.width, shape[2..].iter().product::<usize>(), "{shape:?}: {parts:?}");
        }
    }

    #[test]
    fn parts_are_short_enough_for_one_invocation() {
        for shape in SHAPES {
            let Parts { part_images, length, .. } = Parts::of(&TensorDesc::f32(shape));
            let plane = looped(length.div_ceil(64) as u64, 1) + length as u64;
            let passes = 2 * looped(part_images as u64, plane);
            assert!(passes <= SOFTWARE_ITERATIONS, "{shape:?}: {passes}");
        }
    }

    #[test]
    fn large_tensors_fill_a_gpu() {
        for (shape, expected) in [
            (&[100, 20, 24, 24][..], 20 * 50),
            (&[100, 50, 8, 8], 50 * 4),
            (&[1, 3, 1024, 1024], 3 * 171),
            (&[100, 500, 1, 1], 500 * 7),
            (&[60_000, 8], 8 * 1875),
        ] {
            let parts = Parts::of(&TensorDesc::f32(shape));
            assert_eq!(parts.count() * parts.channels, expected, "{shape:?}: {parts:?}");
        }
    }
}
