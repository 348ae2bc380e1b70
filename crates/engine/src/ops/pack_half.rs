//! Numbers rounded to half precision, two to a word.

use kiln_kernels::pack_half;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// f32 `[..][n]` rounded to IEEE half precision, as u32 `[..][n / 2]`: two neighbours in a word, the first in the low bits.
/// `torch.Tensor.half`: to nearest, ties to even, infinite beyond 65504, subnormal below 2^-14. There is no gradient.
///
/// A weight that is packed takes half the memory, and half the time where reading it is what takes time: a
/// [`Matmul`](super::Matmul) reads it as it is, and adds up in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackHalf;

impl OpRules for PackHalf {
    const NAME: &'static str = "pack_half";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        match input.shape.as_slice() {
            [before @ .., last] if last.is_multiple_of(2) => {
                Ok(TensorDesc::new([before, &[last / 2]].concat(), DType::U32))
            }
            _ => Err(Mismatch::new("input", "an even last dimension", input)),
        }
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let rank = lowering.output.desc.rank();
        for block in lowering.row_blocks(rank - 1)? {
            let variant = pack_half::Variant::Base;
            let input = if rank == 1 { lowering.whole(0)? } else { lowering.rowwise(0, &block)? };
            let params = pack_half::Params { count: block.elements };
            let bindings = pack_half::Bindings { input, output: block.output };
            let groups = u64::from(block.elements.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dimension_is_halved() {
        let infer = |desc: TensorDesc| PackHalf.infer(&[&desc]).map_err(|mismatch| mismatch.to_string());
        assert_eq!(infer(TensorDesc::f32([3, 8])), Ok(TensorDesc::new([3, 4], DType::U32)));
        assert_eq!(infer(TensorDesc::f32([2])), Ok(TensorDesc::new([1], DType::U32)));
        let odd = Err("input: expected an even last dimension, got f32[8, 3]".into());
        assert_eq!(infer(TensorDesc::f32([8, 3])), odd);
        assert!(infer(TensorDesc::f32([])).is_err() && infer(TensorDesc::new([2], DType::U32)).is_err());
    }
}
