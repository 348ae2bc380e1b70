//! Sums of the squares of tensors, in parts.

use kiln_kernels::sum_of_squares;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Bound, Lowering};
use crate::tensor::{DType, TensorDesc};

/// The squares of all elements of all inputs, summed in parts of 4096 elements: the squared norm of many gradients is
/// the sum of the output. Each input is a row of parts of its own, the last of which may be short; `output[p]` is the sum
/// of part `p`, counted through all inputs. Any number of f32 inputs of any shapes.
///
/// Parts make enough work for a GPU of one long sum, and the same parts everywhere make the same bits in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SumOfSquares;

/// Elements of a part.
const PART: usize = 4096;

/// Elements that a kernel loads at once.
const WIDTH: usize = 4;

impl OpRules for SumOfSquares {
    const NAME: &'static str = "sum_of_squares";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        if inputs.is_empty() {
            return Err(Mismatch::new("number of inputs", "at least 1", 0));
        }
        inputs.iter().try_for_each(|input| expect::dtype("input", input, DType::F32))?;
        Ok(TensorDesc::f32([inputs.iter().map(|input| parts(input)).sum::<usize>()]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.whole_output()?;
        let mut first = 0;
        for index in 0..lowering.inputs.len() {
            let input = lowering.input(index);
            let row = input.desc.row_elements();
            for piece in input.pieces {
                let (start, end) = (piece.rows.start * row, piece.rows.end * row);
                // A vector belongs to one part, so a piece that starts within one is read singly.
                let wide = if start.is_multiple_of(WIDTH) { (end - start) / WIDTH * WIDTH } else { 0 };
                let cut = start + wide;
                let mut add = |range: std::ops::Range<usize>, width: usize| {
                    let stretch =
                        Stretch { input: input.bound(piece), output, piece: start, range, first, width };
                    stretch.dispatch(lowering)
                };
                if wide > 0 {
                    add(start..cut, WIDTH)?;
                }
                if cut < end {
                    add(cut..end, 1)?;
                }
            }
            first += parts(input.desc);
        }
        Ok(())
    }
}

/// How many parts a tensor has.
fn parts(desc: &TensorDesc) -> usize {
    desc.elements().div_ceil(PART)
}

/// Neighbouring elements of one piece of an input.
struct Stretch {
    input: Bound,
    output: Bound,
    /// The first element of the piece, counted through the input as `range` is.
    piece: usize,
    range: std::ops::Range<usize>,
    /// The input's first part in the output.
    first: usize,
    width: usize,
}

impl Stretch {
    fn dispatch(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use sum_of_squares::Variant;
        let variant = match (lowering.profile.kind.is_software(), self.width == WIDTH) {
            (true, true) => Variant::SerialQuad,
            (true, false) => Variant::SerialSingle,
            (false, true) => Variant::TreeQuad,
            (false, false) => Variant::TreeSingle,
        };
        let parts = self.range.start / PART..self.range.end.div_ceil(PART);
        let params = sum_of_squares::Params {
            begin: ((self.range.start - self.piece) / self.width) as u32,
            count: (self.range.len() / self.width) as u32,
            skip: (self.range.start % PART / self.width) as u32,
            part: (PART / self.width) as u32,
            parts: parts.len() as u32,
            first: (self.first + parts.start) as u32,
        };
        let bindings = sum_of_squares::Bindings { input: self.input, output: self.output };
        let groups = parts.len().div_ceil((variant.threads() / variant.lanes()) as usize);
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_has_parts_of_its_own() {
        let (one, full, over) = (TensorDesc::f32([]), TensorDesc::f32([64, 64]), TensorDesc::f32([4097]));
        for (inputs, expected) in [(&[&one][..], 1), (&[&full], 1), (&[&over], 2), (&[&over, &one, &full], 4)]
        {
            assert_eq!(SumOfSquares.infer(inputs), Ok(TensorDesc::f32([expected])));
        }
        assert!(SumOfSquares.infer(&[]).is_err());
        assert!(SumOfSquares.infer(&[&TensorDesc::new([4], DType::U32)]).is_err());
    }
}
