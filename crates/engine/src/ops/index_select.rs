//! Slices of a tensor along one dimension, by index.

use kiln_kernels::index_select;

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::{Block, Bound, Lowering};
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// `output[.., j, ..] = input[.., index[j], ..]`: `torch.index_select`. The index is u32 of one dimension; an entry
/// past the extent gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexSelect {
    /// The dimension that is indexed.
    pub dim: usize,
}

impl OpRules for IndexSelect {
    const NAME: &'static str = "index_select";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, index] = expect::inputs(inputs)?;
        expect::dim(self.dim, input)?;
        expect::rank("index", index, 1)?;
        expect::dtype("index", index, DType::U32)?;
        let mut output = input.clone();
        output.shape[self.dim] = index.rows();
        Ok(output)
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::SELECTS
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            if self.dim == 0 {
                let index = lowering.rowwise(1, &block)?;
                select_rows(lowering, &block, index, block.rows.len() as u32)?;
                continue;
            }
            let shape = &lowering.input(0).desc.shape;
            let extent = shape[self.dim] as u32;
            let inner = shape[self.dim + 1..].iter().product::<usize>() as u32;
            let indices = lowering.input(1).desc.rows() as u32;
            let params = index_select::Params {
                count: block.elements,
                extent,
                inner,
                indices,
                first: 0,
                rows: extent,
            };
            let bindings = index_select::Bindings {
                input: lowering.rowwise(0, &block)?,
                index: lowering.whole(1)?,
                output: block.output,
            };
            dispatch(lowering, params, bindings)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, index) = (backward.grad(), backward.input(1));
        let extent = backward.g.desc(backward.input(0)).shape[self.dim];
        Ok(vec![Some(backward.g.index_add(grad, self.dim, index, extent)?), None])
    }
}

/// Fills a block of the output with rows of input 0, one dispatch for each piece that the input lies in.
pub(super) fn select_rows(
    lowering: &mut Lowering<'_>,
    block: &Block,
    index: Bound,
    indices: u32,
) -> Result<()> {
    let table = lowering.input(0);
    for piece in table.pieces {
        let params = index_select::Params {
            count: block.elements,
            extent: table.desc.rows() as u32,
            inner: table.desc.row_elements() as u32,
            indices,
            first: piece.rows.start as u32,
            rows: piece.rows.len() as u32,
        };
        let bindings = index_select::Bindings { input: table.bound(piece), index, output: block.output };
        dispatch(lowering, params, bindings)?;
    }
    Ok(())
}

fn dispatch(
    lowering: &mut Lowering<'_>,
    params: index_select::Params,
    bindings: index_select::Bindings<Bound>,
) -> Result<()> {
    let variant = index_select::Variant::Base;
    let groups = u64::from(params.count.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
}
