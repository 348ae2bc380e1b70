//! Rows of a table by id.

use super::{OpRules, expect, index_select};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// `output[.., d] = table[ids[..], d]`: `torch.nn.functional.embedding`. The table is `[count][width]`, the ids are
/// u32 of any shape. A table larger than a binding is read piece by piece. An id past the table gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Embedding;

impl OpRules for Embedding {
    const NAME: &'static str = "embedding";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [table, ids] = expect::inputs(inputs)?;
        expect::rank("table", table, 2)?;
        expect::dtype("ids", ids, DType::U32)?;
        let mut shape = ids.shape.clone();
        shape.push(table.last());
        Ok(TensorDesc::new(shape, table.dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::SELECTS
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            // A single id has no rows to follow: its output is one row of the table.
            let single = lowering.input(1).desc.rank() == 0;
            let index = if single { lowering.whole(1)? } else { lowering.rowwise(1, &block)? };
            let indices = block.elements / lowering.input(0).desc.last() as u32;
            index_select::select_rows(lowering, &block, index, indices)?;
        }
        Ok(())
    }

    /// Each row of the table takes the sum of the gradients of the places that show it, whatever shape these lie in.
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (table, ids, grad) = (backward.input(0), backward.input(1), backward.grad());
        let g = &mut *backward.g;
        let &[rows, width] = g.desc(table).shape.as_slice() else {
            return Err(backward.refuse("a table of two dimensions"));
        };
        let count = g.desc(ids).elements();
        let (grad, ids) = (g.reshape(grad, &[count, width])?, g.reshape(ids, &[count])?);
        Ok(vec![Some(g.index_add(grad, 0, ids, rows)?), None])
    }
}
