//! Matrix products, with bias, activation and residual in the same kernel.

mod lower;

use super::{Epilogue, OpRules, PANEL, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// How the left side of a product lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LhsLayout {
    /// `[..][rows][depth]`.
    RowMajor,
    /// `[..][depth][rows]`.
    Transposed,
    /// `[..][panels][depth][8]`, made by [`PackPanels`](super::PackPanels) as if rows were columns. Only a software adapter
    /// whose subgroups are eight lanes reads it, together with a right side in panels of f32, a depth in fours and columns
    /// in eights.
    Panels {
        /// Rows that hold data; the last panel is padded.
        rows: usize,
    },
}

/// How the right side of a product lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RhsLayout {
    /// `[..][depth][cols]`.
    RowMajor,
    /// `[..][cols][depth]`: a linear layer's weight. A large one is split over its columns.
    Transposed,
    /// u32 `[..][cols][depth / 2]`, made by [`PackHalf`](super::PackHalf): two halves along the depth in a word. They are
    /// widened exactly, but that a driver may take those below 2^-14 for zero.
    TransposedHalves,
    /// `[..][panels][depth][8]`, made by [`PackPanels`](super::PackPanels).
    Panels {
        /// Columns that hold data; the last panel is padded.
        cols: usize,
    },
    /// u32 `[..][panels][depth][4]`, made by [`PackHalfPanels`](super::PackHalfPanels).
    HalfPanels {
        /// Columns that hold data; the last panel is padded.
        cols: usize,
    },
}

impl RhsLayout {
    /// Whether the right side lies in panels of columns.
    pub fn is_panels(self) -> bool {
        matches!(self, RhsLayout::Panels { .. } | RhsLayout::HalfPanels { .. })
    }

    /// Whether it is of halves, two in a word.
    pub fn is_halves(self) -> bool {
        matches!(self, RhsLayout::TransposedHalves | RhsLayout::HalfPanels { .. })
    }

    /// The columns of a row of it, as tensors are cut.
    fn cols_per_row(self) -> usize {
        if self.is_panels() { PANEL } else { 1 }
    }
}

/// `lhs rhs` over the last two dimensions, with an [`Epilogue`] by columns: `torch.matmul`, or
/// `torch.nn.functional.linear` where the right side is transposed.
///
/// Batch dimensions are equal on both sides, or absent on one. Inputs are left, right, then those of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matmul {
    /// Layout of the left side.
    pub lhs: LhsLayout,
    /// Layout of the right side.
    pub rhs: RhsLayout,
    /// What is done with the sums.
    pub epilogue: Epilogue,
}

impl Matmul {
    /// A plain product of row-major sides.
    pub fn new() -> Self {
        Self { lhs: LhsLayout::RowMajor, rhs: RhsLayout::RowMajor, epilogue: Epilogue::default() }
    }

    /// A product with a right side of the given layout.
    pub fn with_rhs(rhs: RhsLayout) -> Self {
        Self { rhs, ..Self::new() }
    }

    /// Sizes of the product, from its two sides.
    pub(crate) fn geometry(&self, lhs: &TensorDesc, rhs: &TensorDesc) -> Result<Geometry, Mismatch> {
        let lhs_core = if matches!(self.lhs, LhsLayout::Panels { .. }) { 3 } else { 2 };
        let rhs_core = if self.rhs.is_panels() { 3 } else { 2 };
        if lhs.rank() < lhs_core {
            return Err(Mismatch::new("left side rank", format!("at least {lhs_core}"), lhs));
        }
        if rhs.rank() < rhs_core {
            return Err(Mismatch::new("right side rank", format!("at least {rhs_core}"), rhs));
        }
        let (lhs_batch, lhs_matrix) = lhs.shape.split_at(lhs.rank() - lhs_core);
        let (rhs_batch, rhs_matrix) = rhs.shape.split_at(rhs.rank() - rhs_core);
        if !lhs_batch.is_empty() && !rhs_batch.is_empty() && lhs_batch != rhs_batch {
            return Err(Mismatch::new("right side batch", format!("{lhs_batch:?} or none"), rhs));
        }
        let (rows, depth) = match self.lhs {
            LhsLayout::RowMajor => (lhs_matrix[0], lhs_matrix[1]),
            LhsLayout::Transposed => (lhs_matrix[1], lhs_matrix[0]),
            LhsLayout::Panels { rows } => {
                let shape = [lhs_batch, &[rows.div_ceil(PANEL), lhs_matrix[1], PANEL]].concat();
                expect::shape("packed left side", lhs, &shape)?;
                if !matches!(self.rhs, RhsLayout::Panels { .. }) {
                    return Err(Mismatch::new("right side", "panels of f32, as the left side's", rhs));
                }
                (rows, lhs_matrix[1])
            }
        };
        let (rhs_depth, cols) = match self.rhs {
            RhsLayout::RowMajor => (rhs_matrix[0], rhs_matrix[1]),
            RhsLayout::Transposed => (rhs_matrix[1], rhs_matrix[0]),
            RhsLayout::TransposedHalves => (2 * rhs_matrix[1], rhs_matrix[0]),
            RhsLayout::Panels { cols } | RhsLayout::HalfPanels { cols } => {
                let words = if self.rhs.is_halves() { PANEL / 2 } else { PANEL };
                expect::shape(
                    "packed right side",
                    rhs,
                    &[rhs_batch, &[cols.div_ceil(PANEL), rhs_matrix[1], words]].concat(),
                )?;
                (rhs_matrix[1], cols)
            }
        };
        let in_whole_panels = depth.is_multiple_of(4) && cols.is_multiple_of(PANEL);
        if matches!(self.lhs, LhsLayout::Panels { .. }) && !in_whole_panels {
            return Err(Mismatch::new("right side", "a depth in fours and columns in eights", rhs));
        }
        if rhs_depth != depth {
            return Err(Mismatch::new("right side depth", format!("{depth}, as left side {lhs} has"), rhs));
        }
        let batch_shape = if lhs_batch.is_empty() { rhs_batch } else { lhs_batch }.to_vec();
        Ok(Geometry {
            lhs_batched: !lhs_batch.is_empty(),
            rhs_batched: !rhs_batch.is_empty(),
            batch_shape,
            rows,
            cols,
            depth,
        })
    }
}

