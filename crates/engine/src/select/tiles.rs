//! How long products in tiles of workgroup memory take on a GPU, by a model that knows little of it.

use kiln_gpu::{DeviceKind, DeviceProfile};

use crate::lower::piece_limit;
use crate::ops::SplitSum;
use crate::tensor::DType;

/// Tiles that the workgroups of a kernel make of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    /// How many there are.
    pub(super) count: u64,
    /// Rows and columns of each.
    pub(super) sides: [u32; 2],
    /// Rows and columns of an invocation.
    pub(super) own: [u32; 2],
    /// Invocations of a workgroup.
    pub(super) threads: u32,
    /// Terms of each output.
    pub(super) depth: usize,
}

impl Tiles {
    /// About how long they take, as quarters of multiply-adds of one compute unit, were it never to wait.
    ///
    /// Each unit makes one tile after the other, and the last round leaves half of them idle, as a mean: how many there are
    /// is a guess, so that a count of tiles that just fills them is worth nothing. To the multiply-adds of a tile
    /// come what its invocations read of workgroup memory (an 8 x 8 one a number for four of them, a 4 x 4 one for two),
    /// each as one more, and what the tile loads, by [`LOAD`]. A unit takes about [`BUSY`] invocations, so that a lone
    /// tile of fewer takes as long as several.
    pub(super) fn time(&self, profile: &DeviceProfile) -> u64 {
        let [[rows, cols], [own_rows, own_cols]] = [self.sides, self.own].map(|of| of.map(u64::from));
        let units = units(profile.kind);
        let lone = (BUSY / u64::from(self.threads)).max(1);
        let rounds = ((4 * self.count + 2 * units) / units).max(4 * lone);
        let term = rows * cols + rows * cols / own_rows + rows * cols / own_cols + LOAD * (rows + cols);
        rounds * term * self.depth as u64
    }

    /// The same with the depth in parts, each of which has as many tiles.
    pub(super) fn split(self, parts: usize) -> Self {
        Self { count: self.count * parts as u64, depth: self.depth / parts, ..self }
    }

    /// What is computed, the parts of tiles beyond the output included: of equals in time, the one with less disturbs
    /// less.
    pub(super) fn outputs(&self) -> u64 {
        self.count * self.sides.map(u64::from).iter().product::<u64>()
    }
}

/// Multiply-adds that a compute unit makes while it gets a number from beyond: a large GPU makes 128 in a cycle, in which
/// its second-level cache has some six numbers for it, of which half come while it multiplies.
const LOAD: u64 = 12;

/// Invocations that keep a compute unit busy.
const BUSY: u64 = 256;

/// How many compute units a GPU of a kind is taken to have, since none says: those of a large one, on which idle units
/// cost most.
pub(super) fn units(kind: DeviceKind) -> u64 {
    match kind {
        DeviceKind::Discrete | DeviceKind::Virtual | DeviceKind::Other => 128,
        DeviceKind::Integrated | DeviceKind::Cpu => 16,
    }
}

/// What a dispatch more takes, in quarters of multiply-adds of a unit: some ten microseconds in which a large device empties
/// and fills, and which what is small and quick is not worth.
const DISPATCH: u64 = 4 << 21;

/// In how many parts a sum may be made, with the names of these ways: what divides the depths that there are.
const PARTS: &[(&str, usize)] = &[
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("4", 4),
    ("6", 6),
    ("8", 8),
    ("9", 9),
    ("12", 12),
    ("14", 14),
    ("16", 16),
    ("18", 18),
    ("24", 24),
    ("28", 28),
    ("32", 32),
];

/// Variants of a kernel for a sum in parts of its depth, the one that should take least time first; `cut` gives the tiles of
/// each.
pub(super) fn fastest_first<V: Copy>(
    profile: &DeviceProfile,
    variants: impl IntoIterator<Item = V>,
    parts: usize,
    cut: impl Fn(V) -> Tiles,
) -> Vec<V> {
    let mut variants: Vec<V> = variants.into_iter().collect();
    variants.sort_by_key(|&variant| {
        let tiles = cut(variant).split(parts);
        (tiles.time(profile), tiles.outputs())
    });
    variants
}

/// The numbers of parts for sums of a depth that are made in one of some sorts of tiles, the one that should take least time
/// first and none of more than twice that, the time of joining them included. A large device that would be idle gets
/// something to do; each part costs a pass over the outputs. One part is the table's choice unless others should save a
/// quarter of the time.
pub(super) fn parts(
    profile: &DeviceProfile,
    depth: usize,
    outputs: u64,
    tiles: &[Tiles],
) -> Vec<(&'static str, usize)> {
    let fits = |&&(_, parts): &&(&str, usize)| {
        let bytes = (outputs * parts as u64).saturating_mul(DType::BYTES as u64);
        parts == 1 || depth.is_multiple_of(parts * SplitSum::STEP) && bytes <= piece_limit(profile)
    };
    let whole = |parts: usize| {
        // Each part is written and read, and what they make is written.
        let joined = 4 * outputs * (2 * parts as u64 + 1) * LOAD / units(profile.kind) + DISPATCH;
        let summed = tiles.iter().map(|tiles| tiles.split(parts).time(profile)).min().unwrap_or(0);
        summed + if parts > 1 { joined } else { 0 }
    };
    let mut ways: Vec<_> = PARTS.iter().filter(fits).map(|&way| (whole(way.1), way)).collect();
    ways.sort_by_key(|&(time, (_, parts))| (if parts == 1 { time / 4 * 3 } else { time }, parts));
    let most = 2 * ways.first().map_or(0, |&(time, _)| time);
    ways.into_iter().take_while(|&(time, _)| time <= most).map(|(_, way)| way).take(6).collect()
}
