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

/// The most depth of a row that comes in parts: its sum lies in workgroup memory.
pub(crate) const LARGEST_SUMMED: usize = 1024;

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
    /// Of an attention whose workgroups go on to the product that leads back into the row: that one's weight lies behind the
    /// other, which has `share` columns for each that is mixed. Both together are of two dimensions, rows of a panel.
    pub(crate) fn with_back(
        [row, norm, weight]: [&TensorDesc; 3],
        share: usize,
    ) -> Result<RowWeight, Mismatch> {
        let depth = row.last();
        // As many rows for the product back as for a share of the others.
        let rows = weight.rows() / (share + 1) * share;
        let mut own = weight.clone();
        if depth == 0 || !weight.rows().is_multiple_of(share + 1) || !rows.is_multiple_of(depth) {
            return Err(Mismatch::new(
                "weight",
                format!("rows for {share} shares of columns and one back"),
                weight,
            ));
        }
        own.shape = vec![rows / depth, depth, weight.last()];
        Self::of([row, norm, &own])
    }

    /// Checks the parts that a row comes in, where there are any, and says how many.
    pub(crate) fn parts(row: &TensorDesc, parts: Option<&TensorDesc>) -> Result<usize, Mismatch> {
        let Some(parts) = parts else { return Ok(0) };
        expect::numbers("parts", parts, &[parts.rows(), row.last()])?;
        if row.last() > LARGEST_SUMMED {
            return Err(Mismatch::new("parts", format!("at most {LARGEST_SUMMED} columns"), parts));
        }
        Ok(parts.rows())
    }

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

    /// Multiply-adds of all products that read the weight.
    pub(crate) fn multiply_adds(weight: &TensorDesc) -> u64 {
        let numbers = if weight.dtype == DType::U32 { 2 } else { 1 };
        weight.elements() as u64 * numbers
    }

    /// Checks the iterations of an op that is lowered, of which an invocation makes so many panels, one after the other,
    /// and which `others` loop iterations follow.
    pub(crate) fn check_iterations(self, lowering: &Lowering<'_>, panels: u64, others: u64) -> Result<()> {
        let product = looped((self.depth / DEPTH_STEP) as u64, 0);
        // The parts of the row, and the panels of the product back.
        let around = 2 * looped((self.depth / (8 * PANEL)) as u64 + 1, 0);
        lowering.check_iterations(panels * product + around + others)
    }
}
