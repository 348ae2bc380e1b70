//! Labels as rows of zeros with a one.

use kiln_kernels::one_hot;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// `output[n, c] = 1` where `c = labels[n]`, else 0: `torch.nn.functional.one_hot`, as f32. The labels are u32 of any
/// shape; the output has one more dimension, of `classes`. A label that is no class makes its row NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OneHot {
    /// How many classes there are.
    pub classes: usize,
}

impl OpRules for OneHot {
    const NAME: &'static str = "one_hot";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [labels] = expect::inputs(inputs)?;
        expect::dtype("labels", labels, DType::U32)?;
        let mut shape = labels.shape.clone();
        shape.push(self.classes);
        Ok(TensorDesc::f32(shape))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            // A single label has no rows to follow.
            let single = lowering.input(0).desc.rank() == 0;
            let labels = if single { lowering.whole(0)? } else { lowering.rowwise(0, &block)? };
            let params = one_hot::Params { count: block.elements, classes: self.classes as u32 };
            let bindings = one_hot::Bindings { labels, output: block.output };
            let variant = one_hot::Variant::Base;
            let groups = u64::from(block.elements.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}
