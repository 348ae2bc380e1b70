//! The normed row and the weight of the products in a decoder's step, as its kernels read them.

use crate::error::Mismatch;
use crate::ops::{PANEL, expect};
use crate::select::looped;
use crate::tensor::{DType, TensorDesc};

/// The depth that a subgroup reads at once: four numbers to each of its eight invocations.
pub(crate) const DEPTH_STEP: usize = 32;

/// The most depth that the kernels take: an invocation makes up to six products with a row, one after the other.
pub(crate) const LARGEST_DEPTH: usize = 1 << 18;

/// The most depth of a row that comes in parts: its sum lies in workgroup memory.
pub(crate) const LARGEST_SUMMED: usize = 1024;

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
        expect::rank("weight", weight, 2)?;
        let depth = row.last();
        // As many rows for the product back as for each share of the others.
        let unit = (share + 1) * depth;
        if depth == 0 || !weight.rows().is_multiple_of(unit) {
            return Err(Mismatch::new("weight", format!("a multiple of {unit} rows"), weight));
        }
        let mut own = weight.clone();
        own.shape = vec![weight.rows() / unit * share, depth, weight.last()];
        Self::of([row, norm, &own])
    }

    /// Checks the parts that are added to a row, at most one tensor `[count][depth]`, and says how many they are.
    pub(crate) fn addends(row: &TensorDesc, parts: &[&TensorDesc]) -> Result<usize, Mismatch> {
        let parts = match parts {
            [] => return Ok(0),
            [parts] => parts,
            more => return Err(Mismatch::new("tensors of parts", "at most 1", more.len())),
        };
        expect::numbers("parts", parts, &[parts.rows(), row.last()])?;
        if row.last() > LARGEST_SUMMED {
            return Err(Mismatch::new("parts", format!("at most {LARGEST_SUMMED} columns"), parts));
        }
        Ok(parts.rows())
    }

    /// The weight of a product alone.
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

    /// Loop iterations for so many panels, one after the other.
    pub(crate) fn iterations(self, panels: u64) -> u64 {
        panels * looped((self.depth / DEPTH_STEP) as u64, 0)
    }

    /// Those for the sum of the row and so many parts.
    pub(crate) fn iterations_of_parts(self, addends: u32) -> u64 {
        if addends == 0 { 0 } else { looped(self.turns(), looped(u64::from(addends), 0)) }
    }

    /// Those for the product back, if there is one.
    pub(crate) fn iterations_back(self, back: bool) -> u64 {
        if back { looped(self.turns(), 0) } else { 0 }
    }

    /// In how many turns a workgroup of eight has made all eights of a row.
    fn turns(self) -> u64 {
        self.depth.div_ceil(8 * PANEL) as u64
    }
}
