//! RMS norm, query and attention of one row.

use kiln_kernels::norm_cross_attention;

use super::{OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::row_weight::RowWeight;
use crate::select::{JOINS, looped};
use crate::tensor::{DType, TensorDesc};
use crate::work::{self, Work};

/// [`Attention`](super::Attention) of a single row, whose query is `rms_norm(x) weight`. The cross attention of a decoder's
/// step: [`RmsNorm`](super::RmsNorm), [`Matmul`](super::Matmul) and attention in one.
///
/// Inputs: the row `[1][depth]`; the norm's weight `[depth]`; that of the query in panels, f32 `[panels][depth][8]` or, of
/// halves, u32 `[panels][depth][4]`; k and v, `[heads][kv_tokens][head_dim]`; spans, u32 `[1][2]`; then, perhaps, parts
/// `[count][depth]` that are added to the row first. The output is `[heads * head_dim]`, or with [`back`](Self::back)
/// `[heads * depth]`; with parts, the sum follows it, of `[depth]`. 32 divides the depth; head_dim is one of
/// [`HEAD_DIMS`](Self::HEAD_DIMS). Inserted by the `fuse_step` pass, for software adapters whose subgroups are of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormCrossAttention {
    /// Number of heads; each takes consecutive columns.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: Scalar,
    /// Added to the mean of the squares.
    pub epsilon: Scalar,
    /// Whether it goes on to a product of as many columns as the row has: each head's part of it is then the output. Its
    /// weight, `[heads][depth / 8][head_dim][8]`, lies behind that of the query, and both are one tensor of rows of a panel,
    /// f32 `[2 * panels * depth][8]` or, of halves, u32 `[2 * panels * depth][4]`.
    pub back: bool,
}

impl NormCrossAttention {
    /// The widths of a head that the kernel can take.
    pub const HEAD_DIMS: [usize; 2] = [64, 128];

    fn weight(&self, inputs: [&TensorDesc; 3]) -> Result<RowWeight, Mismatch> {
        if self.back { RowWeight::with_back(inputs, 1) } else { RowWeight::of(inputs) }
    }
}

/// Checks that so many columns are heads of a width that the kernels of a single row can take.
pub(super) fn known_heads(cols: usize, heads: usize) -> Result<(), Mismatch> {
    if NormCrossAttention::HEAD_DIMS.iter().any(|head_dim| head_dim * heads == cols) {
        return Ok(());
    }
    let expected = format!("heads of {:?} each in {cols} columns", NormCrossAttention::HEAD_DIMS);
    Err(Mismatch::new("heads", expected, heads))
}

