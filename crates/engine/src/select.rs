//! Which kernel runs: one readable table from device and shape to variant.

mod conv2d;
mod conv2d_weight_grad;
mod conv_transpose2d;

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    attention_grad_packed, attention_grad_sums_packed, attention_packed, attention_row, cached_attention_row,
    matmul_flat, matmul_register, matmul_shared, matmul_vector, pool2d_row,
};

use crate::ops::{Matmul, MatmulGeometry, RhsLayout};
use crate::window::Axis;

pub(crate) use conv_transpose2d::{ConvTransposeKernel, conv_transpose2d, wants_conv_transpose_panels};
pub(crate) use conv2d::{ConvKernel, Sharing, conv2d, wants_conv_panels};
pub(crate) use conv2d_weight_grad::{Strips, WeightGradKernel, conv2d_weight_grad, weight_grad_parts};

/// How many invocations share a row in the kernels over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowForm {
    /// One: no barriers.
    Serial,
    /// A workgroup, joined by a tree.
    Tree,
}

/// Mesa's llvmpipe ends an invocation after 65,535 loop iterations, those of all its loops together, without a word:
/// the results are wrong. Loops of constant length are unrolled and do not count. Some room is left for epilogues.
pub(crate) const SOFTWARE_ITERATIONS: u64 = 60_000;

/// What a loop of `n` iterations takes of that number, where each takes `body` besides: the look that ends it counts too.
pub(crate) fn looped(n: u64, body: u64) -> u64 {
    n * (1 + body) + 1
}

/// Rows too short to occupy a workgroup, and on a software adapter all whose `iterations` one invocation may make,
/// are summed serially.
pub(crate) fn row_form(profile: &DeviceProfile, cols: u32, iterations: u64) -> RowForm {
    let serial = if profile.kind.is_software() { iterations <= SOFTWARE_ITERATIONS } else { cols < 32 };
    if serial { RowForm::Serial } else { RowForm::Tree }
}

/// How the kernels over planes of `[n][channels][inner]` give the elements of a plane to invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaneForm {
    /// A run of neighbours to one.
    Narrow,
    /// Neighbours to a workgroup, and all of it to one plane.
    Wide,
}

/// Planes that would leave most of a workgroup idle are narrow. So are all on a software adapter, where neighbours that
/// read neighbouring addresses gain nothing, and an invocation that makes many elements saves what each costs to start:
/// a quarter of the time for planes of 112x112, three quarters for 7x7.
pub(crate) fn plane_form(profile: &DeviceProfile, inner: u32) -> PlaneForm {
    if profile.kind.is_software() || inner < 32 { PlaneForm::Narrow } else { PlaneForm::Wide }
}

/// A kernel of the matmul family in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    Flat(matmul_flat::Variant),
    Register(matmul_register::Variant),
    Shared(matmul_shared::Variant),
    Vector(matmul_vector::Variant),
    Naive,
}

/// Products with at most this many rows are matrix-vector products: each weight is read once, whatever the tile.
const FEW_ROWS: usize = 4;

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

/// The kernel for a product whose right side lies as `op` says.
pub(crate) fn matmul(profile: &DeviceProfile, op: &Matmul, geometry: &MatmulGeometry) -> MatmulKernel {
    let rows = geometry.rows_per_rhs();
    match (op.rhs, profile.kind.is_software()) {
        (RhsLayout::Panels { .. } | RhsLayout::HalfPanels { .. }, _) => match flat(op, geometry) {
            Some(variant) => MatmulKernel::Flat(variant),
            None => MatmulKernel::Register(register(rows)),
        },
        (_, software) if rows <= FEW_ROWS => MatmulKernel::Vector(vector(software, op, geometry)),
        (rhs, true) if !rhs.is_halves() => MatmulKernel::Naive,
        _ if rows < 64 || geometry.cols < 64 => MatmulKernel::Shared(matmul_shared::Variant::T32),
        _ => MatmulKernel::Shared(matmul_shared::Variant::T64),
    }
}

