//! RMS norm, projections and self attention of one row.

use kiln_kernels::norm_self_attention;

use super::cached_attention::expect_cache;
use super::norm_cross_attention::known_heads;
use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::row_weight::RowWeight;
use crate::select::{JOINS, looped};
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// [`CachedAttention`](super::CachedAttention) of a single row, whose query, key and value are `rms_norm(x) weight`. The self
/// attention of a decoder's step: [`RmsNorm`](super::RmsNorm), [`Matmul`](super::Matmul) and attention in one.
///
/// Inputs: the row `[1][depth]`; the norm's weight `[depth]`; that of the projections in panels, f32 `[panels][depth][8]` or,
/// of halves, u32 `[panels][depth][4]`, whose columns are those of queries, keys and values, `inner = heads * head_dim` of
/// each; cache, past and bias as [`CachedAttention`](super::CachedAttention) takes them. The output is `[3 * inner]`: what was
/// mixed, then the token's key and its value; with [`back`](Self::back), `[heads * depth]` follow. 32 divides the depth;
/// head_dim is one of those of [`NormCrossAttention`](super::NormCrossAttention::HEAD_DIMS). Inserted by the `fuse_step`
/// pass, for software adapters whose subgroups are of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormSelfAttention {
    /// Number of heads; each takes consecutive columns.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: Scalar,
    /// Added to the mean of the squares.
    pub epsilon: Scalar,
    /// Whether it goes on to a product of as many columns as the row has: each head's part of it then stands behind the rest
    /// of the output. Its weight, `[heads][depth / 8][head_dim][8]`, lies behind that of the projections, and both are one
    /// tensor of rows of a panel, f32 `[4 * panels / 3 * depth][8]` or, of halves, u32 `[4 * panels / 3 * depth][4]`.
    pub back: bool,
}

impl NormSelfAttention {
    fn weight(&self, inputs: [&TensorDesc; 3]) -> Result<RowWeight, Mismatch> {
        if self.back { RowWeight::with_back(inputs, 3) } else { RowWeight::of(inputs) }
    }
}

impl OpRules for NormSelfAttention {
    const NAME: &'static str = "norm_self_attention";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [row, norm, weight, cache, past, bias] = expect::inputs(inputs)?;
        let RowWeight { depth, cols, .. } = self.weight([row, norm, weight])?;
        if !cols.is_multiple_of(3) {
            return Err(Mismatch::new("weight", "columns of queries, keys and values", weight));
        }
        let inner = cols / 3;
        known_heads(inner, self.heads)?;
        expect_cache(cache, self.heads, inner / self.heads)?;
        expect::dtype("past", past, DType::U32)?;
        expect::shape("past", past, &[1, past.last()])?;
        expect::rank("bias", bias, 2)?;
        expect::numbers("bias", bias, &[self.heads, bias.last()])?;
        Ok(TensorDesc::f32([3 * inner + if self.back { self.heads * depth } else { 0 }]))
    }

    fn work(&self, inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        let products = RowWeight::multiply_adds(inputs[2]);
        // Scores and mixture with all that the cache may hold for the row, and with itself.
        let mixed = ((self.heads * inputs[3].last()) as u64).saturating_mul(2 * inputs[4].last() as u64);
        Work::products(products.saturating_add(mixed)).and(work::elements(inputs[0]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use norm_self_attention::Variant;
        let weight = self
            .weight([0, 1, 2].map(|index| lowering.input(index).desc))
            .map_err(|mismatch| mismatch.at(lowering.op, lowering.path))?;
        let head_dim = weight.cols / 3 / self.heads;
        let variant = match (head_dim, lowering.profile.int64) {
            (64, false) => Variant::H64,
            (64, true) => Variant::H64Wide,
            (_, false) => Variant::H128,
            (_, true) => Variant::H128Wide,
        };
        let [length, reach] = [4, 5].map(|index| lowering.input(index).desc.last() as u32 - 1);
        let positions = looped(u64::from(length.div_ceil(variant.threads())), 0);
        let products = weight.iterations(3 * head_dim as u64 / 64) + weight.iterations_back(self.back);
        lowering.check_iterations(products + positions + JOINS)?;
        let params = norm_self_attention::Params {
            heads: self.heads as u32,
            head_dim: head_dim as u32,
            depth: weight.depth as u32,
            slots: lowering.input(3).desc.shape[1] as u32,
            length,
            reach,
            epsilon: self.epsilon.get(),
            scale: self.scale.get(),
        };
        let bindings = norm_self_attention::Bindings {
            row: lowering.whole(0)?,
            norm: lowering.whole(1)?,
            weight: lowering.whole(2)?,
            cache: lowering.whole(3)?,
            past: lowering.whole(4)?,
            bias: lowering.whole(5)?,
            output: lowering.whole_output()?,
        };
        let (half, back) = (u32::from(weight.half), u32::from(self.back));
        let overrides = norm_self_attention::Overrides { back, half };
        let groups = self.heads as u64;
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_belong_together() {
        let op = |heads| {
            let (scale, epsilon) = (Scalar::new(1.0), Scalar::new(1e-6));
            NormSelfAttention { heads, scale, epsilon, back: false }
        };
        let (row, weight) = (TensorDesc::f32([1, 32]), TensorDesc::f32([48, 32, 8]));
        let norm = TensorDesc::f32([32]);
        let (cache, bias) = (TensorDesc::f32([4, 7, 64]), TensorDesc::f32([2, 9]));
        let past = TensorDesc::new([1, 8], DType::U32);
        assert_eq!(
            op(2).infer(&[&row, &norm, &weight, &cache, &past, &bias]),
            Ok(TensorDesc::f32([3 * 128]))
        );
        // The products, then scores and mixture with seven tokens behind the row and with itself.
        let inputs = [&row, &norm, &weight, &cache, &past, &bias];
        let work = op(2).work(&inputs, &TensorDesc::f32([3 * 128]));
        assert_eq!(work, Work::products(32 * 3 * 128 + 128 * 2 * 8).and(32));
        let both = TensorDesc::f32([48 * 32 + 4 * 128, 8]);
        let back = NormSelfAttention { back: true, ..op(2) };
        let made = back.infer(&[&row, &norm, &both, &cache, &past, &bias]);
        assert_eq!(made, Ok(TensorDesc::f32([3 * 128 + 2 * 32])));
        let [two, narrow] = [TensorDesc::f32([16, 32, 8]), TensorDesc::f32([4, 7, 32])];
        let many = TensorDesc::new([2, 8], DType::U32);
        for (heads, inputs, expected) in [
            (
                2,
                [&row, &norm, &two, &cache, &past, &bias],
                "weight: expected columns of queries, keys and values, got f32[16, 32, 8]",
            ),
            (
                3,
                [&row, &norm, &weight, &cache, &past, &bias],
                "heads: expected heads of [64, 128] each in 128 columns, got 3",
            ),
            (
                2,
                [&row, &norm, &weight, &narrow, &past, &bias],
                "cache: expected [4, 7, 64], got f32[4, 7, 32]",
            ),
            (2, [&row, &norm, &weight, &cache, &many, &bias], "past: expected [1, 8], got u32[2, 8]"),
            (
                1,
                [&row, &norm, &weight, &cache, &past, &bias],
                "cache: expected [2, 7, 128], got f32[4, 7, 64]",
            ),
            (2, [&row, &norm, &weight, &cache, &past, &row], "bias: expected [2, 32], got f32[1, 32]"),
        ] {
            assert_eq!(op(heads).infer(&inputs).expect_err(expected).to_string(), expected);
        }
    }
}
