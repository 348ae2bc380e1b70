//! What the gradients of an attention need of each of its rows.

use kiln_kernels::{attention_grad_sums, attention_grad_sums_packed};

use super::{Attention, OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select;
use crate::tensor::TensorDesc;
use crate::work::{self, Work};

/// Of each token and head of an [`Attention`] the logarithm of the sum of its scores' exponentials, and the dot product
/// of its rows of the result and of the result's gradient: f32 `[tokens][heads][2]`, for
/// [`AttentionGrad`](super::AttentionGrad). The logarithm of an empty span is 0.
///
/// The inputs are q, k, spans, the attention's result and the gradient of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionGradSums {
    /// Number of heads.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: Scalar,
}

impl OpRules for AttentionGradSums {
    const NAME: &'static str = "attention_grad_sums";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [q, k, spans, result, grad] = expect::inputs(inputs)?;
        let attention = Attention { heads: self.heads, scale: self.scale, relative_bias: false };
        let made = attention.infer(&[q, k, k, spans])?;
        expect::numbers("result", result, &made.shape)?;
        expect::numbers("gradient", grad, &made.shape)?;
        Ok(TensorDesc::f32([q.rows(), self.heads, 2]))
    }

    fn work(&self, inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        let (q, rows) = (work::elements(inputs[0]), inputs[1].rows() as u64);
        Work::products(q.saturating_mul(rows + 1))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let q = lowering.input(0).desc;
        let kv_tokens = lowering.input(1).desc.rows() as u32;
        let (heads, head_dim) = (self.heads as u32, (q.last() / self.heads) as u32);
        let packed = select::attention_grad_sums(lowering.profile, head_dim);
        lowering.check_iterations(match packed {
            Some(_) => u64::from(kv_tokens),
            // Four rows of k at a time, eight columns of each.
            None => {
                let columns = select::looped(u64::from(head_dim.div_ceil(8)), 0);
                select::looped(u64::from(kv_tokens.div_ceil(4)), columns) + columns
            }
        })?;
        for block in lowering.blocks()? {
            let tokens = block.rows.len() as u32;
            // Both kernels have the same parameters and bindings; the first keeps a head of a known width in registers.
            macro_rules! dispatch {
                ($kernel:ident, $variant:expr, $invocations:expr) => {{
                    let params =
                        $kernel::Params { tokens, heads, head_dim, kv_tokens, scale: self.scale.get() };
                    let bindings = $kernel::Bindings {
                        q: lowering.rowwise(0, &block)?,
                        k: lowering.whole(1)?,
                        spans: lowering.rowwise(2, &block)?,
                        result: lowering.rowwise(3, &block)?,
                        grad: lowering.rowwise(4, &block)?,
                        output: block.output,
                    };
                    let groups =
                        (u64::from($invocations) * u64::from(heads)).div_ceil(u64::from($variant.threads()));
                    lowering.dispatch($variant.kernel(), [], &params, bindings.into_array(), groups)?;
                }};
            }
            match packed {
                Some(variant) => {
                    dispatch!(attention_grad_sums_packed, variant, tokens.div_ceil(variant.queries()))
                }
                None => dispatch!(attention_grad_sums, attention_grad_sums::Variant::Base, tokens),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn two_numbers_for_each_token_and_head() {
        let op = AttentionGradSums { heads: 3, scale: Scalar::new(1.0) };
        let (q, k) = (TensorDesc::f32([7, 12]), TensorDesc::f32([5, 12]));
        let spans = TensorDesc::new([7, 2], DType::U32);
        assert_eq!(op.infer(&[&q, &k, &spans, &q, &q]), Ok(TensorDesc::f32([7, 3, 2])));
        let error = op.infer(&[&q, &k, &spans, &q, &k]).expect_err("the gradient is not the result's");
        assert_eq!(error.to_string(), "gradient: expected [7, 12], got f32[5, 12]");
    }
}
