//! A side of a product in the order in which the kernels for software adapters read it.

use kiln_kernels::{matmul_pack, matmul_pack_wide};

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// Columns in a panel of a right side, rows in one of a left side.
pub const PANEL: usize = 8;

/// `output[..][p][k][c] = input[..][k][8 p + c]` (or `input[..][8 p + c][k]` if transposed), 0 past the last column.
///
/// A left side is packed as if its rows were the columns. Inserted by the `pack_weights` pass; for a weight it runs once, at
/// load. Splits of the input and of the output need not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackPanels {
    /// Whether the input is `[..][cols][depth]`.
    pub transposed: bool,
}

impl OpRules for PackPanels {
    const NAME: &'static str = "pack_panels";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        let [batch @ .., first, second] = input.shape.as_slice() else {
            return Err(Mismatch::new("input rank", "at least 2", input));
        };
        let (depth, cols) = if self.transposed { (*second, *first) } else { (*first, *second) };
        Ok(TensorDesc::f32([batch, &[cols.div_ceil(PANEL), depth, PANEL]].concat()))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = lowering.input(0);
        let [batch @ .., first, second] = input.desc.shape.as_slice() else { return Ok(()) };
        let (depth, cols) = if self.transposed { (*second, *first) } else { (*first, *second) };
        let matrix = depth * cols;
        let [k_stride, col_stride] = if self.transposed { [1, depth] } else { [cols, 1] };
        let whole = 0..cols;
        // In vectors, where the input lies in one piece and they do not run over the end of a row.
        let row = if self.transposed { depth } else { cols };
        let vectors = lowering.profile.kind.is_software() && input.pieces.len() == 1;
        let wide = match (self.transposed, vectors && lowering.profile.int64 && row.is_multiple_of(8)) {
            (true, true) => Some(matmul_pack_wide::Variant::AlongEight),
            (false, true) => Some(matmul_pack_wide::Variant::AcrossEight),
            _ if !vectors || !row.is_multiple_of(4) => None,
            (true, false) => Some(matmul_pack_wide::Variant::Along),
            (false, false) => Some(matmul_pack_wide::Variant::Across),
        };
        // Pieces of the input in the outer loop: each is read, used and let go before the next is loaded.
        let pieces = if batch.is_empty() { input.pieces } else { &input.pieces[..1] };
        for piece in pieces {
            for block in lowering.blocks()? {
                let by_panels = batch.is_empty();
                let panels = if by_panels { block.rows.clone() } else { 0..cols.div_ceil(PANEL) };
                let source = if by_panels && self.transposed { piece.rows.clone() } else { whole.clone() };
                let target = panels.start * PANEL..(panels.end * PANEL).min(cols);
                if source.end <= target.start || target.end <= source.start {
                    continue;
                }
                let from = match (by_panels, self.transposed) {
                    (true, true) => input.bound(piece),
                    (true, false) => lowering.whole(0)?,
                    (false, _) => lowering.rowwise(0, &block)?,
                };
                let batch = block.elements / ((panels.len() * depth * PANEL) as u32);
                if let Some(variant) = wide {
                    let width = (variant.bits() / 8) as usize;
                    let spans = depth.div_ceil(width);
                    let params = matmul_pack_wide::Params {
                        batch,
                        cols: cols as u32,
                        depth: depth as u32,
                        spans: spans as u32,
                        batch_stride: (matrix / width) as u32,
                        panel_start: panels.start as u32,
                        panels: panels.len() as u32,
                    };
                    let bindings = matmul_pack_wide::Bindings { input: from, output: block.output };
                    let overrides = matmul_pack_wide::Overrides { half: 0 }.pairs();
                    let groups =
                        (batch as usize * panels.len() * spans).div_ceil(variant.threads() as usize) as u64;
                    lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)?;
                    continue;
                }
                let params = matmul_pack::Params {
                    count: block.elements,
                    cols: cols as u32,
                    depth: depth as u32,
                    batch,
                    src_batch_stride: matrix as u32,
                    src_k_stride: k_stride as u32,
                    src_col_stride: col_stride as u32,
                    panel_start: panels.start as u32,
                    panels: panels.len() as u32,
                    col_first: source.start as u32,
                    col_end: source.end as u32,
                };
                let bindings = matmul_pack::Bindings { input: from, output: block.output };
                let variant = matmul_pack::Variant::Base;
                let groups = u64::from(block.elements.div_ceil(variant.threads()));
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }
}
