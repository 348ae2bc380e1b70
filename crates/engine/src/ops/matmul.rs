//! Matrix products, with bias, activation and residual in the same kernel.

use kiln_kernels::{matmul_flat, matmul_naive, matmul_register, matmul_shared, matmul_vector};

use super::{Epilogue, OpRules, PANEL, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::{Block, Bound, Lowering, Piece};
use crate::select::{self, MatmulKernel};
use crate::tensor::{DType, TensorDesc};

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
/// The left side is `[batch..][rows][depth]`, or with its last two dimensions swapped if `transpose_lhs`. Batch
/// dimensions are equal on both sides, or absent on one. Inputs are left, right, then those of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matmul {
    /// Whether the left side is `[..][depth][rows]`.
    pub transpose_lhs: bool,
    /// Layout of the right side.
    pub rhs: RhsLayout,
    /// What is done with the sums.
    pub epilogue: Epilogue,
}

impl Matmul {
    /// A plain product of row-major sides.
    pub fn new() -> Self {
        Self { transpose_lhs: false, rhs: RhsLayout::RowMajor, epilogue: Epilogue::default() }
    }

    /// A product with a right side of the given layout.
    pub fn with_rhs(rhs: RhsLayout) -> Self {
        Self { rhs, ..Self::new() }
    }

