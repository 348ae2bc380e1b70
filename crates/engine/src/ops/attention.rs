//! Scaled dot-product attention over packed sequences.

use kiln_kernels::{attention_any, attention_packed, attention_row};

use super::{AttentionGrad, AttentionGradSums, AttentionInput, OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// `softmax(scale * q k^T) v` for each head, where token `t` attends to the rows `spans[t][0]..spans[t][1]` of `k`
/// and `v`: `torch.nn.functional.scaled_dot_product_attention` without padding (Vaswani et al., 2017). Sequences lie
/// one behind the other.
///
/// q is `[tokens][heads * head_dim]`, k and v are `[kv_tokens][heads * head_dim]`, spans is u32 `[tokens][2]`; the
/// output has q's shape. An empty span gives zeros. head_dim is at most 256. k and v may also be
/// `[heads][kv_tokens][head_dim]`: so they are read in longer stretches, which pays where they are kept for many steps.
/// There is no gradient then.
///
/// With `relative_bias` a fifth input, f32 `[heads][2 * reach + 1]`, says what is added to a score by how far the key lies
/// after the query: `[h][clamp(j - t, -reach, reach) + reach]` for row `t` of q and row `j` of k (Shaw, Uszkoreit and
/// Vaswani, 2018, in the form of T5). q and k then have equally many rows, and there is no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Number of heads; each takes consecutive columns.
    pub heads: usize,
    /// Factor of the scores, commonly `1 / sqrt(head_dim)`.
    pub scale: Scalar,
    /// Whether a bias by distance is added to the scores.
    pub relative_bias: bool,
}

impl Attention {
    /// Without a bias.
    pub fn new(heads: usize, scale: f32) -> Self {
        Self { heads, scale: Scalar::new(scale), relative_bias: false }
    }
}

/// The widest head that a kernel holds in registers or workgroup memory.
pub(super) const MAX_HEAD_DIM: usize = 256;

/// Checks that rows of a width hold so many heads; gives a head's width.
pub(super) fn head_dim(width: usize, heads: usize) -> Result<usize, Mismatch> {
    if heads == 0 || !width.is_multiple_of(heads) || width / heads > MAX_HEAD_DIM {
        let expected = format!("a divisor of {width} that leaves heads of at most {MAX_HEAD_DIM}");
        return Err(Mismatch::new("heads", expected, heads));
    }
    Ok(width / heads)
}

/// Whether keys and values are `[heads][kv_tokens][head_dim]`.
fn by_head(keys: &TensorDesc) -> bool {
    keys.rank() == 3
}

/// How many rows of keys and values there are.
fn kv_tokens(keys: &TensorDesc) -> usize {
    if by_head(keys) { keys.shape[1] } else { keys.rows() }
}