impl Default for Matmul {
    fn default() -> Self {
        Self::new()
    }
}

/// Sizes of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) lhs_batched: bool,
    pub(crate) rhs_batched: bool,
    pub(crate) batch_shape: Vec<usize>,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) depth: usize,
}

impl Geometry {
    pub(crate) fn output_shape(&self) -> Vec<usize> {
        [self.batch_shape.as_slice(), &[self.rows, self.cols]].concat()
    }

    /// Rows that meet the same right side: a batch on the left alone is only more rows.
    pub(crate) fn rows_per_rhs(&self) -> usize {
        if self.rhs_batched { self.rows } else { self.batch_shape.iter().product::<usize>() * self.rows }
    }
}

impl OpRules for Matmul {
    const NAME: &'static str = "matmul";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [lhs, rhs, ..] = inputs else {
            return Err(Mismatch::new("number of inputs", "at least 2", inputs.len()));
        };
        expect::dtype("left side", lhs, DType::F32)?;
        let rhs_type = if self.rhs.is_halves() { DType::U32 } else { DType::F32 };
        expect::dtype("right side", rhs, rhs_type)?;
        let geometry = self.geometry(lhs, rhs)?;
        let output = TensorDesc::f32(geometry.output_shape());
        self.epilogue.check(2, inputs, geometry.cols, &output)?;
        Ok(output)
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        let depth = self.geometry(inputs[0], inputs[1]).map_or(0, |geometry| geometry.depth as u64);
        let elements = work::elements(output);
        Work::products(elements.saturating_mul(depth)).and(self.epilogue.operations(elements))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        lower::lower(self, lowering)
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let transposed = match self.rhs {
            RhsLayout::RowMajor => false,
            RhsLayout::Transposed => true,
            _ => return Err(backward.refuse("a product of plain matrices of f32")),
        };
        if self.epilogue != Epilogue::default() {
            return Err(backward.refuse("a product without an epilogue, which passes add later"));
        }
        let transpose_lhs = match self.lhs {
            LhsLayout::RowMajor => false,
            LhsLayout::Transposed => true,
            LhsLayout::Panels { .. } => return Err(backward.refuse("a product of plain matrices of f32")),
        };
        let (lhs, rhs, grad) = (backward.input(0), backward.input(1), backward.grad());
        let layout = |transposed| if transposed { RhsLayout::Transposed } else { RhsLayout::RowMajor };
        let product = |transpose_lhs, transpose_rhs| Matmul {
            lhs: if transpose_lhs { LhsLayout::Transposed } else { LhsLayout::RowMajor },
            ..Matmul::with_rhs(layout(transpose_rhs))
        };
        let mut gradients = backward.none();
        if backward.wants(0) {
            // `grad rhs^T`, or its transpose `rhs grad^T`, as the left side lies.
            let gradient = match transpose_lhs {
                false => backward.g.apply(product(false, !transposed), &[grad, rhs])?,
                true => backward.g.apply(product(transposed, true), &[rhs, grad])?,
            };
            gradients[0] = Some(backward.sum_to(gradient, lhs)?);
        }
        if backward.wants(1) {
            let (lhs, grad) = self.merged(backward, lhs, rhs, grad)?;
            // `lhs^T grad`, or its transpose `grad^T lhs`, as the right side lies.
            let gradient = match transposed {
                false => backward.g.apply(product(!transpose_lhs, false), &[lhs, grad])?,
                true => backward.g.apply(product(true, transpose_lhs), &[grad, lhs])?,
            };
            gradients[1] = Some(backward.sum_to(gradient, rhs)?);
        }
        Ok(gradients)
    }
}

