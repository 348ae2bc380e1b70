//! Products on GPUs: tiles in workgroup memory, and a workgroup to a few columns where rows are few.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{matmul_shared, matmul_vector, matmul_vector_subgroup};

use super::super::tiles::{self, Tiles};
use super::{FEW_ROWS, MatmulKernel};
use crate::ops::{LhsLayout, Matmul, MatmulGeometry, RhsLayout};

/// All kernels for a right side that lies as it was given or in halves, the table's choice first.
pub(super) fn plain_candidates(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<MatmulKernel> {
    if geometry.rows_per_rhs() <= FEW_ROWS {
        return vectors(profile, op, geometry);
    }
    parts_candidates(profile, op, geometry, 1)
}

/// The kernels of tiles for a product in parts of its depth, a variant of each size, the table's choice first.
pub(super) fn parts_candidates(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
    parts: usize,
) -> Vec<MatmulKernel> {
    let variants = variants(op, geometry);
    let variants = tiles::fastest_first(profile, variants, parts, |variant| cut(geometry, variant));
    variants.into_iter().map(MatmulKernel::Shared).collect()
}

/// The numbers of parts for a product.
pub(super) fn parts(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<(&'static str, usize)> {
    let outputs = (geometry.rows_per_rhs() * geometry.cols) as u64;
    let tiles: Vec<Tiles> =
        variants(op, geometry).into_iter().map(|variant| cut(geometry, variant)).collect();
    tiles::parts(profile, geometry.depth, outputs, &tiles)
}

/// A variant of each size, the widest of those that can read both sides.
fn variants(op: &Matmul, geometry: &MatmulGeometry) -> Vec<matmul_shared::Variant> {
    let in_fours = geometry.depth.is_multiple_of(4);
    let wide_left = op.lhs == LhsLayout::RowMajor && in_fours;
    let wide_right = op.rhs == RhsLayout::Transposed && in_fours;
    let fits = |variant: &&matmul_shared::Variant| {
        (variant.half() == 1) == op.rhs.is_halves()
            && (wide_left || variant.wide_lhs() == 1)
            && (wide_right || variant.wide_rhs() == 1)
    };
    let mut best: Vec<matmul_shared::Variant> = vec![];
    for &variant in matmul_shared::Variant::ALL.iter().filter(fits) {
        let wide = |variant: matmul_shared::Variant| variant.wide_lhs() + variant.wide_rhs();
        let size = |variant: matmul_shared::Variant| (variant.tile_rows(), variant.tile_cols());
        match best.iter_mut().find(|other| size(**other) == size(variant)) {
            Some(other) if wide(*other) < wide(variant) => *other = variant,
            Some(_) => {}
            None => best.push(variant),
        }
    }
    best
}

/// The tiles that a variant cuts a product into.
fn cut(geometry: &MatmulGeometry, variant: matmul_shared::Variant) -> Tiles {
    let batch = if geometry.rhs_batched { geometry.batch_shape.iter().product() } else { 1 };
    let row_tiles = geometry.rows_per_rhs().div_ceil(variant.tile_rows() as usize);
    let col_tiles = geometry.cols.div_ceil(variant.tile_cols() as usize);
    Tiles {
        count: (batch * row_tiles * col_tiles) as u64,
        sides: [variant.tile_rows(), variant.tile_cols()],
        own: [variant.own_rows(), variant.own_cols()],
        threads: variant.threads(),
        depth: geometry.depth,
    }
}

/// All kernels for a few rows, the table's choice first. Of the variants that read vectors along k there is one that makes
/// four columns in a workgroup instead of sixteen, so that small matrices, such as those of a small decoder, have workgroups
/// for all compute units; and where there are operations across subgroups, one that adds up by these. That one is never
/// the table's choice: no GPU has run it yet.
fn vectors(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> Vec<MatmulKernel> {
    use matmul_vector::Variant;
    let wide = vector(op, geometry);
    let (slim, subgroup) = match wide {
        Variant::GpuWide1 => (Variant::Slim1, matmul_vector_subgroup::Variant::One),
        Variant::GpuWide4 => (Variant::Slim4, matmul_vector_subgroup::Variant::Four),
        Variant::GpuHalfWide1 => (Variant::SlimHalf1, matmul_vector_subgroup::Variant::HalfOne),
        Variant::GpuHalfWide4 => (Variant::SlimHalf4, matmul_vector_subgroup::Variant::HalfFour),
        _ => return vec![MatmulKernel::Vector(wide)],
    };
    let workgroups = geometry.cols.div_ceil(wide.tile_cols() as usize) as u64;
    let mut vectors = [wide, slim].map(MatmulKernel::Vector).to_vec();
    if workgroups < tiles::units(profile.kind) {
        vectors.reverse();
    }
    vectors.extend(profile.subgroups.then_some(MatmulKernel::Subgroup(subgroup)));
    vectors
}

/// The variant for a few rows. The lanes of a workgroup share a column where the right side lies along k, and have a
/// column each where it lies along the columns.
pub(super) fn vector(op: &Matmul, geometry: &MatmulGeometry) -> matmul_vector::Variant {
    use matmul_vector::Variant;
    let one = geometry.rows_per_rhs() == 1;
    if op.rhs.is_halves() {
        // Vectors of eight halves.
        return match (op.lhs == LhsLayout::RowMajor && geometry.depth.is_multiple_of(8), one) {
            (true, true) => Variant::GpuHalfWide1,
            (true, false) => Variant::GpuHalfWide4,
            (false, true) => Variant::GpuHalf1,
            (false, false) => Variant::GpuHalf4,
        };
    }
    // Vectors of four along k, where both sides lie that way.
    let wide = op.lhs == LhsLayout::RowMajor && geometry.depth.is_multiple_of(4);
    match (op.rhs == RhsLayout::Transposed, wide, one) {
        (false, _, true) => Variant::GpuCols1,
        (false, _, false) => Variant::GpuCols4,
        (true, true, true) => Variant::GpuWide1,
        (true, true, false) => Variant::GpuWide4,
        (true, false, true) => Variant::Gpu1,
        (true, false, false) => Variant::Gpu4,
    }
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Limits};

    use super::*;
    use crate::tensor::TensorDesc;

    fn chosen(kind: DeviceKind, op: Matmul, lhs: &[usize], rhs: &[usize]) -> String {
        let profile = DeviceProfile::made_up(kind, Limits::BASELINE);
        let geometry =
            op.geometry(&TensorDesc::f32(lhs), &TensorDesc::f32(rhs)).expect("the sides should fit");
        let best = plain_candidates(&profile, &op, &geometry)[0];
        crate::choices::Candidate::name(&best).into_owned()
    }

    /// The shapes of the networks that there are: large tiles where there are enough to fill the device.
    #[test]
    fn tiles_are_as_large_as_the_device_can_fill() {
        let (plain, linear) = (Matmul::new(), Matmul::with_rhs(RhsLayout::Transposed));
        for (op, lhs, rhs, discrete, integrated) in [
            (plain, &[4096, 4096][..], &[4096, 4096][..], "t128_left", "t128_left"),
            (plain, &[1024, 1024], &[1024, 1024], "t64_left", "t128_left"),
            (linear, &[512, 512], &[512, 512], "t32_wide", "t64_wide"),
            // MiniLM over 64 passages of 121 tokens, and over one.
            (linear, &[7744, 384], &[1536, 384], "t128_wide", "t128_wide"),
            (linear, &[121, 384], &[384, 384], "t32_wide", "t32_wide"),
            // The first linear layer of VGG-16 in batches.
            (linear, &[8, 25_088], &[4096, 25_088], "t32_wide", "t16x64_wide"),
            (linear, &[32, 25_088], &[4096, 25_088], "t32_wide", "t32_wide"),
            // Winograd products at 14x14 and at 56x56.
            (plain, &[36, 512, 512], &[36, 512, 16], "t64x16_left", "t64x16_left"),
            (plain, &[36, 256, 256], &[36, 256, 196], "t128_left", "t128_left"),
            (plain, &[6, 7], &[7, 9], "t32", "t32"),
        ] {
            let both = [DeviceKind::Discrete, DeviceKind::Integrated].map(|kind| chosen(kind, op, lhs, rhs));
            let expected = [discrete, integrated].map(|name| format!("matmul_shared/{name}"));
            assert_eq!(both, expected, "{lhs:?} by {rhs:?}");
        }
    }

    /// The products of a step of flan-t5-small, and the last linear layer of VGG-16.
    #[test]
    fn few_rows_make_workgroups_for_all_units() {
        let linear = Matmul::with_rhs(RhsLayout::Transposed);
        for (rows, depth, cols, discrete, integrated) in [
            (1, 512, 512, "slim_1", "gpu_wide_1"),
            (4, 512, 1024, "slim_4", "gpu_wide_4"),
            (1, 512, 32_128, "gpu_wide_1", "gpu_wide_1"),
            (1, 4096, 1000, "slim_1", "gpu_wide_1"),
            (1, 511, 512, "gpu_1", "gpu_1"),
        ] {
            let both = [DeviceKind::Discrete, DeviceKind::Integrated]
                .map(|kind| chosen(kind, linear, &[rows, depth], &[cols, depth]));
            let expected = [discrete, integrated].map(|name| format!("matmul_vector/{name}"));
            assert_eq!(both, expected, "{rows}x{depth} by {depth}x{cols}");
        }
    }

    /// A kernel that needs more than the baseline is a candidate where the device has that, and never the first.
    #[test]
    fn subgroups_are_for_the_tuner() {
        let linear = Matmul::with_rhs(RhsLayout::Transposed);
        let geometry = linear.geometry(&TensorDesc::f32([1, 512]), &TensorDesc::f32([512, 512]));
        let geometry = geometry.expect("the sides should fit");
        for subgroups in [false, true] {
            let profile =
                DeviceProfile { subgroups, ..DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE) };
            let candidates = plain_candidates(&profile, &linear, &geometry);
            let at = candidates.iter().position(|kernel| matches!(kernel, MatmulKernel::Subgroup(_)));
            assert_eq!(at, subgroups.then_some(2));
        }
    }
}
