//! One element of each row.

use kiln_kernels::pick;

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// `output[n] = input[n, index[n]]`: `torch.gather` along the last dimension, one element a row. The input is `[N, C]`, the
/// index u32 `[N]`, the output `[N]`. An index past the last column gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pick;

impl OpRules for Pick {
    const NAME: &'static str = "pick";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, index] = expect::inputs(inputs)?;
        expect::rank("input", input, 2)?;
        expect::dtype("index", index, DType::U32)?;
        expect::shape("index", index, &[input.rows()])?;
        Ok(TensorDesc::new([input.rows()], input.dtype))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::SELECTS
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            let rows = block.rows.len() as u32;
            let params = pick::Params { rows, cols: lowering.input(0).desc.last() as u32 };
            let bindings = pick::Bindings {
                input: lowering.rowwise(0, &block)?,
                index: lowering.rowwise(1, &block)?,
                output: block.output,
            };
            let variant = pick::Variant::Base;
            let groups = u64::from(rows.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, index, grad) = (backward.input(0), backward.input(1), backward.grad());
        let g = &mut *backward.g;
        let (rows, cols) = (g.desc(input).rows(), g.desc(input).last());
        let places = g.one_hot(index, cols)?;
        let grad = g.reshape(grad, &[rows, 1])?;
        Ok(vec![Some(g.mul(places, grad)?), None])
    }
}
