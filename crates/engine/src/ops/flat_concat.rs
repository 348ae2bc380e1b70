//! Tensors as parts of one vector.

use kiln_kernels::fill;

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::strided_copy::StridedCopy;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// The inputs, f32 of any shapes, one after the other in one vector, each from a multiple of 64 elements on, with zeros
/// between them: what PyTorch's foreach functions and its `FlatParameter` do for many small tensors. One kernel then serves
/// all of them, as [`GraphBuilder::flat_variable`](crate::GraphBuilder::flat_variable) lays out variables alike.
///
/// An input that nothing else forces elsewhere is made where it belongs, and is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlatConcat;

impl FlatConcat {
    /// Each part starts at a multiple of so many elements, 256 bytes: where every device can bind.
    pub const ALIGNMENT: usize = 64;

    /// The first element of each part, one for each tensor, and the vector's length.
    fn layout(tensors: &[&TensorDesc]) -> (Vec<usize>, usize) {
        let mut end = 0usize;
        let starts = tensors.iter().map(|tensor| {
            let start = end;
            end = end.saturating_add(tensor.elements()).next_multiple_of(Self::ALIGNMENT);
            start
        });
        (starts.collect(), end)
    }

    /// The first element of each part, for parts like these tensors.
    pub fn starts(tensors: &[&TensorDesc]) -> Vec<usize> {
        Self::layout(tensors).0
    }

    /// The vector that parts like these tensors make.
    pub fn desc(tensors: &[&TensorDesc]) -> TensorDesc {
        TensorDesc::f32([Self::layout(tensors).1])
    }

    /// Fills the output with zeros.
    pub(crate) fn clear(lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.whole_output()?;
        let variant = fill::Variant::Quad;
        // Its length is a multiple of the alignment.
        let count = lowering.output.desc.elements() as u32 / 4;
        let (params, bindings) = (fill::Params { value: 0.0, count }, fill::Bindings { output });
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}

impl OpRules for FlatConcat {
    const NAME: &'static str = "flat_concat";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        if inputs.is_empty() {
            return Err(Mismatch::new("number of inputs", "at least 1", 0));
        }
        inputs.iter().try_for_each(|input| expect::dtype("input", input, DType::F32))?;
        Ok(Self::desc(inputs))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    /// Copies what does not lie there already. The zeros are there where something does.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.whole_output()?;
        let inside: Vec<bool> = lowering
            .inputs
            .iter()
            .map(|input| input.pieces.iter().all(|piece| piece.storage == output.storage))
            .collect();
        if !inside.contains(&true) {
            Self::clear(lowering)?;
        }
        let descs: Vec<&TensorDesc> = lowering.inputs.iter().map(|input| input.desc).collect();
        for (index, start) in Self::starts(&descs).into_iter().enumerate() {
            if inside[index] {
                continue;
            }
            let input = lowering.input(index);
            let row = input.desc.row_elements();
            for piece in input.pieces {
                StridedCopy {
                    input: input.bound(piece),
                    input_offset: 0,
                    input_strides: &[1],
                    output,
                    output_offset: start + piece.rows.start * row,
                    output_strides: &[1],
                    shape: &[piece.rows.len() * row],
                }
                .dispatch(lowering)?;
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut gradients = backward.none();
        let inputs = backward.inputs().to_vec();
        let descs: Vec<TensorDesc> = inputs.iter().map(|&input| backward.g.desc(input).clone()).collect();
        let starts = Self::starts(&descs.iter().collect::<Vec<_>>());
        for (index, (desc, start)) in descs.iter().zip(starts).enumerate() {
            if backward.wants(index) {
                let part = backward.g.slice(backward.grad(), 0, start, start + desc.elements())?;
                gradients[index] = Some(backward.g.reshape(part, &desc.shape)?);
            }
        }
        Ok(gradients)
    }
}
