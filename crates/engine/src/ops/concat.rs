//! Tensors joined along one dimension.

use super::OpRules;
use super::expect;
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::TensorDesc;
use crate::work::Work;

/// `torch.cat`: the inputs, one behind the other along `dim`; all other extents are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The dimension along which they are joined.
    pub dim: usize,
}

impl OpRules for Concat {
    const NAME: &'static str = "concat";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [first, rest @ ..] = inputs else {
            return Err(Mismatch::new("number of inputs", "at least 1", 0));
        };
        expect::dim(self.dim, first)?;
        let mut output = TensorDesc::clone(first);
        for (position, input) in rest.iter().enumerate() {
            let mut expected = TensorDesc::clone(first);
            if let Some(extent) = input.shape.get(self.dim) {
                expected.shape[self.dim] = *extent;
                output.shape[self.dim] += *extent;
            }
            if **input != expected {
                return Err(Mismatch::new(format!("input {}", position + 1), expected, input));
            }
        }
        Ok(output)
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output_strides = lowering.output.desc.strides();
        for block in lowering.row_blocks(self.dim)? {
            let mut start = 0;
            for index in 0..lowering.inputs.len() {
                let desc = lowering.input(index).desc;
                let mut shape = desc.shape.clone();
                if self.dim != 0 {
                    shape[0] = block.rows.len();
                }
                StridedCopy {
                    input: if self.dim == 0 {
                        lowering.whole(index)?
                    } else {
                        lowering.rowwise(index, &block)?
                    },
                    input_offset: 0,
                    input_strides: &desc.strides(),
                    output: block.output,
                    output_offset: start * output_strides[self.dim],
                    output_strides: &output_strides,
                    shape: &shape,
                }
                .dispatch(lowering)?;
                start += desc.shape[self.dim];
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut gradients = backward.none();
        let mut start = 0;
        for (index, gradient) in gradients.iter_mut().enumerate() {
            let end = start + backward.g.desc(backward.input(index)).shape[self.dim];
            if backward.wants(index) {
                *gradient = Some(backward.g.slice(backward.grad(), self.dim, start, end)?);
            }
            start = end;
        }
        Ok(gradients)
    }
}
