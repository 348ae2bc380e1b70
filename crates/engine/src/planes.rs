//! Tensors as planes of neighbours that share a channel, as `lib/plane.wgsl` walks them.

use kiln_gpu::DeviceProfile;

use crate::lower::Block;
use crate::select::{PlaneForm, plane_form};
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

    /// For kernels that load vectors of four where they can: how they go over the planes, and these counted in loads.
    pub(crate) fn loads(self, profile: &DeviceProfile) -> (Self, PlaneLoads) {
        let vectors = Self { inner: self.inner / 4, ..self };
        match (plane_form(profile, self.inner), self.inner.is_multiple_of(4)) {
            _ if self.inner == 1 && self.channels.is_multiple_of(4) => {
                (Self { planes: self.planes / 4, channels: self.channels / 4, inner: 1 }, PlaneLoads::Across)
            }
            (PlaneForm::Narrow, false) => (self, PlaneLoads::Narrow),
            (PlaneForm::Narrow, true) => (vectors, PlaneLoads::NarrowVector),
            (PlaneForm::Wide, false) => (self, PlaneLoads::Wide),
            (PlaneForm::Wide, true) => (vectors, PlaneLoads::WideVector),
        }
    }

    /// The runs of eights that a software adapter goes over such planes in, where a half of each lies in one plane and a run
    /// is no longer than a plane.
    pub(crate) fn eights(&self, profile: &DeviceProfile) -> Option<Eights> {
        let elements = self.planes * self.inner;
        let whole = self.inner.is_multiple_of(4) && elements.is_multiple_of(8);
        let fits = profile.kind.is_software() && whole && self.inner >= LEAST_EIGHTS;
        let run = (self.inner / 8).min(EIGHTS);
        fits.then_some(Eights { count: elements / 8, run, inner: self.inner / 4, words: profile.int64 })
    }

    /// How the planes are cut into runs, for a kernel of so many `threads` of which `lanes` share a run of `steps`
    /// each.
    pub(crate) fn runs(&self, threads: u32, lanes: u32, steps: u32) -> Runs {
        let per_plane = self.inner.div_ceil(lanes * steps);
        let runs = u64::from(self.planes) * u64::from(per_plane);
        Runs { per_plane, workgroups: runs.div_ceil(u64::from(threads / lanes)) }
    }
}

/// Eights of a run at most, so that what belongs to its planes is found seldom.
const EIGHTS: u32 = 32;
/// Elements of planes for which runs of eights are worth it.
const LEAST_EIGHTS: u32 = 32;

/// A block of planes as eights, whichever planes they lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Eights {
    pub(crate) count: u32,
    /// Eights of a run.
    pub(crate) run: u32,
    /// Fours of a plane.
    pub(crate) inner: u32,
    /// Whether one load brings eight.
    pub(crate) words: bool,
}

impl Eights {
    /// Workgroups of so many threads, each of which makes a run.
    pub(crate) fn workgroups(&self, threads: u32) -> u64 {
        u64::from(self.count.div_ceil(self.run).div_ceil(threads))
    }
}

/// [`PlaneForm`], and what one load has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaneLoads {
    /// One element.
    Narrow,
    Wide,
    /// Four neighbours of a plane.
    NarrowVector,
    WideVector,
    /// Four channels, of planes that are single elements.
    Across,
}

/// Planes cut for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) per_plane: u32,
    pub(crate) workgroups: u64,
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Gpu, Limits};

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
    fn loads_are_vectors_where_planes_or_channels_make_whole_ones() {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a device that computes nothing should open");
        let on = |kind, inner, channels| {
            let profile = DeviceProfile { kind, ..gpu.profile().clone() };
            Planes { planes: 2 * channels, channels, inner }.loads(&profile)
        };
        let (software, discrete) = (DeviceKind::Cpu, DeviceKind::Discrete);
        for (kind, inner, channels, expected, planes) in [
            (software, 49, 3, PlaneLoads::Narrow, [6, 3, 49]),
            (software, 64, 3, PlaneLoads::NarrowVector, [6, 3, 16]),
            (software, 1, 8, PlaneLoads::Across, [4, 2, 1]),
            (software, 1, 6, PlaneLoads::Narrow, [12, 6, 1]),
            (discrete, 49, 4, PlaneLoads::Wide, [8, 4, 49]),
            (discrete, 64, 4, PlaneLoads::WideVector, [8, 4, 16]),
            (discrete, 16, 4, PlaneLoads::NarrowVector, [8, 4, 4]),
            (discrete, 1, 4, PlaneLoads::Across, [2, 1, 1]),
        ] {
            let [planes, channels_left, loads] = planes;
            let expected = (Planes { planes, channels: channels_left, inner: loads }, expected);
            assert_eq!(on(kind, inner, channels), expected, "{inner} elements of {channels} channels");
        }
    }

    #[test]
    fn eights_lie_in_two_planes_at_most() {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a device that computes nothing should open");
        let on = |kind, planes, inner| {
            let profile = DeviceProfile { kind, int64: true, ..gpu.profile().clone() };
            let made = Planes { planes, channels: planes, inner }.eights(&profile);
            made.map(|Eights { count, run, inner, .. }| [count, run, inner])
        };
        let (software, discrete) = (DeviceKind::Cpu, DeviceKind::Discrete);
        for (kind, planes, inner, expected) in [
            (software, 40, 676, Some([3380, 32, 169])),
            (software, 2, 100, Some([25, 12, 25])),
            (software, 3, 64, Some([24, 8, 16])),
            // The last half of an eight is missing, or that of each plane is another one's, or planes are short.
            (software, 3, 100, None),
            (software, 8, 49, None),
            (software, 8, 16, None),
            (discrete, 40, 676, None),
        ] {
            assert_eq!(on(kind, planes, inner), expected, "{planes} planes of {inner}");
        }
        let profile = DeviceProfile { kind: software, ..gpu.profile().clone() };
        for inner in (32..400).step_by(4) {
            let eights = Planes { planes: 40, channels: 5, inner }.eights(&profile).expect("whole eights");
            assert!(8 * eights.run <= inner, "{inner}: {eights:?}");
            assert!(eights.workgroups(64) * 64 * u64::from(eights.run) >= u64::from(eights.count), "{inner}");
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
