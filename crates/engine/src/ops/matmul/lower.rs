//! From a product to dispatches.

use kiln_kernels::{
    matmul_flat, matmul_lanes, matmul_lanes_rows, matmul_naive, matmul_register, matmul_shared,
    matmul_vector, matmul_vector_subgroup,
};

use super::{Geometry, LhsLayout, Matmul, RhsLayout};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Bound, Lowering, Piece};
use crate::ops::{OpRules, PANEL, SplitSum};
use crate::select::{self, MatmulKernel};

/// The numbers that every matmul kernel takes, for one block of the output and one piece of the right side.
struct Launch {
    rows: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    lhs_strides: [u32; 3],
    rhs_strides: [u32; 3],
    /// Panels of a matrix on the left, and of one on either side where the batch does not share it.
    lhs_panels: u32,
    lhs_batch_panels: u32,
    rhs_batch_panels: u32,
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

pub(super) fn lower(op: &Matmul, lowering: &mut Lowering<'_>) -> Result<()> {
    let (lhs, rhs) = (lowering.input(0), lowering.input(1));
    let geometry =
        op.geometry(lhs.desc, rhs.desc).map_err(|mismatch| mismatch.at(Matmul::NAME, lowering.path))?;
    let kernel = lowering.choose(*op, &select::matmul_candidates(lowering.profile, op, &geometry));
    for block in lowering.blocks()? {
        // A split right side gives the output's columns in turns: one dispatch a piece.
        let split = !geometry.rhs_batched && rhs.pieces.len() > 1;
        if split && op.rhs == RhsLayout::RowMajor {
            return Err(
                lowering.cannot_split(rhs.desc, "it lies by depth: give it transposed, as linear does")
            );
        }
        for piece in if geometry.rhs_batched { &rhs.pieces[..1] } else { rhs.pieces } {
            let launch = op.launch(&geometry, &block, piece);
            let sides = op.sides(lowering, &geometry, &block, piece)?;
            dispatch(lowering, kernel, &launch, sides)?;
        }
    }
    Ok(())
}

impl Matmul {
    /// The dispatches that make the stacked parts of a [`SplitSum`]: a batch of products, whose sides are
    /// stretches of the depth of the same two.
    pub(crate) fn lower_parts(&self, split: &SplitSum, lowering: &mut Lowering<'_>) -> Result<()> {
        let (lhs, rhs) = (lowering.input(0), lowering.input(1));
        let malformed = |mismatch: Mismatch| mismatch.at(SplitSum::NAME, lowering.path);
        let geometry = self.geometry(lhs.desc, rhs.desc).map_err(malformed)?;
        let part = split.part(geometry.depth).map_err(malformed)?;
        let kernel = lowering
            .choose(*split, &select::matmul_parts_candidates(lowering.profile, self, &geometry, split.parts));
        let rows = geometry.rows_per_rhs();
        let block = Block {
            rows: 0..rows,
            elements: (rows * geometry.cols) as u32,
            output: lowering.whole_output()?,
        };
        let lhs = lowering.whole(0)?;
        if self.rhs == RhsLayout::RowMajor {
            // Its pieces are of the depth and give no columns.
            lowering.whole(1)?;
        }
        for piece in rhs.pieces {
            let mut launch = self.launch(&geometry, &block, piece);
            (launch.batch, launch.depth) = (split.parts as u32, part as u32);
            launch.lhs_strides[0] = part as u32 * launch.lhs_strides[2];
            launch.rhs_strides[0] = part as u32 * launch.rhs_strides[1];
            let output = block.output;
            let sides = Sides { lhs, rhs: rhs.bound(piece), bias: lhs, residual: lhs, output };
            dispatch(lowering, kernel, &launch, sides)?;
        }
        Ok(())
    }