impl Matmul {
    /// The left side and the gradient as single matrices, where a batch on the left is only more rows: so the sum over
    /// the batch is part of the product.
    fn merged(
        &self,
        backward: &mut Backward<'_>,
        lhs: Value,
        rhs: Value,
        grad: Value,
    ) -> Result<(Value, Value)> {
        let g = &mut *backward.g;
        let batched = g.desc(lhs).rank() > 2;
        if self.lhs != LhsLayout::RowMajor || !batched || g.desc(rhs).rank() > 2 {
            return Ok((lhs, grad));
        }
        let mut flat = |value: Value| {
            let desc = g.desc(value);
            let (rows, cols) = (desc.elements() / desc.last(), desc.last());
            g.reshape(value, &[rows, cols])
        };
        Ok((flat(lhs)?, flat(grad)?))
    }

    /// Whether a batch, if there is one, is but more rows.
    pub(crate) fn is_one_product(&self, geometry: &Geometry) -> bool {
        !(geometry.rhs_batched || self.lhs != LhsLayout::RowMajor && geometry.lhs_batched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(op: Matmul, shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
        if op.rhs.is_halves() {
            descs[1].dtype = DType::U32;
        }
        let descs: Vec<&TensorDesc> = descs.iter().collect();
        op.infer(&descs).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes_of_products() {
        let plain = Matmul::new();
        let linear =
            Matmul { epilogue: Epilogue::with_bias(true), ..Matmul::with_rhs(RhsLayout::Transposed) };
        let packed = Matmul::with_rhs(RhsLayout::Panels { cols: 9 });
        let halves = Matmul::with_rhs(RhsLayout::TransposedHalves);
        let half_panels = Matmul::with_rhs(RhsLayout::HalfPanels { cols: 9 });
        let transposed = Matmul { lhs: LhsLayout::Transposed, ..plain };
        let eights = Matmul::with_rhs(RhsLayout::Panels { cols: 16 });
        let both = Matmul { lhs: LhsLayout::Panels { rows: 11 }, ..eights };
        type Row<'a> = (Matmul, &'a [&'a [usize]], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (plain, &[&[2, 3], &[3, 4]], Ok(&[2, 4])),
            (plain, &[&[5, 2, 3], &[3, 4]], Ok(&[5, 2, 4])),
            (plain, &[&[5, 6, 2, 3], &[5, 6, 3, 4]], Ok(&[5, 6, 2, 4])),
            (plain, &[&[2, 3], &[7, 3, 4]], Ok(&[7, 2, 4])),
            (transposed, &[&[3, 2], &[3, 4]], Ok(&[2, 4])),
            (linear, &[&[2, 3], &[4, 3], &[4]], Ok(&[2, 4])),
            (packed, &[&[2, 3], &[2, 3, 8]], Ok(&[2, 9])),
            (both, &[&[2, 4, 8], &[2, 4, 8]], Ok(&[11, 16])),
            (both, &[&[7, 2, 4, 8], &[7, 2, 4, 8]], Ok(&[7, 11, 16])),
            (
                Matmul { lhs: both.lhs, ..packed },
                &[&[2, 4, 8], &[2, 4, 8]],
                Err("right side: expected a depth in fours and columns in eights, got f32[2, 4, 8]"),
            ),
            (both, &[&[1, 3, 8], &[2, 3, 8]], Err("packed left side: expected [2, 3, 8], got f32[1, 3, 8]")),
            (both, &[&[3, 8], &[2, 3, 8]], Err("left side rank: expected at least 3, got f32[3, 8]")),
            (
                Matmul { lhs: both.lhs, ..plain },
                &[&[2, 3, 8], &[3, 9]],
                Err("right side: expected panels of f32, as the left side's, got f32[3, 9]"),
            ),
            (halves, &[&[2, 6], &[5, 3]], Ok(&[2, 5])),
            (halves, &[&[7, 2, 6], &[7, 5, 3]], Ok(&[7, 2, 5])),
            (half_panels, &[&[2, 3], &[2, 3, 4]], Ok(&[2, 9])),
            (
                halves,
                &[&[2, 3], &[5, 3]],
                Err("right side depth: expected 3, as left side f32[2, 3] has, got u32[5, 3]"),
            ),
            (
                half_panels,
                &[&[2, 3], &[2, 3, 8]],
                Err("packed right side: expected [2, 3, 4], got u32[2, 3, 8]"),
            ),
            (
                plain,
                &[&[2, 3], &[4, 4]],
                Err("right side depth: expected 3, as left side f32[2, 3] has, got f32[4, 4]"),
            ),
            (
                plain,
                &[&[5, 2, 3], &[6, 3, 4]],
                Err("right side batch: expected [5] or none, got f32[6, 3, 4]"),
            ),
            (plain, &[&[3], &[3, 4]], Err("left side rank: expected at least 2, got f32[3]")),
            (linear, &[&[2, 3], &[4, 3], &[3]], Err("bias: expected [4], got f32[3]")),
            (linear, &[&[2, 3], &[4, 3]], Err("number of inputs: expected 3, got 2")),
        ];
        for (op, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*op, shapes), expected, "{op:?} of {shapes:?}");
        }
    }
}
