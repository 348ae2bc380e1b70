//! The gradient of padding.

use kiln_kernels::pad_grad;

use super::{OpRules, PadMode, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select::looped;
use crate::tensor::{DType, TensorDesc};

/// The gradient of [`Pad`](super::Pad) along one dimension by its input, from that of its result: an element takes what the
/// places get that it was copied to. Where several dimensions were padded it is that of one after the other.
///
/// A tensor that exceeds the device's binding limit cannot have been padded along its first dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PadGrad {
    /// The dimension that was padded.
    pub dim: usize,
    /// Elements before and after it.
    pub sides: [usize; 2],
    /// What they were. The number of a constant is of no account.
    pub mode: PadMode,
}

impl OpRules for PadGrad {
    const NAME: &'static str = "pad_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [grad] = expect::inputs(inputs)?;
        expect::dtype("gradient", grad, DType::F32)?;
        expect::dim(self.dim, grad)?;
        let [before, after] = self.sides;
        let (padded, padding) = (grad.shape[self.dim], before.saturating_add(after));
        let Some(extent) = padded.checked_sub(padding).filter(|&extent| extent > 0) else {
            return Err(Mismatch::new("padding", format!("less than the gradient's {padded}"), padding));
        };
        let most = before.max(after);
        if self.mode == PadMode::Reflect && most >= extent && most > 0 {
            let expected = format!("less than the {extent} elements that are reflected");
            return Err(Mismatch::new(format!("padding of dimension {}", self.dim), expected, most));
        }
        let mut output = grad.clone();
        output.shape[self.dim] = extent;
        Ok(output)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let desc = lowering.output.desc;
        let extent = desc.shape[self.dim] as u32;
        let inner = desc.elements_behind(self.dim + 1) as u32;
        let variant = match (lowering.profile.kind.is_software(), inner.is_multiple_of(4)) {
            (true, true) => pad_grad::Variant::Wide,
            (true, false) => pad_grad::Variant::Four,
            (false, _) => pad_grad::Variant::One,
        };
        let [before, after] = self.sides.map(|side| side as u32);
        let (mode, shown) = match self.mode {
            PadMode::Constant(_) => (0, [0, 0]),
            PadMode::Reflect => (1, [1, 1]),
            PadMode::Replicate => (2, self.sides),
        };
        // Each cell of an invocation may be an end of the dimension.
        let walks = shown.map(|places| looped(places as u64, 0));
        lowering.check_iterations(u64::from(variant.cells()) * (walks[0] + walks[1]))?;
        let line = extent * inner / variant.width();
        for block in lowering.row_blocks(self.dim)? {
            let line_groups = line.div_ceil(variant.cells());
            let params = pad_grad::Params {
                count: block.elements / (extent * inner) * line_groups,
                line_groups,
                extent,
                inner: inner / variant.width(),
                before,
                after,
            };
            let grad = if self.dim == 0 { lowering.whole(0)? } else { lowering.rowwise(0, &block)? };
            let bindings = pad_grad::Bindings { grad, output: block.output };
            let overrides = pad_grad::Overrides { mode };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |dim, sides, mode| {
            PadGrad { dim, sides, mode }
                .infer(&[&TensorDesc::f32([2, 7, 5])])
                .map(|desc| desc.shape)
                .map_err(|mismatch| mismatch.to_string())
        };
        for mode in [PadMode::Constant(1.0), PadMode::Reflect, PadMode::Replicate] {
            assert_eq!(infer(1, [1, 2], mode), Ok(vec![2, 4, 5]));
            assert_eq!(infer(2, [0, 0], mode), Ok(vec![2, 7, 5]));
            assert_eq!(
                infer(1, [3, 4], mode),
                Err("padding: expected less than the gradient's 7, got 7".into())
            );
            assert_eq!(
                infer(3, [0, 0], mode),
                Err("dim: expected less than the rank of f32[2, 7, 5], got 3".into())
            );
        }
        assert_eq!(
            infer(1, [0, 4], PadMode::Reflect),
            Err("padding of dimension 1: expected less than the 3 elements that are reflected, got 4".into())
        );
        assert_eq!(infer(1, [0, 4], PadMode::Replicate), Ok(vec![2, 3, 5]));
        assert!(infer(1, [usize::MAX, usize::MAX], PadMode::Replicate).is_err());
    }
}
