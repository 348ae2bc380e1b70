//! More elements around a tensor.

use std::hash::{Hash, Hasher};

use kiln_kernels::pad;

use super::{OpRules, PadGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::{Block, Lowering};
use crate::tensor::{DType, TensorDesc};
use crate::views::halves;
use crate::work::Work;

/// What stands in the padding: the modes of `torch.nn.functional.pad`. Compared and hashed by the number's bits.
#[derive(Clone, Copy, Debug)]
pub enum PadMode {
    /// A number. The tensor is f32.
    Constant(f32),
    /// The tensor mirrored at its first and last element, which are not repeated: less padding than there are elements.
    Reflect,
    /// The nearest element.
    Replicate,
}

impl PadMode {
    /// The number of the mode in the shader, and the bits that stand in the padding.
    fn code(self) -> (u32, u32) {
        match self {
            PadMode::Constant(value) => (0, value.to_bits()),
            PadMode::Reflect => (1, 0),
            PadMode::Replicate => (2, 0),
        }
    }
}

impl PartialEq for PadMode {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for PadMode {}

impl Hash for PadMode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code().hash(state);
    }
}

/// The input with more elements before and after any of its dimensions: `torch.nn.functional.pad`, in every mode for
/// tensors of any rank. Nothing is cut off: sides are not negative. u32 tensors are reflected or replicated.
///
/// A tensor that exceeds the device's binding limit cannot be padded along its first dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Elements `[before, after]` each dimension, in the order of the shape.
    pub sides: Vec<[usize; 2]>,
    /// What they are.
    pub mode: PadMode,
}

/// One axis as the kernel walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PadAxis {
    input: usize,
    before: usize,
    after: usize,
}

impl OpRules for Pad {
    const NAME: &'static str = "pad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        if matches!(self.mode, PadMode::Constant(_)) {
            expect::dtype("input", input, DType::F32)?;
        }
        if self.sides.len() != input.rank() {
            let expected = format!("{}, as many as {input} has dimensions", input.rank());
            return Err(Mismatch::new("number of sides", expected, self.sides.len()));
        }
        let mut output = input.clone();
        for (dim, (extent, &[before, after])) in output.shape.iter_mut().zip(&self.sides).enumerate() {
            let most = before.max(after);
            if self.mode == PadMode::Reflect && most >= *extent && most > 0 {
                let expected = format!("less than the {extent} elements that are reflected");
                return Err(Mismatch::new(format!("padding of dimension {dim}"), expected, most));
            }
            let padded = before.checked_add(after).and_then(|sides| sides.checked_add(*extent));
            *extent = padded
                .filter(|&padded| padded < 1 << 31)
                .ok_or_else(|| Mismatch::new(format!("padded dimension {dim}"), "less than 2^31", "more"))?;
        }
        Ok(output)
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let by_rows = self.sides.first().is_none_or(|&sides| sides == [0, 0]);
        let blocks = if by_rows { lowering.blocks()? } else { lowering.row_blocks(0)? };
        for block in blocks {
            self.lower_block(lowering, &block, by_rows)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut grad = backward.grad();
        for (dim, &sides) in self.sides.iter().enumerate().filter(|(_, sides)| **sides != [0, 0]) {
            grad = backward.g.apply(PadGrad { dim, sides, mode: self.mode }, &[grad])?;
        }
        Ok(vec![Some(grad)])
    }
}

