//! Dropout, in training.

use kiln_kernels::dropout;

use super::{OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// Zeroes elements of the first input with probability `p`, and multiplies those that are left by `1 / (1 - p)`:
/// `torch.nn.functional.dropout` in training (Srivastava et al., 2014).
///
/// Which elements is a pure function of the second input, u32 `[4]` of seed (low word, high word), step and 0, and of
/// the stream, a number that each dropout of a network has for itself: on every device the same, with Philox4x32-10
/// (Salmon et al., 2011). The key is the seed; element `i` of the tensor is kept where word `i % 4` for the counter
/// `[i / 4, 4, step, stream]` is at least `p 2^32`; the 4 stands for dropout among the purposes of random numbers. NaN
/// stays NaN, dropped or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dropout {
    /// The probability of a zero, from 0 to 1.
    pub p: Scalar,
    /// The number of this dropout in its network.
    pub stream: u32,
}

/// More elements than the first word of the counter can tell apart.
const MOST_ELEMENTS: usize = 1 << 34;

impl Dropout {
    /// The least word that keeps an element, and what that is multiplied by.
    fn threshold(&self) -> (u32, f32) {
        let p = f64::from(self.p.get());
        if p >= 1.0 {
            return (0, 0.0);
        }
        // At most 2^32 - 256, since p has 24 bits.
        ((p * 2f64.powi(32)).ceil() as u32, (1.0 / (1.0 - p)) as f32)
    }
}

impl OpRules for Dropout {
    const NAME: &'static str = "dropout";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, random] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::dtype("random", random, DType::U32)?;
        expect::shape("random", random, &[4])?;
        let p = self.p.get();
        if !(0.0..=1.0).contains(&p) {
            return Err(Mismatch::new("dropout p", "a probability from 0 to 1", p));
        }
        if input.elements() > MOST_ELEMENTS {
            return Err(Mismatch::new("input", format!("at most {MOST_ELEMENTS} elements"), input));
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (threshold, scale) = self.threshold();
        for block in lowering.blocks()? {
            let first = block.rows.start * lowering.output.desc.row_elements();
            let params = dropout::Params {
                count: block.elements,
                first_block: (first / 4) as u32,
                first_place: (first % 4) as u32,
                stream: self.stream,
                threshold,
                scale,
            };
            let bindings = dropout::Bindings {
                input: lowering.rowwise(0, &block)?,
                random: lowering.whole(1)?,
                output: block.output,
            };
            let variant = dropout::Variant::Base;
            let blocks = (params.first_place + block.elements).div_ceil(4);
            let groups = u64::from(blocks.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// What was kept passes, times the same number: the same op on the gradient.
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (random, grad) = (backward.input(1), backward.grad());
        Ok(vec![Some(backward.g.apply(*self, &[grad, random])?), None])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(p: f32) -> Dropout {
        Dropout { p: Scalar::new(p), stream: 0 }
    }

    #[test]
    fn mistakes_are_named() {
        let (x, random) = (TensorDesc::f32([2, 3]), TensorDesc::new([4], DType::U32));
        for (p, expected) in [
            (0.0, None),
            (0.5, None),
            (1.0, None),
            (-0.1, Some("dropout p: expected a probability from 0 to 1, got -0.1")),
            (1.5, Some("dropout p: expected a probability from 0 to 1, got 1.5")),
            (f32::NAN, Some("dropout p: expected a probability from 0 to 1, got NaN")),
        ] {
            let inferred = op(p).infer(&[&x, &random]);
            assert_eq!(inferred.err().map(|e| e.to_string()).as_deref(), expected, "{p}");
        }
        let seed = TensorDesc::new([2], DType::U32);
        let error = op(0.5).infer(&[&x, &seed]).expect_err("four words are needed");
        assert_eq!(error.to_string(), "random: expected [4], got u32[2]");
        assert!(op(0.5).infer(&[&x, &TensorDesc::f32([4])]).is_err());
    }

    #[test]
    fn thresholds() {
        assert_eq!(op(0.0).threshold(), (0, 1.0));
        assert_eq!(op(0.5).threshold(), (1 << 31, 2.0));
        assert_eq!(op(0.25).threshold(), (1 << 30, 4.0 / 3.0));
        assert_eq!(op(1e-12).threshold(), (1, 1.0));
        assert_eq!(op(1.0f32.next_down()).threshold(), (u32::MAX - 255, 16_777_216.0));
        assert_eq!(op(1.0).threshold(), (0, 0.0));
    }
}