impl OpRules for Attention {
    const NAME: &'static str = "attention";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let ([q, k, v, spans], bias) = if self.relative_bias {
            let [q, k, v, spans, bias] = expect::inputs(inputs)?;
            ([q, k, v, spans], Some(bias))
        } else {
            (expect::inputs(inputs)?, None)
        };
        expect::rank("q", q, 2)?;
        for (what, desc) in [("q", q), ("k", k), ("v", v)] {
            expect::dtype(what, desc, DType::F32)?;
        }
        let width = q.last();
        let head_dim = head_dim(width, self.heads)?;
        // A distance means something only between rows of one numbering.
        let kv_tokens = if bias.is_some() { q.rows() } else { kv_tokens(k) };
        if by_head(k) {
            expect::shape("k", k, &[self.heads, kv_tokens, head_dim])?;
        } else {
            expect::shape("k", k, &[kv_tokens, width])?;
        }
        expect::shape("v", v, &k.shape)?;
        expect::shape("spans", spans, &[q.rows(), 2])?;
        expect::dtype("spans", spans, DType::U32)?;
        if let Some(bias) = bias {
            if bias.rank() == 2 && bias.last().is_multiple_of(2) {
                return Err(Mismatch::new("bias", "an odd number of distances, 2 * reach + 1", bias));
            }
            expect::numbers("bias", bias, &[self.heads, bias.last()])?;
        }
        Ok(q.clone())
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        // Scores and mixture, where every token looks at every row: the most that the spans may ask for.
        Work::products(work::elements(output).saturating_mul(2 * kv_tokens(inputs[1]) as u64))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let stride = lowering.output.desc.last() as u32;
        let heads = self.heads as u32;
        let head_dim = stride / heads;
        let keys = lowering.input(1).desc;
        let kv_tokens = kv_tokens(keys) as u32;
        let (kv_stride, kv_head_stride) =
            if by_head(keys) { (head_dim, kv_tokens * head_dim) } else { (stride, head_dim) };
        let scale = self.scale.get();
        for block in lowering.blocks()? {
            let q = lowering.rowwise(0, &block)?;
            let (k, v) = (lowering.whole(1)?, lowering.whole(2)?);
            let (spans, output) = (lowering.rowwise(3, &block)?, block.output);
            let tokens = block.rows.len() as u32;
            if !self.relative_bias
                && let Some(variant) =
                    select::attention_row(lowering.profile, tokens, kv_tokens, heads, head_dim)
            {
                let params = attention_row::Params {
                    tokens,
                    heads,
                    head_dim,
                    q_stride: stride,
                    k_stride: kv_stride,
                    v_stride: kv_stride,
                    output_stride: stride,
                    kv_head_stride,
                    kv_tokens,
                    scale,
                };
                let bindings = attention_row::Bindings { q, k, v, spans, output }.into_array();
                let rows = u64::from(kv_tokens.div_ceil(variant.threads()));
                lowering.check_iterations(select::looped(rows, 0) + select::JOINS)?;
                let groups = u64::from(tokens.div_ceil(variant.queries())) * u64::from(heads);
                lowering.dispatch(variant.kernel(), [], &params, bindings, groups)?;
                continue;
            }
            // A readable binding fills the place of a bias that is absent.
            let (bias, reach) = if self.relative_bias {
                (lowering.whole(4)?, (lowering.input(4).desc.last() / 2) as u32)
            } else {
                (q, 0)
            };
            let biased = u32::from(self.relative_bias);
            // Both kernels have the same parameters; the first keeps a head of a known width in registers.
            macro_rules! dispatch {
                ($kernel:ident, $variant:expr, $invocations:expr) => {{
                    let params = $kernel::Params {
                        tokens,
                        heads,
                        head_dim,
                        q_stride: stride,
                        k_stride: kv_stride,
                        v_stride: kv_stride,
                        output_stride: stride,
                        kv_head_stride,
                        kv_tokens,
                        scale,
                        first_token: block.rows.start as u32,
                        reach,
                    };
                    let bindings = $kernel::Bindings { q, k, v, spans, bias, output }.into_array();
                    let overrides = $kernel::Overrides { bias: biased };
                    let groups =
                        (u64::from($invocations) * u64::from(heads)).div_ceil(u64::from($variant.threads()));
                    lowering.dispatch($variant.kernel(), overrides.pairs(), &params, bindings, groups)?;
                }};
            }
            if let Some(variant) = select::attention(lowering.profile, head_dim) {
                lowering.check_iterations(u64::from(kv_tokens))?;
                dispatch!(attention_packed, variant, tokens.div_ceil(variant.queries()));
            } else {
                // Four rows of k and v at a time, eight columns of each.
                let columns = select::looped(u64::from(head_dim.div_ceil(8)), 0);
                let rows = select::looped(u64::from(kv_tokens.div_ceil(4)), 2 * columns);
                lowering.check_iterations(rows + 2 * select::looped(u64::from(head_dim), 0))?;
                dispatch!(attention_any, attention_any::Variant::Base, tokens);
            }
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let Attention { heads, scale, relative_bias } = *self;
        if relative_bias {
            return Err(backward.refuse("an attention without a relative bias"));
        }
        let [q, k, v, spans] = [0, 1, 2, 3].map(|index| backward.input(index));
        if by_head(backward.g.desc(k)) {
            return Err(
                backward.refuse("an attention whose keys and values are [kv_tokens][heads * head_dim]")
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::GraphBuilder;

    #[test]
    fn by_head_there_is_no_gradient() -> Result<()> {
        let mut g = GraphBuilder::new("net");
        let q = g.variable("q", &[5, 12], DType::F32);
        let kept = g.input("kept", &[3, 7, 4], DType::F32);
        let spans = g.input("spans", &[5, 2], DType::U32);
        let mixed = g.attention(q, kept, kept, spans, Attention::new(3, 1.0))?;
        let loss = g.sum(mixed, &[0, 1], false)?;
        let error = g.gradients(loss, &[q]).expect_err("there is no such kernel").to_string();
        assert!(error.contains("keys and values are [kv_tokens][heads * head_dim]"), "{error}");
        let error =
            g.attention(q, kept, kept, spans, Attention::new(2, 1.0)).expect_err("two heads are wider");
        assert!(error.to_string().contains("k: expected [2, 7, 6], got f32[3, 7, 4]"), "{error}");
        Ok(())
    }

    #[test]
    fn with_a_bias_there_is_no_gradient() -> Result<()> {
        let mut g = GraphBuilder::new("net");
        let x = g.input("x", &[5, 12], DType::F32);
        let spans = g.input("spans", &[5, 2], DType::U32);
        let bias = g.variable("bias", &[3, 9], DType::F32);
        let mixed = g.relative_attention([x, x, x], spans, bias, Attention::new(3, 1.0))?;
        let loss = g.sum(mixed, &[0, 1], false)?;
        let error = g.gradients(loss, &[bias]).expect_err("there is no gradient").to_string();
        assert!(
            error.contains("gradient: expected an attention without a relative bias, got Attention"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_bias_has_an_odd_number_of_distances() {
        let (q, k) = (TensorDesc::f32([5, 12]), TensorDesc::f32([7, 12]));
        let spans = TensorDesc::new([5, 2], DType::U32);
        let plain = Attention::new(3, 0.5);
        let biased = Attention { relative_bias: true, ..plain };
        assert_eq!(plain.infer(&[&q, &k, &k, &spans]), Ok(q.clone()));
        assert_eq!(biased.infer(&[&q, &q, &q, &spans, &TensorDesc::f32([3, 9])]), Ok(q.clone()));
        for (op, k, bias, expected) in [
            (plain, &k, Some([3, 9]), "number of inputs: expected 4, got 5"),
            (biased, &q, None, "number of inputs: expected 5, got 4"),
            (biased, &k, Some([3, 9]), "k: expected [5, 12], got f32[7, 12]"),
            (
                biased,
                &q,
                Some([3, 8]),
                "bias: expected an odd number of distances, 2 * reach + 1, got f32[3, 8]",
            ),
            (biased, &q, Some([2, 9]), "bias: expected [3, 9], got f32[2, 9]"),
        ] {
            let bias = bias.map(TensorDesc::f32);
            let inputs: Vec<&TensorDesc> = [&q, k, k, &spans].into_iter().chain(&bias).collect();
            assert_eq!(op.infer(&inputs).expect_err(expected).to_string(), expected);
        }
    }
}