    fn launch(&self, geometry: &Geometry, block: &Block, piece: &Piece) -> Launch {
        let (rows, cols, depth) = (geometry.rows as u32, geometry.cols as u32, geometry.depth as u32);
        let output_rows = block.elements / cols;
        // With the same right side for all, a batch is more rows, unless the left side lies the other way round.
        let merge = self.is_one_product(geometry);
        let (batch, rows) = if merge { (1, output_rows) } else { (output_rows / rows, rows) };
        let [row_stride, k_stride] = match self.lhs {
            LhsLayout::Transposed => [1, geometry.rows as u32],
            LhsLayout::RowMajor | LhsLayout::Panels { .. } => [depth, 1],
        };
        let lhs_batch = if geometry.lhs_batched && !merge { rows * depth } else { 0 };
        let lhs_panels = geometry.rows.div_ceil(PANEL) as u32;
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
            lhs_panels,
            lhs_batch_panels: if geometry.lhs_batched { lhs_panels } else { 0 },
            rhs_batch_panels: if geometry.rhs_batched { panels } else { 0 },
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
        let lhs = match (geometry.lhs_batched, geometry.rhs_batched, self.lhs) {
            (true, _, _) | (false, false, LhsLayout::RowMajor) => lowering.rowwise(0, block)?,
            (false, true, _) => lowering.whole(0)?,
            (false, false, LhsLayout::Transposed) => lowering.columns_from(0, block)?,
            // Panels do not end where a block of rows does.
            (false, false, LhsLayout::Panels { .. }) => {
                lowering.whole_output()?;
                lowering.whole(0)?
            }
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
    // What all kernels share: bindings of the same names, and the activation among their overrides.
    macro_rules! run {
        ($kernel:ident { $($free:ident),* }, $variant:expr, $params:expr, $groups:expr) => {{
            let bindings = $kernel::Bindings { lhs, rhs, bias, residual, output };
            let overrides = $kernel::Overrides { activation, $($free),* };
            lowering.dispatch($variant.kernel(), overrides.pairs(), &$params, bindings.into_array(), $groups)
        }};
    }
    // And some of them the parameters.
    macro_rules! run_strided {
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
            run!($kernel { $($free),* }, $variant, params, $groups)
        }};
    }
    let tiles = |tile_rows: u32, tile_cols: u32| {
        u64::from(batch) * u64::from(rows.div_ceil(tile_rows)) * u64::from(piece_cols.div_ceil(tile_cols))
    };
    // Of kernels that make all rows of their columns.
    let columns = |tile_cols: u32| u64::from(batch) * u64::from(piece_cols.div_ceil(tile_cols));
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
            let groups = tiles(variant.tile_rows(), PANEL as u32 * variant.tile_panels());
            run!(matmul_register { half }, variant, params, groups)
        }
        MatmulKernel::Lanes(variant) => {
            let params = matmul_lanes::Params {
                rows,
                depth,
                batch,
                lhs_batch_stride,
                lhs_row_stride,
                lhs_k_stride,
                rhs_batch_stride: launch.rhs_batch_panels * depth,
                panel_start: col_start / PANEL as u32,
                panels: piece_cols.div_ceil(PANEL as u32),
                output_cols,
                row_tiles: rows.div_ceil(variant.rows()),
                flags,
            };
            let by_rows = u32::from(lhs_k_stride != 1);
            let groups = tiles(variant.rows(), PANEL as u32 * variant.threads());
            run!(matmul_lanes { by_rows, half }, variant, params, groups)
        }
        MatmulKernel::LanesRows(variant) => {
            let params = matmul_lanes_rows::Params {
                rows,
                depth,
                batch,
                lhs_batch_stride: launch.lhs_batch_panels * depth,
                lhs_panels: launch.lhs_panels,
                rhs_batch_stride: launch.rhs_batch_panels * depth,
                panel_start: col_start / PANEL as u32,
                panels: piece_cols / PANEL as u32,
                output_panels: output_cols / PANEL as u32,
                col_tiles: piece_cols.div_ceil(variant.cols()),
                flags,
            };
            let groups = tiles(PANEL as u32 * variant.threads(), variant.cols());
            run!(matmul_lanes_rows {}, variant, params, groups)
        }
        MatmulKernel::Flat(variant) => {
            let params = matmul_flat::Params {
                rows,
                cols,
                depth,
                batch,
                lhs_batch_stride,
                lhs_row_stride,
                rhs_batch_stride: launch.rhs_batch_panels * depth,
                col_start,
                panels: piece_cols.div_ceil(PANEL as u32),
                output_cols,
                row_tiles: rows.div_ceil(variant.rows()),
                flags,
            };
            let groups = tiles(variant.rows(), PANEL as u32 * variant.threads());
            run!(matmul_flat { half }, variant, params, groups)
        }
        MatmulKernel::Shared(variant) => {
            let (lhs_along_k, rhs_along_k) = (u32::from(lhs_k_stride == 1), u32::from(rhs_k_stride == 1));
            let groups = tiles(variant.tile_rows(), variant.tile_cols());
            run_strided!(matmul_shared { lhs_along_k, rhs_along_k }, variant, groups)
        }
        MatmulKernel::Vector(variant) => {
            run_strided!(matmul_vector {}, variant, columns(variant.tile_cols()))
        }
        MatmulKernel::Subgroup(variant) => {
            run_strided!(matmul_vector_subgroup {}, variant, columns(variant.tile_cols()))
        }
        MatmulKernel::Naive => {
            let variant = matmul_naive::Variant::Base;
            let count = u64::from(batch) * u64::from(rows) * u64::from(piece_cols);
            run_strided!(matmul_naive {}, variant, count.div_ceil(u64::from(variant.threads())))
        }
    }
}