impl OpRules for NormCrossAttention {
    const NAME: &'static str = "norm_cross_attention";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let (inputs, parts) = inputs.split_at(inputs.len().min(6));
        let [row, norm, weight, k, v, spans] = expect::inputs(inputs)?;
        let addends = RowWeight::addends(row, parts)?;
        let RowWeight { depth, cols, .. } = self.weight([row, norm, weight])?;
        known_heads(cols, self.heads)?;
        expect::rank("k", k, 3)?;
        expect::numbers("k", k, &[self.heads, k.shape[1], cols / self.heads])?;
        expect::numbers("v", v, &k.shape)?;
        expect::dtype("spans", spans, DType::U32)?;
        expect::shape("spans", spans, &[1, 2])?;
        let made = if self.back { self.heads * depth } else { cols };
        let sum = if addends > 0 { depth } else { 0 };
        Ok(TensorDesc::f32([made + sum]))
    }

    fn work(&self, inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        let products = RowWeight::multiply_adds(inputs[2]);
        // Scores and mixture.
        let mixed = work::elements(inputs[3]).saturating_mul(2);
        let parts = inputs.get(6).map_or(0, |parts| work::elements(parts));
        Work::products(products.saturating_add(mixed)).and(work::elements(inputs[0]) + parts)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use norm_cross_attention::Variant;
        let weight = self
            .weight([0, 1, 2].map(|index| lowering.input(index).desc))
            .map_err(|mismatch| mismatch.at(lowering.op, lowering.path))?;
        let head_dim = weight.cols / self.heads;
        let variant = match (head_dim, lowering.profile.int64) {
            (64, false) => Variant::H64,
            (64, true) => Variant::H64Wide,
            (_, false) => Variant::H128,
            (_, true) => Variant::H128Wide,
        };
        let kv_tokens = lowering.input(3).desc.shape[1] as u32;
        let rows = looped(u64::from(kv_tokens.div_ceil(variant.threads())), 0);
        let addends = lowering.inputs.get(6).map_or(0, |parts| parts.desc.rows() as u32);
        let products = weight.iterations(head_dim as u64 / 64) + weight.iterations_back(self.back);
        lowering.check_iterations(products + weight.iterations_of_parts(addends) + rows + JOINS)?;
        let params = norm_cross_attention::Params {
            heads: self.heads as u32,
            head_dim: head_dim as u32,
            depth: weight.depth as u32,
            kv_tokens,
            epsilon: self.epsilon.get(),
            scale: self.scale.get(),
        };
        let bindings = norm_cross_attention::Bindings {
            row: lowering.whole(0)?,
            norm: lowering.whole(1)?,
            weight: lowering.whole(2)?,
            k: lowering.whole(3)?,
            v: lowering.whole(4)?,
            span: lowering.whole(5)?,
            parts: lowering.whole(if addends > 0 { 6 } else { 0 })?,
            output: lowering.whole_output()?,
        };
        let (half, back) = (u32::from(weight.half), u32::from(self.back));
        let overrides = norm_cross_attention::Overrides { addends, back, half };
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
            NormCrossAttention { heads, scale, epsilon, back: false }
        };
        let (row, weight, k) =
            (TensorDesc::f32([1, 32]), TensorDesc::f32([16, 32, 8]), TensorDesc::f32([2, 5, 64]));
        let norm = TensorDesc::f32([32]);
        let spans = TensorDesc::new([1, 2], DType::U32);
        let one = TensorDesc::f32([1, 5, 128]);
        for (heads, k) in [(1, &one), (2, &k)] {
            assert_eq!(op(heads).infer(&[&row, &norm, &weight, k, k, &spans]), Ok(TensorDesc::f32([128])));
        }
        // With the weight of the product back, and a row in parts.
        let both = TensorDesc::f32([16 * 32 + 4 * 128, 8]);
        let parts = TensorDesc::f32([3, 32]);
        let back = NormCrossAttention { back: true, ..op(2) };
        let inputs = [&row, &norm, &both, &k, &k, &spans, &parts];
        assert_eq!(back.infer(&inputs[..6]), Ok(TensorDesc::f32([2 * 32])));
        assert_eq!(back.infer(&inputs), Ok(TensorDesc::f32([2 * 32 + 32])));
        let [uneven, wide] = [TensorDesc::f32([1023, 8]), TensorDesc::f32([3, 33])];
        let error = back.infer(&[&row, &norm, &uneven, &k, &k, &spans]).expect_err("odd").to_string();
        assert_eq!(error, "weight: expected a multiple of 64 rows, got f32[1023, 8]");
        let error = back.infer(&[&row, &norm, &both, &k, &k, &spans, &wide]).expect_err("wide").to_string();
        assert_eq!(error, "parts: expected [3, 32], got f32[3, 33]");
        let [narrow, floats] = [TensorDesc::f32([2, 5, 32]), TensorDesc::f32([1, 2])];
        for (heads, inputs, expected) in [
            (
                4,
                [&row, &norm, &weight, &k, &k, &spans],
                "heads: expected heads of [64, 128] each in 128 columns, got 4",
            ),
            (2, [&row, &norm, &weight, &narrow, &k, &spans], "k: expected [2, 5, 64], got f32[2, 5, 32]"),
            (2, [&row, &norm, &weight, &k, &narrow, &spans], "v: expected [2, 5, 64], got f32[2, 5, 32]"),
            (2, [&row, &norm, &weight, &k, &k, &floats], "spans type: expected u32, got f32[1, 2]"),
        ] {
            assert_eq!(op(heads).infer(&inputs).expect_err(expected).to_string(), expected);
        }
    }
}
