//! A right side of halves in the order in which the kernels for software adapters read it.

use kiln_kernels::{matmul_pack_half, matmul_pack_wide};

use super::{OpRules, PANEL, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// A right side `[..][cols][depth]` as panels of eight columns of halves, two columns in a word: u32
/// `[..][panels][depth][4]`, zero past the last column. The input is f32 and rounded as [`PackHalf`](super::PackHalf) does,
/// or u32 `[..][cols][depth / 2]`, that op's result.
///
/// Inserted by the `pack_weights` pass; for a weight it runs once, at load. Splits of the input and of the output
/// need not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackHalfPanels;

/// Words of a panel's row.
const WORDS: usize = PANEL / 2;

impl OpRules for PackHalfPanels {
    const NAME: &'static str = "pack_half_panels";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let [batch @ .., cols, last] = input.shape.as_slice() else {
            return Err(Mismatch::new("input rank", "at least 2", input));
        };
        let depth = last * per_element(input.dtype);
        Ok(TensorDesc::new([batch, &[cols.div_ceil(PANEL), depth, WORDS]].concat(), DType::U32))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = lowering.input(0);
        let [batch @ .., cols, last] = input.desc.shape.as_slice() else { return Ok(()) };
        let (cols, depth, by_panels) = (*cols, last * per_element(input.desc.dtype), batch.is_empty());
        // In vectors of four numbers, where the input lies in one piece and they do not run over the end of a row.
        let wide = lowering.profile.kind.is_software() && input.desc.dtype == DType::F32;
        let wide = wide && input.pieces.len() == 1 && depth.is_multiple_of(4);
        // Pieces of the input in the outer loop: each is read, used and let go before the next is loaded.
        for piece in if by_panels { input.pieces } else { &input.pieces[..1] } {
            for block in lowering.blocks()? {
                let panels = if by_panels { block.rows.clone() } else { 0..cols.div_ceil(PANEL) };
                let source = if by_panels { piece.rows.clone() } else { 0..cols };
                if source.end <= panels.start * PANEL || (panels.end * PANEL).min(cols) <= source.start {
                    continue;
                }
                let from = if by_panels { input.bound(piece) } else { lowering.rowwise(0, &block)? };
                let batch = block.elements / (panels.len() * depth * WORDS) as u32;
                if wide {
                    let params = matmul_pack_wide::Params {
                        batch,
                        cols: cols as u32,
                        depth: depth as u32,
                        spans: (depth / 4) as u32,
                        batch_stride: (cols * depth / 4) as u32,
                        panel_start: panels.start as u32,
                        panels: panels.len() as u32,
                    };
                    let variant = matmul_pack_wide::Variant::Along;
                    let bindings = matmul_pack_wide::Bindings { input: from, output: block.output };
                    let overrides = matmul_pack_wide::Overrides { half: 1 }.pairs();
                    let count = u64::from(batch) * (panels.len() * depth / 4) as u64;
                    let groups = count.div_ceil(u64::from(variant.threads()));
                    lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)?;
                    continue;
                }
                let params = matmul_pack_half::Params {
                    count: block.elements,
                    cols: cols as u32,
                    depth: depth as u32,
                    batch,
                    src_batch_stride: (cols * last) as u32,
                    panel_start: panels.start as u32,
                    panels: panels.len() as u32,
                    col_first: source.start as u32,
                    col_end: source.end as u32,
                };
                let bindings = matmul_pack_half::Bindings { input: from, output: block.output };
                let packed = u32::from(input.desc.dtype == DType::U32);
                let overrides = matmul_pack_half::Overrides { packed }.pairs();
                let variant = matmul_pack_half::Variant::Base;
                let groups = u64::from(block.elements.div_ceil(variant.threads()));
                lowering.dispatch(variant.kernel(), overrides, &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }
}

/// How many numbers an element of the input holds.
fn per_element(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 1,
        DType::U32 => 2,
    }
}
