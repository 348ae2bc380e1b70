//! Products on software adapters: tiles in registers over panels, without barriers.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    matmul_flat, matmul_lanes, matmul_lanes_rows, matmul_register, matmul_shared, matmul_vector,
};

use super::{FEW_ROWS, MatmulKernel};
use crate::ops::{LhsLayout, Matmul, MatmulGeometry, PANEL, RhsLayout};
use crate::select::{shares_by_subgroup, table_first};

/// Whether the right side of a product should be packed in panels for the register kernel, which only software adapters
/// run. Packing is a pass over the right side: at load for a `constant`, where it always pays, else in every run, where
/// it pays from a handful of rows and columns on. Halves are always packed: the kernels that read them where they lie are
/// made for GPUs.
pub(crate) fn wants_panels(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
    constant: bool,
) -> bool {
    let worthwhile = geometry.rows_per_rhs() > FEW_ROWS && geometry.cols >= 4;
    profile.kind.is_software() && (constant || worthwhile || op.rhs.is_halves())
}

/// The kernel for a right side in panels, of numbers or of halves.
fn panels(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> MatmulKernel {
    let flat = flat(profile, op, geometry).map(MatmulKernel::Flat);
    let lanes = lanes(profile, op, geometry).map(MatmulKernel::Lanes);
    let best = if geometry.rows_per_rhs() == 1 { flat.or(lanes) } else { lanes.or(flat) };
    best.unwrap_or_else(|| MatmulKernel::Register(register(geometry)))
}

/// The kernels for a right side in panels that may be the fastest, the table's choice first.
pub(super) fn panels_candidates(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<MatmulKernel> {
    let table = panels(profile, op, geometry);
    let flat = flat(profile, op, geometry).into_iter().map(MatmulKernel::Flat);
    let lanes = close_to_best(lanes_variants(profile, op, geometry), |variant| lanes_cost(variant, geometry));
    let register = MatmulKernel::Register(register(geometry));
    table_first(table, flat.chain(lanes.into_iter().map(MatmulKernel::Lanes)).chain([register]))
}

/// The variants that should take less than half as much again as the best, which comes first: others are not worth a
/// measurement.
fn close_to_best<V>(mut variants: Vec<V>, cost: impl Fn(&V) -> u64) -> Vec<V> {
    variants.sort_by_key(&cost);
    let most = variants.first().map_or(0, |best| 3 * cost(best));
    variants.retain(|variant| 2 * cost(variant) < most);
    variants
}

/// The variants of the kernel whose lanes share their rows by shuffles, where a product lies as it reads it: the left side
/// and the columns in vectors of four.
fn lanes_variants(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<matmul_lanes::Variant> {
    use matmul_lanes::Variant;
    let fits = shares_by_subgroup(profile)
        && geometry.depth.is_multiple_of(4)
        && (op.lhs == LhsLayout::RowMajor || geometry.rows.is_multiple_of(4))
        && geometry.cols.is_multiple_of(4);
    match (fits, profile.int64) {
        (false, _) => vec![],
        (true, true) => {
            vec![Variant::Wide32, Variant::Wide20, Variant::Wide16, Variant::Wide8, Variant::Wide4]
        }
        (true, false) => {
            vec![Variant::Plain32, Variant::Plain20, Variant::Plain16, Variant::Plain8, Variant::Plain4]
        }
    }
}

/// The one among them that does least work.
fn lanes(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> Option<matmul_lanes::Variant> {
    let variants = lanes_variants(profile, op, geometry);
    variants.into_iter().min_by_key(|variant| lanes_cost(variant, geometry))
}

/// The work of a kernel whose workgroups make 64 numbers of one side by `shared` of the other. A step of k takes the time of
/// the products of six shared ones besides.
fn shared_cost(own: usize, shared: usize, width: u32) -> u64 {
    let width = width as usize;
    (own.div_ceil(8 * PANEL) * shared.div_ceil(width) * (width + 6)) as u64
}

fn lanes_cost(variant: &matmul_lanes::Variant, geometry: &MatmulGeometry) -> u64 {
    shared_cost(geometry.cols, geometry.rows_per_rhs(), variant.rows())
}

fn lanes_rows_cost(variant: &matmul_lanes_rows::Variant, geometry: &MatmulGeometry) -> u64 {
    shared_cost(geometry.rows, geometry.cols, variant.cols())
}

/// The variants of the kernel for both sides in panels.
fn lanes_rows_variants(profile: &DeviceProfile) -> [matmul_lanes_rows::Variant; 3] {
    use matmul_lanes_rows::Variant;
    match profile.int64 {
        true => [Variant::Wide32, Variant::Wide16, Variant::Wide8],
        false => [Variant::Plain32, Variant::Plain16, Variant::Plain8],
    }
}

/// Whether the left side of a product whose right side is, or will be, in panels should be packed as well. That pays for a
/// batch of constant ones, as of Winograd convolutions, where their rows fill the lanes better than the columns do.
pub(crate) fn wants_lhs_panels(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
    constant: bool,
) -> bool {
    let batched = geometry.lhs_batched && geometry.rhs_batched && geometry.rows > FEW_ROWS;
    let takes_panels = !matches!(op.lhs, LhsLayout::Panels { .. })
        && !op.rhs.is_halves()
        && geometry.cols.is_multiple_of(PANEL);
    let Some(columns) = lanes(profile, op, geometry).filter(|_| constant && batched && takes_panels) else {
        return false;
    };
    let rows = lanes_rows_variants(profile).iter().map(|variant| lanes_rows_cost(variant, geometry)).min();
    // What looks a little better is not, as measured.
    rows.is_some_and(|rows| 10 * rows < 9 * lanes_cost(&columns, geometry))
}

/// The kernels for both sides in panels, the table's choice first.
pub(super) fn both_panels_candidates(
    profile: &DeviceProfile,
    geometry: &MatmulGeometry,
) -> Vec<MatmulKernel> {
    let variants = lanes_rows_variants(profile).to_vec();
    let variants = close_to_best(variants, |variant| lanes_rows_cost(variant, geometry));
    variants.into_iter().map(MatmulKernel::LanesRows).collect()
}

/// The kernel for a right side that lies as it was given. Halves come here only where no pass packed them: the GPUs'
/// kernels read those.
pub(super) fn plain(op: &Matmul, geometry: &MatmulGeometry) -> MatmulKernel {
    if geometry.rows_per_rhs() <= FEW_ROWS {
        return MatmulKernel::Vector(vector(op, geometry));
    }
    if !op.rhs.is_halves() {
        return MatmulKernel::Naive;
    }
    MatmulKernel::Shared(matmul_shared::Variant::T32Half)
}

/// The kernel for few rows against panels, where the left side can be read in vectors of eight along k.
fn flat(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> Option<matmul_flat::Variant> {
    use matmul_flat::Variant;
    if op.lhs != LhsLayout::RowMajor || !geometry.depth.is_multiple_of(PANEL) {
        return None;
    }
    match (geometry.rows_per_rhs(), profile.int64) {
        (1, true) => Some(Variant::OneWide),
        (1, false) => Some(Variant::One),
        (2..=FEW_ROWS, true) => Some(Variant::FourWide),
        (2..=FEW_ROWS, false) => Some(Variant::Four),
        _ => None,
    }
}

/// The register variant that does least work on so many rows and columns. A tile that reaches past the last of them computes
/// in vain; on the other hand an invocation of `own` rows loads one number for each of them and four vectors of the right
/// side at every step, so the more rows it has, the fewer loads there are for each.
fn register(geometry: &MatmulGeometry) -> matmul_register::Variant {
    let cost = |variant: &matmul_register::Variant| {
        let [tile_rows, tile_panels] =
            [variant.tile_rows(), variant.tile_panels()].map(|count| count as usize);
        let panel_tiles = geometry.cols.div_ceil(PANEL).div_ceil(tile_panels);
        geometry.rows_per_rhs().div_ceil(tile_rows) * panel_tiles * (tile_rows * tile_panels / 16 + 4)
    };
    let best = matmul_register::Variant::ALL.iter().copied().min_by_key(cost);
    best.expect("the catalogue should have a variant of each kernel")
}

/// The variant for a few rows against a right side that is not packed.
fn vector(op: &Matmul, geometry: &MatmulGeometry) -> matmul_vector::Variant {
    use matmul_vector::Variant;
    if op.rhs != RhsLayout::Transposed {
        // One of [k][cols] is read best by neighbours on neighbouring columns, on any device; halves as on a GPU.
        return super::gpu::vector(op, geometry);
    }
    let wide = op.lhs == LhsLayout::RowMajor && geometry.depth.is_multiple_of(4);
    match (wide, geometry.rows_per_rhs() == 1) {
        (true, true) => Variant::CpuWide1,
        (true, false) => Variant::CpuWide4,
        (false, true) => Variant::Cpu1,
        (false, false) => Variant::Cpu4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::Candidate;
    use crate::select::lavapipe;
    use crate::tensor::TensorDesc;

    fn geometry(op: &Matmul, lhs: &[usize], rhs: &[usize]) -> MatmulGeometry {
        op.geometry(&TensorDesc::f32(lhs), &TensorDesc::f32(rhs)).expect("the sides should match")
    }

    #[test]
    fn rows_and_columns_decide_the_kernel() {
        let plain = DeviceProfile { subgroups: false, int64: false, ..lavapipe() };
        let narrow = DeviceProfile { int64: false, ..lavapipe() };
        for (profile, lhs, depth, cols, expected) in [
            (&lavapipe(), LhsLayout::RowMajor, [1, 512], 512, "matmul_flat/one_wide"),
            (&lavapipe(), LhsLayout::RowMajor, [1, 516], 512, "matmul_lanes/wide4"),
            (&lavapipe(), LhsLayout::RowMajor, [3, 512], 512, "matmul_lanes/wide4"),
            (&lavapipe(), LhsLayout::RowMajor, [3, 512], 501, "matmul_flat/four_wide"),
            (&lavapipe(), LhsLayout::RowMajor, [100, 800], 500, "matmul_lanes/wide20"),
            (&lavapipe(), LhsLayout::RowMajor, [8, 512], 512, "matmul_lanes/wide8"),
            (&lavapipe(), LhsLayout::RowMajor, [40, 512], 512, "matmul_lanes/wide20"),
            (&narrow, LhsLayout::RowMajor, [100, 800], 500, "matmul_lanes/plain20"),
            (&lavapipe(), LhsLayout::RowMajor, [48, 512], 512, "matmul_lanes/wide16"),
            (&lavapipe(), LhsLayout::RowMajor, [512, 512], 512, "matmul_lanes/wide32"),
            (&narrow, LhsLayout::RowMajor, [512, 512], 512, "matmul_lanes/plain32"),
            (&lavapipe(), LhsLayout::Transposed, [512, 512], 512, "matmul_lanes/wide32"),
            (&lavapipe(), LhsLayout::Transposed, [510, 512], 512, "matmul_register/tall"),
            (&lavapipe(), LhsLayout::RowMajor, [512, 510], 512, "matmul_register/tall"),
            (&lavapipe(), LhsLayout::RowMajor, [512, 512], 510, "matmul_register/tall"),
            (&plain, LhsLayout::RowMajor, [1, 512], 512, "matmul_flat/one"),
            (&plain, LhsLayout::RowMajor, [512, 512], 512, "matmul_register/tall"),
            // Ten classes.
            (&lavapipe(), LhsLayout::RowMajor, [100, 500], 10, "matmul_register/narrow"),
            (&lavapipe(), LhsLayout::RowMajor, [100, 10], 500, "matmul_register/flat16"),
        ] {
            let op = Matmul { lhs, ..Matmul::with_rhs(RhsLayout::Panels { cols }) };
            let [rows, depth] = depth;
            let left = if lhs == LhsLayout::Transposed { [depth, rows] } else { [rows, depth] };
            let geometry = geometry(&op, &left, &[cols.div_ceil(PANEL), depth, PANEL]);
            let kernel = panels(profile, &op, &geometry).name();
            assert_eq!(kernel, expected, "{lhs:?}, {rows} x {depth} by {cols} columns");
        }
    }

    /// The products of VGG-16's Winograd convolutions.
    #[test]
    fn few_columns_leave_the_lanes_to_the_rows() {
        for (rows, depth, cols, packs, expected) in [
            (64, 64, 3136, false, "matmul_lanes/wide32"),
            (128, 128, 784, false, "matmul_lanes/wide32"),
            (256, 256, 200, true, "matmul_lanes_rows/wide32"),
            (512, 512, 56, false, "matmul_lanes/wide32"),
            (512, 512, 16, true, "matmul_lanes_rows/wide16"),
        ] {
            let mut op = Matmul::with_rhs(RhsLayout::Panels { cols });
            let rhs = [36, cols.div_ceil(PANEL), depth, PANEL];
            let plain = geometry(&op, &[36, rows, depth], &rhs);
            assert_eq!(wants_lhs_panels(&lavapipe(), &op, &plain, true), packs, "{rows} x {depth} x {cols}");
            assert!(!wants_lhs_panels(&lavapipe(), &op, &plain, false), "variables are left as they lie");
            if packs {
                op.lhs = LhsLayout::Panels { rows };
            }
            let candidates = super::super::matmul_candidates(&lavapipe(), &op, &plain);
            assert_eq!(candidates[0].name(), expected, "{rows} x {depth} x {cols}");
        }
    }
}
