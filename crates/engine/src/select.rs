//! Which kernel runs: one readable table from device and shape to variant. Where several may be the fastest, it lists them,
//! its own choice first.

mod conv2d;
mod conv2d_lanes;
mod conv2d_weight_grad;
mod conv_transpose2d;
mod matmul;
mod tiles;
mod winograd;

use kiln_gpu::DeviceProfile;
use kiln_kernels::{
    attention_grad_packed, attention_grad_sums_packed, attention_packed, attention_row, cached_attention_row,
    pool2d_max_grad_pairs, pool2d_max_pairs, pool2d_row,
};

use crate::window::Axis;

pub(crate) use conv_transpose2d::{ConvTransposeKernel, conv_transpose2d, wants_conv_transpose_panels};
pub(crate) use conv2d::{
    ConvKernel, Sharing, conv2d_candidates, conv2d_parts, conv2d_parts_candidates, wants_conv_panels,
};
pub(crate) use conv2d_lanes::conv2d_by_taps;
pub(crate) use conv2d_weight_grad::{Strips, WeightGradKernel, conv2d_weight_grad, weight_grad_parts};
pub(crate) use matmul::{
    Layout, MatmulKernel, matmul_candidates, matmul_layouts, matmul_parts, matmul_parts_candidates,
    wants_lhs_panels,
};
pub(crate) use winograd::{WinogradInputKernel, convolutions, winograd_input};

/// The table's choice, and after it what else there is.
fn table_first<C: PartialEq>(table: C, all: impl IntoIterator<Item = C>) -> Vec<C> {
    let mut candidates = vec![table];
    candidates.extend(all.into_iter().filter(|other| *other != candidates[0]).collect::<Vec<_>>());
    candidates
}

/// The lanes of a vector where [`shares_by_subgroup`]: a workgroup is one.
const LANES: usize = 8;

/// Whether workgroups of eight invocations are subgroups of a software adapter: what all of them need is loaded by all of
/// them together then, and handed on by shuffles, each of which is one instruction.
pub(crate) fn shares_by_subgroup(profile: &DeviceProfile) -> bool {
    profile.kind.is_software() && profile.subgroups && profile.subgroup == (LANES as u32, LANES as u32)
}

/// A software adapter whose subgroups are eight lanes, with 64-bit integers.
#[cfg(test)]
pub(crate) fn lavapipe() -> DeviceProfile {
    use kiln_gpu::{DeviceKind, Limits};
    let made_up = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
    DeviceProfile { subgroup: (8, 8), subgroups: true, int64: true, ..made_up }
}

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

/// Loop iterations in which an attention joins what the invocations of a workgroup have found: fewer than this.
pub(crate) const JOINS: u64 = 1000;

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

/// The kernel for the maxima of windows of 2x2 that lie side by side and cover an input of whole vectors, on a software
/// adapter: of the variants the wider, where rows are made of its groups.
pub(crate) fn pool2d_pairs(profile: &DeviceProfile, axes: &[Axis; 2]) -> Option<pool2d_max_pairs::Variant> {
    use pool2d_max_pairs::Variant;
    let halves = |axis: &Axis| {
        let window = (axis.kernel, axis.stride, axis.dilation) == (2, 2, 1);
        window && axis.padded() == axis.input && axis.input.is_multiple_of(2)
    };
    let fits = profile.kind.is_software() && axes.iter().all(halves);
    [Variant::Wide, Variant::Four, Variant::Two].into_iter().find(|variant| {
        let words = variant.bits() == 32 || profile.int64;
        fits && words && axes[1].input.is_multiple_of(2 * variant.windows() as usize)
    })
}

/// How many such windows the gradient makes at once, in rows of so many elements, an even number: more than two on software
/// adapters alone, where a load costs about the same whatever its width.
pub(crate) fn pool2d_grad_pairs(profile: &DeviceProfile, width: usize) -> pool2d_max_grad_pairs::Variant {
    use pool2d_max_grad_pairs::Variant;
    match width {
        _ if width.is_multiple_of(8) && profile.kind.is_software() && profile.int64 => Variant::Four,
        _ if width.is_multiple_of(4) => Variant::Two,
        _ => Variant::One,
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
    /// The result of an attention, by loads of four numbers.
    attention_of_fours => attention_packed,
    /// Its gradients by q, k and v.
    attention_grad => attention_grad_packed,
    /// What those need of each row.
    attention_grad_sums => attention_grad_sums_packed,
    /// The result of a step of decoding, by loads of four numbers.
    cached_attention_of_fours => cached_attention_row and GpuH128 for (false, 128),
}

/// The kernel of an attention over packed sequences, for widths that there are; where a software adapter has 64-bit
/// integers, the one that loads eight numbers at once.
pub(crate) fn attention(profile: &DeviceProfile, head_dim: u32) -> Option<attention_packed::Variant> {
    use attention_packed::Variant;
    let variant = attention_of_fours(profile, head_dim)?;
    Some(match (profile.int64, variant) {
        (true, Variant::CpuH16) => Variant::CpuH16Wide,
        (true, Variant::CpuH32) => Variant::CpuH32Wide,
        (true, Variant::CpuH64) => Variant::CpuH64Wide,
        (true, Variant::CpuH128) => Variant::CpuH128Wide,
        _ => variant,
    })
}

/// The kernel of a step of decoding; likewise.
pub(crate) fn cached_attention(
    profile: &DeviceProfile,
    head_dim: u32,
) -> Option<cached_attention_row::Variant> {
    use cached_attention_row::Variant;
    let variant = cached_attention_of_fours(profile, head_dim)?;
    Some(match (profile.int64, variant) {
        (true, Variant::CpuH64) => Variant::CpuH64Wide,
        (true, Variant::CpuH128) => Variant::CpuH128Wide,
        _ => variant,
    })
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
        64 if profile.int64 => &[Variant::CpuH641Wide, Variant::CpuH644Wide],
        128 if profile.int64 => &[Variant::CpuH1281Wide],
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
    fn windows_go_by_as_many_as_a_row_is_made_of() {
        let options = |width| {
            let padding = crate::window::Padding::Valid;
            Axis::pair([2; 2], [2; 2], padding, [1; 2], [6, width]).expect("the windows should fit")
        };
        let narrow = DeviceProfile { int64: false, ..lavapipe() };
        let gpu = DeviceProfile { kind: kiln_gpu::DeviceKind::Discrete, ..lavapipe() };
        use pool2d_max_grad_pairs::Variant as Grad;
        use pool2d_max_pairs::Variant as Max;
        for (profile, width, max, grad) in [
            (lavapipe(), 24, Some(Max::Wide), Grad::Four),
            (narrow.clone(), 24, Some(Max::Four), Grad::Two),
            (lavapipe(), 12, Some(Max::Two), Grad::Two),
            (lavapipe(), 10, None, Grad::One),
            (gpu, 24, None, Grad::Two),
        ] {
            assert_eq!(pool2d_pairs(&profile, &options(width)), max, "{width}, {profile:?}");
            assert_eq!(pool2d_grad_pairs(&profile, width), grad, "{width}, {profile:?}");
        }
    }

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
