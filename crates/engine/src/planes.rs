//! Tensors as planes of neighbours that share a channel, as `lib/plane.wgsl` walks them.

use crate::lower::Block;
use crate::tensor::TensorDesc;

/// A block of `[n][channels][inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Planes of the block: its images times `channels`.
    pub(crate) planes: u32,
    pub(crate) channels: u32,
    /// Elements of a plane.
    pub(crate) inner: u32,
}

impl Planes {
    /// The planes of a block of a tensor `[N, C, ...]`; one without a second dimension has one channel.
    pub(crate) fn of(desc: &TensorDesc, block: &Block) -> Self {
        let channels = desc.shape.get(1).copied().unwrap_or(1) as u32;
        let inner = desc.elements_behind(2) as u32;
        Self { planes: block.elements / inner, channels, inner }
    }

    /// The same elements without regard to channels.
    pub(crate) fn one_channel(self) -> Self {
        Self { planes: 1, channels: 1, inner: self.planes * self.inner }
    }

    /// How the planes are cut into runs, for a kernel of so many `threads` of which `lanes` share a run of `steps` each.
    pub(crate) fn runs(&self, threads: u32, lanes: u32, steps: u32) -> Runs {
        let per_plane = self.inner.div_ceil(lanes * steps);
        let runs = u64::from(self.planes) * u64::from(per_plane);
        Runs { per_plane, workgroups: runs.div_ceil(u64::from(threads / lanes)) }
    }
}

/// Planes cut for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) per_plane: u32,
    pub(crate) workgroups: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{Bound, Storage};

    #[test]
    fn a_block_has_the_planes_of_its_images() {
        let output = Bound { storage: Storage(0), offset: 0, bytes: 0 };
        for (shape, rows, expected) in [
            (&[5, 3, 4, 10][..], 2..4, Planes { planes: 6, channels: 3, inner: 40 }),
            (&[5, 3], 0..5, Planes { planes: 15, channels: 3, inner: 1 }),
            (&[5], 1..3, Planes { planes: 2, channels: 1, inner: 1 }),
        ] {
            let desc = TensorDesc::f32(shape);
            let elements = (rows.len() * desc.row_elements()) as u32;
            assert_eq!(Planes::of(&desc, &Block { rows, elements, output }), expected, "{desc}");
        }
    }

    #[test]
    fn runs_cover_every_plane() {
        let planes = Planes { planes: 6, channels: 3, inner: 1000 };
        // A workgroup of 64 makes 512 elements of one plane.
        assert_eq!(planes.runs(64, 64, 8), Runs { per_plane: 2, workgroups: 12 });
        assert_eq!(planes.one_channel().runs(64, 64, 8), Runs { per_plane: 12, workgroups: 12 });
        // Each of 64 invocations makes up to 32 neighbours.
        assert_eq!(planes.runs(64, 1, 32), Runs { per_plane: 32, workgroups: 3 });
        let points = Planes { planes: 130, channels: 65, inner: 1 };
        assert_eq!(points.runs(64, 1, 32), Runs { per_plane: 1, workgroups: 3 });
    }
}
