//! One step of decoding: new tokens attend to those behind them.

use kiln_kernels::{cached_attention_any, cached_attention_row};

use super::attention::head_dim;
use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select;
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// Self attention of one new token per row, over the tokens behind it and itself: the causal attention of a decoder
/// (Vaswani et al., 2017) with its keys and values kept, and a bias by distance on the scores.
///
/// qkv is f32 `[rows][3 * inner]`, the new tokens' queries, keys and values; cache is f32 `[2 * heads][slots][head_dim]`, the
/// keys of earlier tokens and then their values, head by head. past is u32 `[rows][1 + length]`: `past[r][0]` is `n`, how
/// many tokens row `r` has behind it, at most length, and `past[r][1 + p]` is the slot of the one at position `p`; what
/// stands behind those `n` is not looked at. bias is f32 `[heads][reach + 1]`: `bias[h][min(n - p, reach)]` is added to the
/// score of position `p`, and `bias[h][0]` to that of the new token. The output is `[rows][inner]`. Nothing depends on `n`
/// but the numbers, so one plan serves every step. head_dim, `inner` over the heads, is at most 256. There is no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CachedAttention {
    /// Number of heads; each takes consecutive columns.
    pub heads: usize,
    /// Factor of the scores, commonly `1 / sqrt(head_dim)`; T5 has 1.
    pub scale: Scalar,
}

impl CachedAttention {
    /// Of so many heads, their scores times `scale`.
    pub fn new(heads: usize, scale: f32) -> Self {
        Self { heads, scale: Scalar::new(scale) }
    }
}

/// Checks that keys and values lie head by head, `[2 * heads][slots][head_dim]`.
pub(super) fn expect_cache(cache: &TensorDesc, heads: usize, head_dim: usize) -> Result<(), Mismatch> {
    expect::rank("cache", cache, 3)?;
    expect::numbers("cache", cache, &[2 * heads, cache.shape[1], head_dim])
}

impl OpRules for CachedAttention {
    const NAME: &'static str = "cached_attention";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [qkv, cache, past, bias] = expect::inputs(inputs)?;
        for (what, desc) in [("qkv", qkv), ("past", past), ("bias", bias)] {
            expect::rank(what, desc, 2)?;
        }
        if !qkv.last().is_multiple_of(3) {
            return Err(Mismatch::new("qkv", "rows of a query, a key and a value", qkv));
        }
        let (rows, inner) = (qkv.rows(), qkv.last() / 3);
        let head_dim = head_dim(inner, self.heads)?;
        expect::numbers("qkv", qkv, &[rows, 3 * inner])?;
        expect_cache(cache, self.heads, head_dim)?;
        expect::shape("past", past, &[rows, past.last()])?;
        expect::dtype("past", past, DType::U32)?;
        expect::numbers("bias", bias, &[self.heads, bias.last()])?;
        Ok(TensorDesc::f32([rows, inner]))
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        // Scores and mixture of new tokens with all that the cache may hold for them, and with themselves.
        Work::products(work::elements(output).saturating_mul(2 * inputs[2].last() as u64))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let heads = self.heads as u32;
        let head_dim = lowering.output.desc.last() as u32 / heads;
        let slots = lowering.input(1).desc.shape[1] as u32;
        let [length, reach] = [2, 3].map(|index| lowering.input(index).desc.last() as u32 - 1);
        for block in lowering.blocks()? {
            let (qkv, past) = (lowering.rowwise(0, &block)?, lowering.rowwise(2, &block)?);
            let (cache, bias) = (lowering.whole(1)?, lowering.whole(3)?);
            let rows = block.rows.len() as u32;
            // Both kernels have the same parameters and bindings.
            macro_rules! dispatch {
                ($kernel:ident, $variant:expr, $groups:expr) => {{
                    let params = $kernel::Params {
                        rows,
                        heads,
                        head_dim,
                        slots,
                        length,
                        reach,
                        scale: self.scale.get(),
                    };
                    let bindings = $kernel::Bindings { qkv, cache, past, bias, output: block.output };
                    lowering.dispatch($variant.kernel(), [], &params, bindings.into_array(), $groups)?;
                }};
            }
            let pairs = u64::from(rows) * u64::from(heads);
            if let Some(variant) = select::cached_attention(lowering.profile, head_dim) {
                let positions = u64::from(length.div_ceil(variant.threads()));
                lowering.check_iterations(select::looped(positions, 0) + select::JOINS)?;
                dispatch!(cached_attention_row, variant, pairs);
            } else {
                let variant = cached_attention_any::Variant::Base;
                // Eight columns at a time.
                let columns = select::looped(u64::from(head_dim.div_ceil(8)), 0);
                let positions = select::looped(u64::from(length), 2 * columns);
                lowering.check_iterations(positions + 2 * select::looped(u64::from(head_dim), 0))?;
                dispatch!(cached_attention_any, variant, pairs.div_ceil(u64::from(variant.threads())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_belong_together() {
        let op = CachedAttention::new(3, 1.0);
        let (qkv, cache, bias) =
            (TensorDesc::f32([5, 36]), TensorDesc::f32([6, 40, 4]), TensorDesc::f32([3, 9]));
        let past = TensorDesc::new([5, 8], DType::U32);
        assert_eq!(op.infer(&[&qkv, &cache, &past, &bias]), Ok(TensorDesc::f32([5, 12])));
        let [narrow, wide] = [TensorDesc::f32([5, 35]), TensorDesc::f32([6, 40, 6])];
        let (floats, few) = (TensorDesc::f32([5, 8]), TensorDesc::new([4, 8], DType::U32));
        for (inputs, expected) in [
            (
                [&narrow, &cache, &past, &bias],
                "qkv: expected rows of a query, a key and a value, got f32[5, 35]",
            ),
            ([&qkv, &wide, &past, &bias], "cache: expected [6, 40, 4], got f32[6, 40, 6]"),
            ([&qkv, &cache, &floats, &bias], "past type: expected u32, got f32[5, 8]"),
            ([&qkv, &cache, &few, &bias], "past: expected [5, 8], got u32[4, 8]"),
            ([&qkv, &cache, &past, &floats], "bias: expected [3, 8], got f32[5, 8]"),
        ] {
            assert_eq!(op.infer(&inputs).expect_err(expected).to_string(), expected);
        }
        let error = CachedAttention::new(5, 1.0).infer(&[&qkv, &cache, &past, &bias]);
        let expected = "heads: expected a divisor of 12 that leaves heads of at most 256, got 5";
        assert_eq!(error.expect_err(expected).to_string(), expected);
    }
}