/// The kernel for few rows against panels, where the left side can be read in vectors of four along k.
fn flat(op: &Matmul, geometry: &MatmulGeometry) -> Option<matmul_flat::Variant> {
    let in_fours = !op.transpose_lhs && geometry.depth.is_multiple_of(4);
    match geometry.rows_per_rhs() {
        1 if in_fours => Some(matmul_flat::Variant::One),
        2..=FEW_ROWS if in_fours => Some(matmul_flat::Variant::Four),
        _ => None,
    }
}

/// The register variant that does least work on so many rows. A tile that reaches past the last row computes in vain;
/// on the other hand an invocation of `own` rows loads one number for each of them and four vectors of the right side
/// at every step, so the more rows it has, the fewer loads there are for each.
fn register(rows: usize) -> matmul_register::Variant {
    let cost = |variant: &matmul_register::Variant| {
        let tile = variant.tile_rows() as usize;
        let own = (variant.tile_rows() * variant.tile_panels() / 16) as usize;
        rows.next_multiple_of(tile) * (own + 4) * 1000 / own
    };
    let best = matmul_register::Variant::ALL.iter().copied().min_by_key(cost);
    best.expect("the catalogue should have a variant of each kernel")
}

fn vector(software: bool, op: &Matmul, geometry: &MatmulGeometry) -> matmul_vector::Variant {
    use matmul_vector::Variant;
    let one = geometry.rows_per_rhs() == 1;
    if op.rhs.is_halves() {
        // Vectors of eight halves.
        return match (!op.transpose_lhs && geometry.depth.is_multiple_of(8), one) {
            (true, true) => Variant::GpuHalfWide1,
            (true, false) => Variant::GpuHalfWide4,
            (false, true) => Variant::GpuHalf1,
            (false, false) => Variant::GpuHalf4,
        };
    }
    let along_k = op.rhs == RhsLayout::Transposed;
    // Vectors of four along k, where both sides lie that way.
    let wide = along_k && !op.transpose_lhs && geometry.depth.is_multiple_of(4);
    match (along_k, wide, software, one) {
        // A right side of [k][cols] is read best by neighbours on neighbouring columns, on any device.
        (false, _, _, true) => Variant::GpuCols1,
        (false, _, _, false) => Variant::GpuCols4,
        (true, true, true, true) => Variant::CpuWide1,
        (true, true, true, false) => Variant::CpuWide4,
        (true, false, true, true) => Variant::Cpu1,
        (true, false, true, false) => Variant::Cpu4,
        (true, true, false, true) => Variant::GpuWide1,
        (true, true, false, false) => Variant::GpuWide4,
        (true, false, false, true) => Variant::Gpu1,
        (true, false, false, false) => Variant::Gpu4,
    }
}

/// The kernel that pools several neighbours of a row from the same columns, where windows overlap or touch and their
/// columns fit its registers: the variant that loads least for a row of so many outputs. A GPU's caches do the same.
pub(crate) fn pool2d_row(
    profile: &DeviceProfile,
    width: &Axis,
    outputs: usize,
) -> Option<pool2d_row::Variant> {
    if !profile.kind.is_software() || width.dilation > 1 || width.stride > width.kernel {
        return None;
    }
    let columns = |variant: &pool2d_row::Variant| {
        (variant.outputs() as usize - 1).saturating_mul(width.stride).saturating_add(width.kernel)
    };
    let fits = |variant: &pool2d_row::Variant| columns(variant) <= variant.columns() as usize;
    // What an invocation does besides its loads takes about as long as four of them.
    let cost =
        |variant: &pool2d_row::Variant| outputs.div_ceil(variant.outputs() as usize) * (columns(variant) + 4);
    pool2d_row::Variant::ALL.iter().copied().filter(fits).min_by_key(cost)
}

