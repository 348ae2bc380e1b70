//! Dimensions in another order.

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::TensorDesc;
use crate::work::Work;

/// `torch.permute`: dimension `i` of the output is dimension `dims[i]` of the input, copied into row-major order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permute {
    /// A permutation of `0..rank`.
    pub dims: Vec<usize>,
}

impl OpRules for Permute {
    const NAME: &'static str = "permute";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..input.rank()) {
            let expected = format!("a permutation of the {} dimensions of {input}", input.rank());
            return Err(Mismatch::new("dims", expected, format!("{:?}", self.dims)));
        }
        let shape: Vec<usize> = self.dims.iter().map(|&dim| input.shape[dim]).collect();
        Ok(TensorDesc::new(shape, input.dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let strides = lowering.input(0).desc.strides();
        let permuted: Vec<usize> = self.dims.iter().map(|&dim| strides[dim]).collect();
        for block in lowering.blocks()? {
            // Rows that stay rows go block by block; any others start further along the input.
            let by_rows = self.dims.first() == Some(&0);
            let shape = lowering.block_shape(&block);
            StridedCopy {
                input: if by_rows { lowering.rowwise(0, &block)? } else { lowering.whole(0)? },
                input_offset: if by_rows {
                    0
                } else {
                    block.rows.start * permuted.first().copied().unwrap_or(0)
                },
                input_strides: &permuted,
                output: block.output,
                output_offset: 0,
                output_strides: &lowering.output.desc.strides(),
                shape: &shape,
            }
            .dispatch(lowering)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut inverse = vec![0; self.dims.len()];
        for (place, &dim) in self.dims.iter().enumerate() {
            inverse[dim] = place;
        }
        Ok(vec![Some(backward.g.permute(backward.grad(), &inverse)?)])
    }
}
