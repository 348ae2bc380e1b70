//! Scaled dot-product attention over packed sequences.

use kiln_kernels::{attention_any, attention_packed};

use super::{AttentionGrad, AttentionGradSums, AttentionInput, OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select;
use crate::tensor::{DType, TensorDesc};

/// `softmax(scale * q k^T) v` for each head, where token `t` attends to the rows `spans[t][0]..spans[t][1]` of `k`
/// and `v`: `torch.nn.functional.scaled_dot_product_attention` without padding (Vaswani et al., 2017). Sequences lie
/// one behind the other.
///
/// q is `[tokens][heads * head_dim]`, k and v are `[kv_tokens][heads * head_dim]`, spans is u32 `[tokens][2]`; the
/// output has q's shape. An empty span gives zeros. head_dim is at most 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Number of heads; each takes consecutive columns.
    pub heads: usize,
    /// Factor of the scores, commonly `1 / sqrt(head_dim)`.
    pub scale: Scalar,
}

/// The widest head that a kernel holds in registers or workgroup memory.
const MAX_HEAD_DIM: usize = 256;

impl OpRules for Attention {
    const NAME: &'static str = "attention";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [q, k, v, spans] = expect::inputs(inputs)?;
        for (what, desc) in [("q", q), ("k", k), ("v", v)] {
            expect::rank(what, desc, 2)?;
            expect::dtype(what, desc, DType::F32)?;
        }
        let width = q.last();
        if self.heads == 0 || !width.is_multiple_of(self.heads) || width / self.heads > MAX_HEAD_DIM {
            let expected = format!("a divisor of {width} that leaves heads of at most {MAX_HEAD_DIM}");
            return Err(Mismatch::new("heads", expected, self.heads));
        }
        expect::shape("k", k, &[k.rows(), width])?;
        expect::shape("v", v, &k.shape)?;
        expect::shape("spans", spans, &[q.rows(), 2])?;
        expect::dtype("spans", spans, DType::U32)?;
        Ok(q.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let width = lowering.output.desc.last();
        let head_dim = width / self.heads;
        for block in lowering.blocks()? {
            let q = lowering.rowwise(0, &block)?;
            let (k, v) = (lowering.whole(1)?, lowering.whole(2)?);
            let (spans, output) = (lowering.rowwise(3, &block)?, block.output);
            let tokens = block.rows.len() as u32;
            let (heads, head_dim, stride) = (self.heads as u32, head_dim as u32, width as u32);
            let kv_tokens = lowering.input(1).desc.rows() as u32;
            let scale = self.scale.get();
            // Both kernels have the same parameters; the first keeps a head of a known width in registers.
            macro_rules! params {
                ($kernel:ident) => {
                    $kernel::Params {
                        tokens,
                        heads,
                        head_dim,
                        q_stride: stride,
                        k_stride: stride,
                        v_stride: stride,
                        output_stride: stride,
                        kv_tokens,
                        scale,
                    }
                };
            }
            if let Some(variant) = select::attention(lowering.profile, head_dim) {
                let params = params!(attention_packed);
                let bindings = attention_packed::Bindings { q, k, v, spans, output };
                lowering.check_iterations(u64::from(kv_tokens))?;
                let tiles = u64::from(tokens.div_ceil(variant.queries())) * u64::from(heads);
                let groups = tiles.div_ceil(u64::from(variant.threads()));
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            } else {
                let params = params!(attention_any);
                let bindings = attention_any::Bindings { q, k, v, spans, output };
                let variant = attention_any::Variant::Base;
                // Four rows of k and v at a time, eight columns of each.
                let columns = select::looped(u64::from(head_dim.div_ceil(8)), 0);
                let rows = select::looped(u64::from(kv_tokens.div_ceil(4)), 2 * columns);
                lowering.check_iterations(rows + 2 * select::looped(u64::from(head_dim), 0))?;
                let groups = (u64::from(tokens) * u64::from(heads)).div_ceil(u64::from(variant.threads()));
                lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let Attention { heads, scale } = *self;
        let [q, k, v, spans] = [0, 1, 2, 3].map(|index| backward.input(index));
        let (result, grad) = (backward.output(), backward.grad());
        let sums = backward.g.apply(AttentionGradSums { heads, scale }, &[q, k, spans, result, grad])?;
        let mut gradients = backward.none();
        for (index, of) in
            [AttentionInput::Query, AttentionInput::Key, AttentionInput::Value].into_iter().enumerate()
        {
            if backward.wants(index) {
                let op = AttentionGrad { heads, scale, of };
                gradients[index] = Some(backward.g.apply(op, &[q, k, v, spans, grad, sums])?);
            }
        }
        Ok(gradients)
    }
}
