//! Gated linear units.

use kiln_kernels::gated;

use super::{Activation, OpRules, Unary, UnaryGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::ops::GradientReads;
use crate::tensor::{DType, TensorDesc};

/// `activation(x[..n]) * x[n..]` by the halves of the last dimension: `x` is `[..][2 n]`, the result `[..][n]`. The gated
/// linear units of Shazeer (2020), with one product for gate and values: `GeluTanh` gives the `gated-gelu` of T5 v1.1,
/// `Silu` SwiGLU. `torch.nn.functional.glu`, but with the activated half first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gated {
    /// What is applied to the first half.
    pub activation: Activation,
}

impl OpRules for Gated {
    const NAME: &'static str = "gated";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        let [before @ .., last] = input.shape.as_slice() else {
            return Err(Mismatch::new("input rank", "at least 1", input));
        };
        if !last.is_multiple_of(2) {
            return Err(Mismatch::new("input", "an even last dimension", input));
        }
        Ok(TensorDesc::f32([before, &[last / 2]].concat()))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let width = lowering.output.desc.last() as u32;
        let rank = lowering.output.desc.rank();
        for block in lowering.row_blocks(rank - 1)? {
            let (variant, each) =
                if width.is_multiple_of(4) { (gated::Variant::Quad, 4) } else { (gated::Variant::Single, 1) };
            let params = gated::Params { count: block.elements / each, width: width / each };
            let input = if rank == 1 { lowering.whole(0)? } else { lowering.rowwise(0, &block)? };
            let bindings = gated::Bindings { input, output: block.output };
            let overrides = gated::Overrides { kind: self.activation.code() };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (x, grad) = (backward.input(0), backward.grad());
        let g = &mut *backward.g;
        let (dim, width) = (g.desc(x).rank() - 1, g.desc(grad).last());
        let gate = g.slice(x, dim, 0, width)?;
        let values = g.slice(x, dim, width, 2 * width)?;
        let function = Unary::Activation(self.activation);
        let open = g.apply(function, &[gate])?;
        let reads = match function.gradient_reads() {
            GradientReads::Input => gate,
            GradientReads::Output => open,
        };
        let by_gate = g.mul(grad, values)?;
        let by_gate = g.apply(UnaryGrad { function }, &[reads, by_gate])?;
        let by_values = g.mul(grad, open)?;
        Ok(vec![Some(g.concat(&[by_gate, by_values], dim)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dimension_is_halved() {
        let infer = |shape: &[usize]| {
            let made = Gated { activation: Activation::GeluTanh }.infer(&[&TensorDesc::f32(shape)]);
            made.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(&[2, 3, 8]), Ok(vec![2, 3, 4]));
        assert_eq!(infer(&[2]), Ok(vec![1]));
        assert_eq!(infer(&[2, 3]), Err("input: expected an even last dimension, got f32[2, 3]".into()));
        assert_eq!(infer(&[]), Err("input rank: expected at least 1, got f32[]".into()));
    }
}
