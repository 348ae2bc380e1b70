//! A tensor repeated along dimensions.

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::TensorDesc;
use crate::views::{broadcast, broadcast_strides};
use crate::work::Work;

/// The input repeated to a shape that it broadcasts to: `torch.Tensor.expand`, copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expand {
    /// Extents of the output.
    pub shape: Vec<usize>,
}

impl OpRules for Expand {
    const NAME: &'static str = "expand";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        if broadcast(&input.shape, &self.shape).as_deref() != Some(self.shape.as_slice()) {
            let expected = format!("one that {input} broadcasts to");
            return Err(Mismatch::new("shape", expected, format!("{:?}", self.shape)));
        }
        Ok(TensorDesc::new(self.shape.clone(), input.dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            let shape = lowering.block_shape(&block);
            // Repeated rows all are the input's one row.
            StridedCopy {
                input: lowering.broadcast(0, &block)?,
                input_offset: 0,
                input_strides: &broadcast_strides(&lowering.input(0).desc.shape, &self.shape),
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
        let (grad, input) = (backward.grad(), backward.input(0));
        Ok(vec![Some(backward.sum_to(grad, input)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_the_input_broadcasts_to() {
        for (input, shape, fits) in [
            (&[][..], &[2, 3][..], true),
            (&[3], &[2, 3], true),
            (&[2, 1], &[2, 3], true),
            (&[2, 3], &[2, 3], true),
            (&[2, 3], &[3], false),
            (&[2], &[2, 3], false),
            (&[2, 3], &[1, 3], false),
        ] {
            let inferred = Expand { shape: shape.to_vec() }.infer(&[&TensorDesc::f32(input)]);
            assert_eq!(inferred.is_ok(), fits, "{input:?} to {shape:?}");
        }
    }
}
