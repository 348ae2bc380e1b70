//! Which kernel runs: one readable table from device and shape to variant.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{attention_packed, matmul_register, matmul_shared, matmul_vector};

use crate::ops::{Matmul, MatmulGeometry, RhsLayout};

/// How many invocations share a row in the kernels over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowForm {
    /// One: no barriers.
    Serial,
    /// A workgroup, joined by a tree.
    Tree,
}

/// Rows too short to occupy a workgroup, and all rows on a software adapter, are summed serially.
pub(crate) fn row_form(profile: &DeviceProfile, cols: u32) -> RowForm {
    if profile.kind.is_software() || cols < 32 { RowForm::Serial } else { RowForm::Tree }
}

/// A kernel of the matmul family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    Register(matmul_register::Variant),
    Shared(matmul_shared::Variant),
    Vector(matmul_vector::Variant),
    Naive,
}

/// Products with at most this many rows are matrix-vector products: each weight is read once, whatever the tile.
const FEW_ROWS: usize = 4;

/// The kernel for a product. The register kernel wants a packed right side, which `pack_weights` provides: that pass
/// asks the same question before there is one.
pub(crate) fn matmul(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> MatmulKernel {
    let rows = geometry.rows_per_rhs();
    let register = || {
        use matmul_register::Variant;
        MatmulKernel::Register(if rows < 32 { Variant::Flat } else { Variant::Tall })
    };
    if matches!(op.rhs, RhsLayout::Panels { .. }) {
        return register();
    }
    let software = profile.kind.is_software();
    if rows <= FEW_ROWS {
        return MatmulKernel::Vector(vector(software, op, geometry));
    }
    match software {
        // Packing is a pass over the right side: not worth it for a handful of columns.
        true if geometry.cols < 4 => MatmulKernel::Naive,
        true => register(),
        false if rows < 64 || geometry.cols < 64 => MatmulKernel::Shared(matmul_shared::Variant::T32),
        false => MatmulKernel::Shared(matmul_shared::Variant::T64),
    }
}

fn vector(software: bool, op: &Matmul, geometry: &MatmulGeometry) -> matmul_vector::Variant {
    use matmul_vector::Variant;
    let one = geometry.rows_per_rhs() == 1;
    let along_k = op.rhs == RhsLayout::Transposed;
    // Vectors of four along k, where both sides lie that way.
    let wide = along_k && !op.transpose_lhs && geometry.depth.is_multiple_of(4);
    match (software, along_k, wide, one) {
        (true, _, true, true) => Variant::CpuWide1,
        (true, _, true, false) => Variant::CpuWide4,
        (true, _, false, true) => Variant::Cpu1,
        (true, _, false, false) => Variant::Cpu4,
        (false, _, true, true) => Variant::GpuWide1,
        (false, _, true, false) => Variant::GpuWide4,
        (false, true, false, true) => Variant::Gpu1,
        (false, true, false, false) => Variant::Gpu4,
        (false, false, _, true) => Variant::GpuCols1,
        (false, false, _, false) => Variant::GpuCols4,
    }
}

/// The attention kernel that holds heads of this width in registers, if there is one.
pub(crate) fn attention(profile: &DeviceProfile, head_dim: u32) -> Option<attention_packed::Variant> {
    let _ = profile;
    attention_packed::Variant::ALL.iter().copied().find(|variant| variant.head_dim() == head_dim)
}