impl Pad {
    fn lower_block(&self, lowering: &mut Lowering<'_>, block: &Block, by_rows: bool) -> Result<()> {
        let mut shape = lowering.input(0).desc.shape.clone();
        if by_rows && let Some(rows) = shape.first_mut() {
            *rows = block.rows.len();
        }
        let axes = self.axes(&shape);
        let outputs: Vec<usize> = axes.iter().map(|axis| axis.before + axis.input + axis.after).collect();
        let variant = match lowering.profile.kind.is_software() {
            true => pad::Variant::Four,
            false => pad::Variant::One,
        };
        let width = outputs[0] as u32;
        let row_groups = width.div_ceil(variant.outputs());
        let (mode, value) = self.mode.code();
        let (out_low, out_high) = halves(&outputs);
        let (in_low, in_high) = halves(&axes.iter().map(|axis| axis.input).collect::<Vec<_>>());
        let (before_low, before_high) = halves(&axes.iter().map(|axis| axis.before).collect::<Vec<_>>());
        let params = pad::Params {
            count: block.elements / width * row_groups,
            row_groups,
            value,
            out_low,
            out_high,
            in_low,
            in_high,
            before_low,
            before_high,
            ..Default::default()
        };
        let bindings = pad::Bindings {
            input: if by_rows { lowering.rowwise(0, block)? } else { lowering.whole(0)? },
            output: block.output,
        };
        let overrides = pad::Overrides { mode, rank: axes.len() as u32 };
        let groups = u64::from(params.count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }

    /// The axes, fastest first, neighbours without padding merged. At least one.
    fn axes(&self, shape: &[usize]) -> Vec<PadAxis> {
        let mut axes: Vec<PadAxis> = vec![];
        for (&input, &[before, after]) in shape.iter().zip(&self.sides).rev() {
            let axis = PadAxis { input, before, after };
            match axes.last_mut() {
                Some(last) if !last.is_padded() && !axis.is_padded() => last.input *= input,
                _ => axes.push(axis),
            }
        }
        if axes.is_empty() {
            axes.push(PadAxis { input: 1, before: 0, after: 0 });
        }
        axes
    }
}

impl PadAxis {
    fn is_padded(&self) -> bool {
        self.before + self.after > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(sides: &[[usize; 2]], mode: PadMode, shape: &[usize]) -> Result<Vec<usize>, String> {
        let op = Pad { sides: sides.to_vec(), mode };
        op.infer(&[&TensorDesc::f32(shape)]).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes() {
        let sides = [[0, 0], [1, 2], [3, 0]];
        for mode in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Replicate] {
            assert_eq!(infer(&sides, mode, &[2, 4, 5]), Ok(vec![2, 7, 8]));
        }
        assert_eq!(infer(&[[5, 9]], PadMode::Replicate, &[1]), Ok(vec![15]));
        assert_eq!(infer(&[], PadMode::Constant(1.0), &[]), Ok(vec![]));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            infer(&[[0, 0], [1, 3]], PadMode::Reflect, &[2, 3]),
            Err("padding of dimension 1: expected less than the 3 elements that are reflected, got 3".into())
        );
        assert_eq!(
            infer(&[[1, 1]], PadMode::Replicate, &[2, 3]),
            Err("number of sides: expected 2, as many as f32[2, 3] has dimensions, got 1".into())
        );
        assert_eq!(
            infer(&[[usize::MAX, 1]], PadMode::Replicate, &[2]),
            Err("padded dimension 0: expected less than 2^31, got more".into())
        );
        let ids = TensorDesc::new([3], DType::U32);
        let op = Pad { sides: vec![[1, 1]], mode: PadMode::Constant(0.0) };
        assert!(op.infer(&[&ids]).is_err());
        assert!(Pad { mode: PadMode::Reflect, ..op }.infer(&[&ids]).is_ok());
    }

    #[test]
    fn numbers_are_compared_by_their_bits() {
        assert_eq!(PadMode::Constant(f32::NAN), PadMode::Constant(f32::NAN));
        assert_ne!(PadMode::Constant(0.0), PadMode::Constant(-0.0));
        assert_ne!(PadMode::Constant(0.0), PadMode::Reflect);
    }

    #[test]
    fn neighbours_without_padding_are_one_axis() {
        let op = Pad { sides: vec![[0, 0], [0, 0], [1, 0], [0, 0], [0, 0]], mode: PadMode::Reflect };
        let axis = |input, before| PadAxis { input, before, after: 0 };
        assert_eq!(op.axes(&[2, 3, 5, 7, 11]), [axis(77, 0), axis(5, 1), axis(6, 0)]);
    }
}
