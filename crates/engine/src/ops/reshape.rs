//! The same elements under another shape.

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::TensorDesc;
use crate::work::Work;

/// `torch.reshape`. Costs nothing: the output is the input's memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The new extents.
    pub shape: Vec<usize>,
}

impl OpRules for Reshape {
    const NAME: &'static str = "reshape";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let elements = self.shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        if elements != Some(input.elements()) {
            let expected = format!("{} elements, as {input} has", input.elements());
            return Err(Mismatch::new("shape", expected, format!("{:?}", self.shape)));
        }
        Ok(TensorDesc::new(self.shape.clone(), input.dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, _: &mut Lowering<'_>) -> Result<()> {
        // The plan gives the output the input's pieces; nothing is left to compute.
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let shape = backward.g.desc(backward.input(0)).shape.clone();
        Ok(vec![Some(backward.g.reshape(backward.grad(), &shape)?)])
    }
}