    /// Sizes of the product, from its two sides.
    pub(crate) fn geometry(&self, lhs: &TensorDesc, rhs: &TensorDesc) -> Result<Geometry, Mismatch> {
        let rhs_core = if self.rhs.is_panels() { 3 } else { 2 };
        if lhs.rank() < 2 {
            return Err(Mismatch::new("left side rank", "at least 2", lhs));
        }
        if rhs.rank() < rhs_core {
            return Err(Mismatch::new("right side rank", format!("at least {rhs_core}"), rhs));
        }
        let (lhs_batch, lhs_matrix) = lhs.shape.split_at(lhs.rank() - 2);
        let (rhs_batch, rhs_matrix) = rhs.shape.split_at(rhs.rank() - rhs_core);
        if !lhs_batch.is_empty() && !rhs_batch.is_empty() && lhs_batch != rhs_batch {
            return Err(Mismatch::new("right side batch", format!("{lhs_batch:?} or none"), rhs));
        }
        let (rows, depth) = match self.transpose_lhs {
            false => (lhs_matrix[0], lhs_matrix[1]),
            true => (lhs_matrix[1], lhs_matrix[0]),
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

/// The numbers that every matmul kernel takes, for one block of the output and one piece of the right side.
struct Launch {
    rows: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    lhs_strides: [u32; 3],
    rhs_strides: [u32; 3],
    col_start: u32,
    piece_cols: u32,
    output_cols: u32,
    flags: u32,
    activation: u32,
    half: u32,
}

#[derive(Clone, Copy)]
struct Sides {
    lhs: Bound,
    rhs: Bound,
    bias: Bound,
    residual: Bound,
    output: Bound,
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

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (lhs, rhs) = (lowering.input(0), lowering.input(1));
        let geometry =
            self.geometry(lhs.desc, rhs.desc).map_err(|mismatch| mismatch.at(Self::NAME, lowering.path))?;
        let kernel = select::matmul(lowering.profile, self, &geometry);
        for block in lowering.blocks()? {
            // A split right side gives the output's columns in turns: one dispatch a piece.
            let split = !geometry.rhs_batched && rhs.pieces.len() > 1;
            if split && self.rhs == RhsLayout::RowMajor {
                return Err(
                    lowering.cannot_split(rhs.desc, "it lies by depth: give it transposed, as linear does")
                );
            }
            for piece in if geometry.rhs_batched { &rhs.pieces[..1] } else { rhs.pieces } {
                let launch = self.launch(&geometry, &block, piece);
                let sides = self.sides(lowering, &geometry, &block, piece)?;
                dispatch(lowering, kernel, &launch, sides)?;
            }
        }
        Ok(())
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
        let (lhs, rhs, grad) = (backward.input(0), backward.input(1), backward.grad());
        let layout = |transposed| if transposed { RhsLayout::Transposed } else { RhsLayout::RowMajor };
        let product = |transpose_lhs, transpose_rhs| Matmul {
            transpose_lhs,
            rhs: layout(transpose_rhs),
            epilogue: Epilogue::default(),
        };
        let mut gradients = backward.none();
        if backward.wants(0) {
            // `grad rhs^T`, or its transpose `rhs grad^T`, as the left side lies.
            let gradient = match self.transpose_lhs {
                false => backward.g.apply(product(false, !transposed), &[grad, rhs])?,
                true => backward.g.apply(product(transposed, true), &[rhs, grad])?,
            };
            gradients[0] = Some(backward.sum_to(gradient, lhs)?);
        }
        if backward.wants(1) {
            let (lhs, grad) = self.merged(backward, lhs, rhs, grad)?;
            // `lhs^T grad`, or its transpose `grad^T lhs`, as the right side lies.
            let gradient = match transposed {
                false => backward.g.apply(product(!self.transpose_lhs, false), &[lhs, grad])?,
                true => backward.g.apply(product(true, self.transpose_lhs), &[grad, lhs])?,
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
        if self.transpose_lhs || !batched || g.desc(rhs).rank() > 2 {
            return Ok((lhs, grad));
        }
        let mut flat = |value: Value| {
            let desc = g.desc(value);
            let (rows, cols) = (desc.elements() / desc.last(), desc.last());
            g.reshape(value, &[rows, cols])
        };
        Ok((flat(lhs)?, flat(grad)?))
    }

    fn launch(&self, geometry: &Geometry, block: &Block, piece: &Piece) -> Launch {
        let (rows, cols, depth) = (geometry.rows as u32, geometry.cols as u32, geometry.depth as u32);
        let output_rows = block.elements / cols;
        // With the same right side for all, a batch is more rows, unless the left side lies the other way round.
        let merge = !(geometry.rhs_batched || self.transpose_lhs && geometry.lhs_batched);
        let (batch, rows) = if merge { (1, output_rows) } else { (output_rows / rows, rows) };
        let [row_stride, k_stride] = if self.transpose_lhs { [1, geometry.rows as u32] } else { [depth, 1] };
        let lhs_batch = if geometry.lhs_batched && !merge { rows * depth } else { 0 };
        let panels = geometry.cols.div_ceil(PANEL) as u32;
        let (rhs_k, rhs_col) = match self.rhs {
            RhsLayout::RowMajor => (cols, 1),
            RhsLayout::Transposed | RhsLayout::TransposedHalves => (1, depth),
            RhsLayout::Panels { .. } | RhsLayout::HalfPanels { .. } => (0, 0),
        };
        let rhs_batch = match (geometry.rhs_batched, self.rhs) {
            (false, _) => 0,
            // In vectors of four.
            (true, RhsLayout::Panels { .. }) => panels * depth * (PANEL as u32 / 4),
            (true, RhsLayout::HalfPanels { .. }) => panels * depth,
            (true, _) => depth * cols,
        };
        let width = self.rhs.cols_per_row();
        let by_cols = !geometry.rhs_batched && self.rhs != RhsLayout::RowMajor;
        let (col_start, piece_cols) = if by_cols {
            let end = (piece.rows.end * width).min(geometry.cols);
            (piece.rows.start * width, end - piece.rows.start * width)
        } else {
            (0, geometry.cols)
        };
        Launch {
            rows,
            cols,
            depth,
            batch,
            lhs_strides: [lhs_batch, row_stride, k_stride],
            rhs_strides: [rhs_batch, rhs_k, rhs_col],
            col_start: col_start as u32,
            piece_cols: piece_cols as u32,
            output_cols: cols,
            flags: self.epilogue.flags(),
            activation: self.epilogue.activation_code(),
            half: u32::from(self.rhs.is_halves()),
        }
    }

    fn sides(
        &self,
        lowering: &Lowering<'_>,
        geometry: &Geometry,
        block: &Block,
        piece: &Piece,
    ) -> Result<Sides> {
        let lhs = match (geometry.lhs_batched, geometry.rhs_batched, self.transpose_lhs) {
            (true, _, _) | (false, false, false) => lowering.rowwise(0, block)?,
            (false, true, _) => lowering.whole(0)?,
            (false, false, true) => lowering.columns_from(0, block)?,
        };
        let rhs =
            if geometry.rhs_batched { lowering.rowwise(1, block)? } else { lowering.input(1).bound(piece) };
        let [bias, residual] = lowering.epilogue(&self.epilogue, 2, block, lhs)?;
        Ok(Sides { lhs, rhs, bias, residual, output: block.output })
    }
}

fn dispatch(lowering: &mut Lowering<'_>, kernel: MatmulKernel, launch: &Launch, sides: Sides) -> Result<()> {
    let Launch {
        rows, cols, depth, batch, col_start, piece_cols, output_cols, flags, activation, half, ..
    } = *launch;
    let [lhs_batch_stride, lhs_row_stride, lhs_k_stride] = launch.lhs_strides;
    let [rhs_batch_stride, rhs_k_stride, rhs_col_stride] = launch.rhs_strides;
    let Sides { lhs, rhs, bias, residual, output } = sides;
    // One macro for the three kernels that share their parameters and bindings.
    macro_rules! strided {
        ($kernel:ident { $($free:ident),* }, $variant:expr, $groups:expr) => {{
            let params = $kernel::Params {
                rows,
                cols,
                depth,
                batch,
                lhs_batch_stride,
                lhs_row_stride,
                lhs_k_stride,
                rhs_batch_stride,
                rhs_k_stride,
                rhs_col_stride,
                col_start,
                piece_cols,
                output_cols,
                flags,
            };
            let bindings = $kernel::Bindings { lhs, rhs, bias, residual, output };
            let overrides = $kernel::Overrides { activation, $($free),* };
            lowering.dispatch($variant.kernel(), overrides.pairs(), &params, bindings.into_array(), $groups)
        }};
    }
    let tiles = |tile_rows: u32, tile_cols: u32| {
        u64::from(batch) * u64::from(rows.div_ceil(tile_rows)) * u64::from(piece_cols.div_ceil(tile_cols))
    };
    match kernel {
        MatmulKernel::Register(variant) => {
            let panels = piece_cols.div_ceil(PANEL as u32);
            let params = matmul_register::Params {
                rows,
                cols,
                depth,
                batch,
                lhs_batch_stride,
                lhs_row_stride,
                lhs_k_stride,
                rhs_batch_stride,
                col_start,
                panels,
                output_cols,
                row_tiles: rows.div_ceil(variant.tile_rows()),
                flags,
            };
            let bindings = matmul_register::Bindings { lhs, rhs, bias, residual, output };
            let overrides = matmul_register::Overrides { activation, half };
            let groups = tiles(variant.tile_rows(), PANEL as u32 * variant.tile_panels());
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
        }
        MatmulKernel::Flat(variant) => {
            let params = matmul_flat::Params {
                rows,
                cols,
                depth,
                batch,
                lhs_batch_stride,
                lhs_row_stride,
                rhs_batch_stride,
                col_start,
                panels: piece_cols.div_ceil(PANEL as u32),
                output_cols,
                row_tiles: rows.div_ceil(variant.rows()),
                flags,
            };
            let bindings = matmul_flat::Bindings { lhs, rhs, bias, residual, output };
            let overrides = matmul_flat::Overrides { activation, half };
            let groups = tiles(variant.rows(), PANEL as u32 * variant.panels() * variant.threads());
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
        }
        MatmulKernel::Shared(variant) => {
            strided!(matmul_shared { half }, variant, tiles(variant.tile(), variant.tile()))
        }
        MatmulKernel::Vector(variant) => {
            strided!(
                matmul_vector {},
                variant,
                u64::from(batch) * u64::from(piece_cols.div_ceil(variant.tile_cols()))
            )
        }
        MatmulKernel::Naive => {
            let variant = matmul_naive::Variant::Base;
            let count = u64::from(batch) * u64::from(rows) * u64::from(piece_cols);
            strided!(matmul_naive {}, variant, count.div_ceil(u64::from(variant.threads())))
        }
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
        let transposed = Matmul { transpose_lhs: true, ..plain };
        type Row<'a> = (Matmul, &'a [&'a [usize]], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (plain, &[&[2, 3], &[3, 4]], Ok(&[2, 4])),
            (plain, &[&[5, 2, 3], &[3, 4]], Ok(&[5, 2, 4])),
            (plain, &[&[5, 6, 2, 3], &[5, 6, 3, 4]], Ok(&[5, 6, 2, 4])),
            (plain, &[&[2, 3], &[7, 3, 4]], Ok(&[7, 2, 4])),
            (transposed, &[&[3, 2], &[3, 4]], Ok(&[2, 4])),
            (linear, &[&[2, 3], &[4, 3], &[4]], Ok(&[2, 4])),
            (packed, &[&[2, 3], &[2, 3, 8]], Ok(&[2, 9])),
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
