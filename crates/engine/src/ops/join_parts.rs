//! Adds up the parts of a sum.

use kiln_kernels::join_parts;

use super::{Epilogue, OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// The sum over the parts that a [`SplitSum`](super::SplitSum) made, first part first, with the [`Epilogue`] of the op that
/// was split.
///
/// Inputs are the parts, `[1][parts]` and then the output's shape, and those of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JoinParts {
    /// The dimension of the output along which the bias has its numbers.
    pub bias_dim: usize,
    /// What is done with the sums.
    pub epilogue: Epilogue,
}

impl OpRules for JoinParts {
    const NAME: &'static str = "join_parts";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let Some((&parts, _)) = inputs.split_first() else {
            return Err(Mismatch::new("number of inputs", "at least 1", inputs.len()));
        };
        expect::dtype("parts", parts, DType::F32)?;
        let [1, _, shape @ ..] = parts.shape.as_slice() else {
            return Err(Mismatch::new("parts", "[1, parts, ..]", parts));
        };
        let output = TensorDesc::f32(shape);
        expect::dim(self.bias_dim, &output)?;
        self.epilogue.check(1, inputs, output.shape[self.bias_dim], &output)?;
        Ok(output)
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        Work::by_element(inputs.iter().copied()).and(self.epilogue.operations(work::elements(output)))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (parts, output) = (lowering.input(0).desc, lowering.output.desc);
        let params = join_parts::Params {
            count: 0,
            start: 0,
            parts: parts.shape[1] as u32,
            stride: output.elements() as u32,
            inner: output.shape[self.bias_dim + 1..].iter().product::<usize>() as u32,
            channels: output.shape[self.bias_dim] as u32,
            flags: self.epilogue.flags(),
        };
        let variant = join_parts::Variant::Base;
        let overrides = join_parts::Overrides { activation: self.epilogue.activation_code() };
        for block in lowering.blocks()? {
            let parts = lowering.whole(0)?;
            let [bias, residual] = lowering.epilogue(&self.epilogue, 1, &block, parts)?;
            let start = (block.rows.start * output.row_elements()) as u32;
            let params = join_parts::Params { count: block.elements, start, ..params };
            let bindings = join_parts::Bindings { parts, bias, residual, output: block.output };
            let groups = u64::from(block.elements.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined() {
        let infer = |op: JoinParts, shapes: &[&[usize]]| {
            let descs: Vec<TensorDesc> = shapes.iter().map(|&shape| TensorDesc::f32(shape)).collect();
            let descs: Vec<&TensorDesc> = descs.iter().collect();
            op.infer(&descs).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        let plain = JoinParts { bias_dim: 1, epilogue: Epilogue::default() };
        let biased = JoinParts { epilogue: Epilogue::with_bias(true), ..plain };
        type Row<'a> = (JoinParts, &'a [&'a [usize]], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (plain, &[&[1, 4, 8, 10]], Ok(&[8, 10])),
            (biased, &[&[1, 4, 8, 10], &[10]], Ok(&[8, 10])),
            (biased, &[&[1, 4, 2, 5, 7, 7], &[5]], Ok(&[2, 5, 7, 7])),
            (biased, &[&[1, 4, 8, 10], &[8]], Err("bias: expected [10], got f32[8]")),
            (plain, &[&[4, 8, 10]], Err("parts: expected [1, parts, ..], got f32[4, 8, 10]")),
            (plain, &[&[1, 4, 8]], Err("dim: expected less than the rank of f32[8], got 1")),
        ];
        for (op, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*op, shapes), expected, "{op:?} of {shapes:?}");
        }
    }
}
