//! Numbers of half precision widened.

use kiln_kernels::unpack_half;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// u32 `[..][n]` of two halves each, as [`PackHalf`](super::PackHalf) makes them, as f32 `[..][2 n]`: rows of a packed
/// table, once they have been looked up. Exact, but that a driver may take numbers below 2^-14 for zero. There is no
/// gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnpackHalf;

impl OpRules for UnpackHalf {
    const NAME: &'static str = "unpack_half";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::U32)?;
        let [before @ .., last] = input.shape.as_slice() else {
            return Err(Mismatch::new("input rank", "at least 1", input));
        };
        Ok(TensorDesc::f32([before, &[2 * last]].concat()))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let rank = lowering.output.desc.rank();
        for block in lowering.row_blocks(rank - 1)? {
            let variant = unpack_half::Variant::Base;
            let input = if rank == 1 { lowering.whole(0)? } else { lowering.rowwise(0, &block)? };
            let params = unpack_half::Params { count: block.elements / 2 };
            let bindings = unpack_half::Bindings { input, output: block.output };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dimension_is_doubled() {
        let infer = |desc: TensorDesc| UnpackHalf.infer(&[&desc]).map_err(|mismatch| mismatch.to_string());
        assert_eq!(infer(TensorDesc::new([3, 4], DType::U32)), Ok(TensorDesc::f32([3, 8])));
        assert_eq!(infer(TensorDesc::new([1], DType::U32)), Ok(TensorDesc::f32([2])));
        assert_eq!(
            infer(TensorDesc::new([], DType::U32)),
            Err("input rank: expected at least 1, got u32[]".into())
        );
        assert!(infer(TensorDesc::f32([4])).is_err());
    }
}