/// The attention kernels that hold heads of a width in registers, for the widths that there are.
macro_rules! by_head_dim {
    ($($(#[$doc:meta])* $name:ident => $kernel:ident $(and $own:ident for $of:pat)?,)*) => {
        $($(#[$doc])*
        pub(crate) fn $name(profile: &DeviceProfile, head_dim: u32) -> Option<$kernel::Variant> {
            use $kernel::Variant;
            match (profile.kind.is_software(), head_dim) {
                (true, 16) => Some(Variant::CpuH16),
                (true, 32) => Some(Variant::CpuH32),
                (true, 64) => Some(Variant::CpuH64),
                (true, 128) => Some(Variant::CpuH128),
                (false, 16) => Some(Variant::GpuH16),
                (false, 32) => Some(Variant::GpuH32),
                (false, 64) => Some(Variant::GpuH64),
                $($of => Some(Variant::$own),)?
                _ => None,
            }
        })*
    };
}

by_head_dim! {
    /// The result of an attention.
    attention => attention_packed,
    /// Its gradients by q, k and v.
    attention_grad => attention_grad_packed,
    /// What those need of each row.
    attention_grad_sums => attention_grad_sums_packed,
    /// The result of a step of decoding.
    cached_attention => cached_attention_row and GpuH128 for (false, 128),
}

/// The kernel of an attention of few tokens, as in decoding: a workgroup of it shares the rows that a token sees.
pub(crate) fn attention_row(
    profile: &DeviceProfile,
    tokens: u32,
    kv_tokens: u32,
    heads: u32,
    head_dim: u32,
) -> Option<attention_row::Variant> {
    use attention_row::Variant;
    if !profile.kind.is_software() {
        // Any more would fill a GPU with an invocation each.
        const FEW: u32 = 32;
        return match head_dim {
            _ if tokens > FEW => None,
            16 => Some(Variant::GpuH161),
            32 => Some(Variant::GpuH321),
            64 => Some(Variant::GpuH641),
            128 => Some(Variant::GpuH1281),
            _ => None,
        };
    }
    let variants: &[Variant] = match head_dim {
        16 => &[Variant::CpuH161],
        32 => &[Variant::CpuH321],
        64 => &[Variant::CpuH641, Variant::CpuH644],
        128 => &[Variant::CpuH1281],
        _ => return None,
    };
    // The work of one core, of two, in rows that an invocation loads; each takes longer for each query that it serves.
    let cost = |invocations: u32, rows: u32, queries: u32, own: u32| {
        let rows = u64::from(rows) * u64::from(5 + queries) / 6;
        u64::from(invocations.div_ceil(2 * 8)) * (rows + u64::from(own))
    };
    // To open a query and to join what was found about it takes as long as two rows.
    let row = |variant: &Variant| {
        let queries = variant.queries();
        cost(8 * heads * tokens.div_ceil(queries), kv_tokens.div_ceil(8), queries, 2 * queries)
    };
    let packed = attention(profile, head_dim).map(|variant| {
        let queries = variant.queries();
        cost(heads * tokens.div_ceil(queries), kv_tokens, queries, queries)
    });
    let best = variants.iter().copied().min_by_key(row)?;
    packed.is_none_or(|packed| row(&best) < packed).then_some(best)
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Limits};

    use super::*;

    #[test]
    fn tokens_that_share_their_keys_are_few() {
        use attention_row::Variant;
        let [cpu, gpu] = [DeviceKind::Cpu, DeviceKind::Discrete]
            .map(|kind| DeviceProfile::made_up(kind, Limits::BASELINE));
        // A step of flan-t5-small, alone, with beams and in a batch; its encoder; MiniLM on a few words.
        for (tokens, kv_tokens, heads, head_dim, on_cpu, on_gpu) in [
            (1, 512, 6, 64, Some(Variant::CpuH641), Some(Variant::GpuH641)),
            (4, 512, 6, 64, Some(Variant::CpuH644), Some(Variant::GpuH641)),
            (16, 2048, 6, 64, Some(Variant::CpuH644), Some(Variant::GpuH641)),
            (512, 512, 6, 64, None, None),
            (32, 32, 12, 32, None, Some(Variant::GpuH321)),
            (1, 512, 6, 24, None, None),
        ] {
            let chosen = |profile| attention_row(profile, tokens, kv_tokens, heads, head_dim);
            assert_eq!((chosen(&cpu), chosen(&gpu)), (on_cpu, on_gpu), "{tokens} tokens on {kv_tokens}");
        }
    }
}
