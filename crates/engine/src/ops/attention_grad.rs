//! The gradients of attention over packed sequences.

use kiln_kernels::{attention_grad_any, attention_grad_packed};

use super::{Attention, OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Bound, Lowering};
use crate::select::{self, SOFTWARE_ITERATIONS};
use crate::tensor::TensorDesc;
use crate::work::{self, Work};

/// The gradient of an [`Attention`] by one of its tensors, of that tensor's shape.
///
/// The inputs are q, k, v and spans as there, the gradient of the result, and what
/// [`AttentionGradSums`](super::AttentionGradSums) makes. No matrix of weights is kept: they are computed again from q, k
/// and the logarithms, as Dao, Fu, Ermon, Rudra and Ré do (FlashAttention, 2022).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionGrad {
    /// Number of heads.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: Scalar,
    /// Which tensor's gradient it is.
    pub of: AttentionInput,
}

/// A tensor that an attention reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionInput {
    /// q.
    Query,
    /// k.
    Key,
    /// v.
    Value,
}

impl OpRules for AttentionGrad {
    const NAME: &'static str = "attention_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [q, k, v, spans, grad, sums] = expect::inputs(inputs)?;
        let attention = Attention { heads: self.heads, scale: self.scale, relative_bias: false };
        let result = attention.infer(&[q, k, v, spans])?;
        expect::numbers("gradient", grad, &result.shape)?;
        expect::numbers("sums", sums, &[q.rows(), self.heads, 2])?;
        Ok(if self.of == AttentionInput::Query { q.clone() } else { k.clone() })
    }

    fn work(&self, inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        // Scores, their gradients and the mixture; the gradient by v has no use for the second.
        let products = if self.of == AttentionInput::Value { 2 } else { 3 };
        Work::products(work::elements(inputs[0]).saturating_mul(products * inputs[1].rows() as u64))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (heads, width) = (self.heads as u32, lowering.output.desc.last() as u32);
        let head_dim = width / heads;
        let packed = select::attention_grad(lowering.profile, head_dim);
        let step = if packed.is_some() { PACKED_STEP } else { any_step(head_dim) };
        for block in lowering.blocks()? {
            let bound = self.bind(lowering, &block)?;
            let rows = block.rows.len() as u32;
            for other in (0..bound.others).step_by(step as usize) {
                // Both kernels have the same parameters, bindings and kinds; the first keeps a head of a known width in
                // registers.
                macro_rules! dispatch {
                    ($kernel:ident, $variant:expr, $invocations:expr) => {{
                        let params = $kernel::Params {
                            rows,
                            heads,
                            head_dim,
                            first_own: block.rows.start as u32,
                            other,
                            other_end: bound.others.min(other + step),
                            scale: self.scale.get(),
                        };
                        let bindings = $kernel::Bindings {
                            own: bound.own,
                            partner: bound.partner,
                            other: bound.other,
                            other_partner: bound.other_partner,
                            spans: bound.spans,
                            sums: bound.sums,
                            output: block.output,
                        };
                        let overrides = $kernel::Overrides { kind: self.of as u32 };
                        let groups = (u64::from($invocations) * u64::from(heads))
                            .div_ceil(u64::from($variant.threads()));
                        let (kernel, bindings) = ($variant.kernel(), bindings.into_array());
                        lowering.dispatch(kernel, overrides.pairs(), &params, bindings, groups)?;
                    }};
                }
                match packed {
                    Some(variant) => dispatch!(attention_grad_packed, variant, rows.div_ceil(variant.own())),
                    None => dispatch!(attention_grad_any, attention_grad_any::Variant::Base, rows),
                }
            }
        }
        Ok(())
    }
}

/// What a kernel binds for a block of rows: these and their partners, the rows that they meet and theirs.
struct Rows {
    own: Bound,
    partner: Bound,
    other: Bound,
    other_partner: Bound,
    spans: Bound,
    sums: Bound,
    /// How many other rows there are.
    others: u32,
}

impl AttentionGrad {
    fn bind(&self, lowering: &Lowering<'_>, block: &Block) -> Result<Rows> {
        let [q, k, v, spans, grad, sums] = [0, 1, 2, 3, 4, 5];
        let rows = |index: usize| lowering.input(index).desc.rows() as u32;
        Ok(if self.of == AttentionInput::Query {
            Rows {
                own: lowering.rowwise(q, block)?,
                partner: lowering.rowwise(grad, block)?,
                other: lowering.whole(k)?,
                other_partner: lowering.whole(v)?,
                spans: lowering.rowwise(spans, block)?,
                sums: lowering.rowwise(sums, block)?,
                others: rows(k),
            }
        } else {
            Rows {
                own: lowering.rowwise(k, block)?,
                partner: lowering.rowwise(v, block)?,
                other: lowering.whole(q)?,
                other_partner: lowering.whole(grad)?,
                spans: lowering.whole(spans)?,
                sums: lowering.whole(sums)?,
                others: rows(q),
            }
        })
    }
}

/// How many rows an invocation of the kernel for known widths meets in one dispatch, each of which takes it two
/// iterations at most. It is as many as one of a software adapter may, for all devices, which long dispatches do not
/// serve either.
const PACKED_STEP: u32 = (SOFTWARE_ITERATIONS / 2 - 1) as u32;

/// The same for the kernel of any width: four rows at a time, some columns of each, twice.
fn any_step(head_dim: u32) -> u32 {
    let columns = attention_grad_any::Variant::Base.columns();
    let columns = select::looped(u64::from(head_dim.div_ceil(columns)), 0);
    let left = SOFTWARE_ITERATIONS - select::looped(u64::from(head_dim), 0) - 1;
    4 * (left / (1 + 2 * columns)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn a_gradient_has_the_shape_of_its_tensor() {
        let (q, k) = (TensorDesc::f32([7, 12]), TensorDesc::f32([5, 12]));
        let (spans, sums) = (TensorDesc::new([7, 2], DType::U32), TensorDesc::f32([7, 3, 2]));
        for (of, expected) in
            [(AttentionInput::Query, &q), (AttentionInput::Key, &k), (AttentionInput::Value, &k)]
        {
            let op = AttentionGrad { heads: 3, scale: Scalar::new(1.0), of };
            assert_eq!(op.infer(&[&q, &k, &k, &spans, &q, &sums]).as_ref(), Ok(expected));
            let error = op.infer(&[&q, &k, &k, &spans, &q, &q]).expect_err("these are no sums");
            assert_eq!(error.to_string(), "sums: expected [7, 3, 2], got f32[7, 12]");
        }
    }

    #[test]
    fn software_loops_stay_short() {
        for head_dim in [1u32, 8, 64, 256] {
            let columns = attention_grad_any::Variant::Base.columns();
            let columns = select::looped(u64::from(head_dim).div_ceil(u64::from(columns)), 0);
            let rows = select::looped(u64::from(any_step(head_dim)) / 4, 2 * columns);
            let iterations = rows + select::looped(u64::from(head_dim), 0);
            assert!((50_000..=SOFTWARE_ITERATIONS).contains(&iterations), "{iterations} for {head_dim}");
        }
    }
}
