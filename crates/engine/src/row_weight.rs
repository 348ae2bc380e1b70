//! The normed row and the weight of the products in a decoder's step, as its kernels read them.

use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::{PANEL, expect};
use crate::select::looped;
use crate::tensor::{DType, TensorDesc};

/// The depth that a subgroup reads at once: four numbers to each of its eight invocations.
pub(crate) const DEPTH_STEP: usize = 32;

/// The most depth that the kernels take: an invocation makes up to six products with a row, one after the other.
pub(crate) const LARGEST_DEPTH: usize = 1 << 18;

/// Loop iterations in which an attention joins what the invocations of a workgroup have found: fewer than this.
pub(crate) const JOINS: u64 = 1000;

/// What the first three inputs of such an op are: a row, f32 `[1][depth]`; the norm's weight, f32 `[depth]`; and the weight
/// of the product in panels of eight columns, f32 `[panels][depth][8]`, which [`PackPanels`](crate::ops::PackPanels) makes,
/// or u32 `[panels][depth][4]` of halves, which [`PackHalfPanels`](crate::ops::PackHalfPanels) makes. No panel is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowWeight {
    pub(crate) depth: usize,
    pub(crate) cols: usize,
    /// Whether two columns lie in a word.
    pub(crate) half: bool,
}

impl RowWeight {
    pub(crate) fn of([row, norm, weight]: [&TensorDesc; 3]) -> Result<RowWeight, Mismatch> {
        let depth = row.last();
        expect::numbers("row", row, &[1, depth])?;
        if !depth.is_multiple_of(DEPTH_STEP) {
            return Err(Mismatch::new("row", format!("a multiple of {DEPTH_STEP} elements"), row));
        }
        expect::numbers("norm", norm, &[depth])?;
        let half = weight.dtype == DType::U32;
        let words = if half { PANEL / 2 } else { PANEL };
        expect::shape("weight", weight, &[weight.rows(), depth, words])?;
        Ok(RowWeight { depth, cols: weight.rows() * PANEL, half })
    }

    /// Multiply-adds of the product, with those of no other part.
    pub(crate) fn multiply_adds(inputs: &[&TensorDesc]) -> u64 {
        let weight = Self::of([inputs[0], inputs[1], inputs[2]]);
        weight.map_or(0, |weight| weight.depth as u64 * weight.cols as u64)
    }

    /// The weight of an op that is lowered, of which an invocation makes so many panels, one after the other, and which
    /// `others` loop iterations follow.
    pub(crate) fn lower(lowering: &Lowering<'_>, panels: u64, others: u64) -> Result<RowWeight> {
        let weight = Self::of([0, 1, 2].map(|index| lowering.input(index).desc))
            .map_err(|mismatch| mismatch.at(lowering.op, lowering.path))?;
        let product = looped((weight.depth / DEPTH_STEP) as u64, 0);
        lowering.check_iterations(panels * product + others)?;
        Ok(weight)
    }
}
