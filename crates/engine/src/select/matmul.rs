//! Which kernel makes a matrix product: the software adapters' half in `software`, the GPUs' in `gpu`.

mod gpu;
mod software;

use std::borrow::Cow;

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    matmul_flat, matmul_lanes, matmul_lanes_rows, matmul_naive, matmul_register, matmul_shared,
    matmul_vector, matmul_vector_subgroup,
};

use crate::choices::Candidate;
use crate::ops::{LhsLayout, Matmul, MatmulGeometry};

pub(crate) use software::wants_lhs_panels;

/// A kernel of the matmul family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    Flat(matmul_flat::Variant),
    Lanes(matmul_lanes::Variant),
    LanesRows(matmul_lanes_rows::Variant),
    Register(matmul_register::Variant),
    Shared(matmul_shared::Variant),
    Vector(matmul_vector::Variant),
    Subgroup(matmul_vector_subgroup::Variant),
    Naive,
}

/// Products with at most this many rows are matrix-vector products: each weight is read once, whatever the tile.
const FEW_ROWS: usize = 4;

/// The kernels for a product whose right side lies as `op` says, the table's choice first.
pub(crate) fn matmul_candidates(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<MatmulKernel> {
    if matches!(op.lhs, LhsLayout::Panels { .. }) {
        software::both_panels_candidates(profile, geometry)
    } else if op.rhs.is_panels() {
        software::panels_candidates(profile, op, geometry)
    } else if profile.kind.is_software() {
        vec![software::plain(op, geometry)]
    } else {
        gpu::plain_candidates(profile, op, geometry)
    }
}

/// The kernels for a product that is made in parts of its depth, the table's choice first.
pub(crate) fn matmul_parts_candidates(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
    parts: usize,
) -> Vec<MatmulKernel> {
    gpu::parts_candidates(profile, op, geometry, parts)
}

/// In how many parts of its depth a product may be made, the table's choice first.
pub(crate) fn matmul_parts(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
) -> Vec<(&'static str, usize)> {
    let whole = profile.kind.is_software() || geometry.rows_per_rhs() <= FEW_ROWS;
    if whole || geometry.rhs_batched || op.rhs.is_panels() || !op.is_one_product(geometry) {
        return vec![("1", 1)];
    }
    gpu::parts(profile, op, geometry)
}

/// The layouts that the right side of a product may be given, the table's choice first. Halves, and what only a software
/// adapter's naive kernel could read where it lies, have but one.
pub(crate) fn matmul_layouts(
    profile: &DeviceProfile,
    op: &Matmul,
    geometry: &MatmulGeometry,
    constant: bool,
) -> Vec<Layout> {
    let panels = software::wants_panels(profile, op, geometry, constant);
    let close = profile.kind.is_software() && geometry.rows_per_rhs() <= FEW_ROWS && !op.rhs.is_halves();
    let table = if panels { Layout::Panels } else { Layout::Plain };
    super::table_first(table, if close { vec![Layout::Panels, Layout::Plain] } else { vec![] })
}

/// How a weight or the right side of a product lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As it was given.
    Plain,
    /// In panels.
    Panels,
}

impl Candidate for Layout {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Layout::Plain => "plain",
            Layout::Panels => "panels",
        })
    }
}

impl Candidate for MatmulKernel {
    fn name(&self) -> Cow<'static, str> {
        let kernel = match self {
            Self::Flat(variant) => variant.kernel(),
            Self::Lanes(variant) => variant.kernel(),
            Self::LanesRows(variant) => variant.kernel(),
            Self::Register(variant) => variant.kernel(),
            Self::Shared(variant) => variant.kernel(),
            Self::Vector(variant) => variant.kernel(),
            Self::Subgroup(variant) => variant.kernel(),
            Self::Naive => matmul_naive::Variant::Base.kernel(),
        };
        Cow::Owned(kernel.to_string())
    }
}
