//! RMS norm, linear layer and activation of one row.

use kiln_kernels::norm_linear;

use super::{Activation, OpRules, Scalar, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::row_weight::RowWeight;
use crate::tensor::TensorDesc;
use crate::work::{self, Work};

/// `activation(rms_norm(x) weight)` of a single row. With a gate the activation is of the first half of the columns, and the
/// second half is multiplied by it: [`RmsNorm`](super::RmsNorm), [`Matmul`](super::Matmul) and [`Gated`](super::Gated) in
/// one.
///
/// Inputs: the row `[1][depth]`, the norm's weight `[depth]`, and the product's in panels, f32 `[panels][depth][8]` or, of
/// halves, u32 `[panels][depth][4]`; then, perhaps, parts `[count][depth]` that are added to the row first. 32 divides the
/// depth, which with parts is at most 1,024. The output is `[1][cols]`; with parts, the sum follows it, `[1][cols + depth]`. Inserted by the `fuse_step` pass,
/// for software adapters whose subgroups are of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormLinear {
    /// Added to the mean of the squares.
    pub epsilon: Scalar,
    /// Applied to the products, or to their first half.
    pub activation: Option<Activation>,
    /// Whether the second half of the columns is multiplied by the first.
    pub gated: bool,
}

impl NormLinear {
    fn width(&self, weight: RowWeight) -> usize {
        if self.gated { weight.cols / 2 } else { weight.cols }
    }
}

impl OpRules for NormLinear {
    const NAME: &'static str = "norm_linear";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let (inputs, parts) = inputs.split_at(inputs.len().min(3));
        let [row, norm, weight] = expect::inputs(inputs)?;
        let addends = RowWeight::addends(row, parts)?;
        let columns = RowWeight::of([row, norm, weight])?;
        if self.gated && !weight.rows().is_multiple_of(2) {
            return Err(Mismatch::new("weight", "an even number of panels", weight));
        }
        let sum = if addends > 0 { columns.depth } else { 0 };
        Ok(TensorDesc::f32([1, self.width(columns) + sum]))
    }

    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        let products = RowWeight::multiply_adds(inputs[2]);
        let (row, parts) =
            (work::elements(inputs[0]), inputs.get(3).map_or(0, |parts| work::elements(parts)));
        let width = work::elements(output) - if parts > 0 { row } else { 0 };
        let each = u64::from(self.activation.is_some()) + u64::from(self.gated);
        Work::products(products).and(row + parts + each * width)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use norm_linear::Variant;
        let weight = RowWeight::of([0, 1, 2].map(|index| lowering.input(index).desc))
            .map_err(|mismatch| mismatch.at(lowering.op, lowering.path))?;
        let addends = lowering.inputs.get(3).map_or(0, |parts| parts.desc.rows() as u32);
        lowering.check_iterations(
            weight.iterations(1 + u64::from(self.gated)) + weight.iterations_of_parts(addends),
        )?;
        let variant = match (self.gated, lowering.profile.int64) {
            (false, false) => Variant::One,
            (false, true) => Variant::OneWide,
            (true, false) => Variant::Gated,
            (true, true) => Variant::GatedWide,
        };
        let width = self.width(weight) as u32;
        let params = norm_linear::Params { depth: weight.depth as u32, width, epsilon: self.epsilon.get() };
        let bindings = norm_linear::Bindings {
            row: lowering.whole(0)?,
            norm: lowering.whole(1)?,
            weight: lowering.whole(2)?,
            parts: lowering.whole(if addends > 0 { 3 } else { 0 })?,
            output: lowering.whole_output()?,
        };
        let activation = self.activation.map_or(0, Activation::code);
        let overrides = norm_linear::Overrides { activation, addends, half: u32::from(weight.half) };
        let groups = u64::from((width / 8).div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn shapes() {
        let infer = |gated, row: &[usize], weight: &[usize], dtype| {
            let op = NormLinear { epsilon: Scalar::new(1e-6), activation: None, gated };
            let (row, norm) = (TensorDesc::f32(row), TensorDesc::f32([row[1]]));
            let made = op.infer(&[&row, &norm, &TensorDesc::new(weight.to_vec(), dtype)]);
            made.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(false, &[1, 32], &[3, 32, 8], DType::F32), Ok(vec![1, 24]));
        assert_eq!(infer(true, &[1, 32], &[4, 32, 4], DType::U32), Ok(vec![1, 16]));
        let op = NormLinear { epsilon: Scalar::new(1e-6), activation: None, gated: false };
        let [row, norm, weight, parts] = [&[1, 32][..], &[32], &[3, 32, 8], &[6, 32]].map(TensorDesc::f32);
        assert_eq!(op.infer(&[&row, &norm, &weight, &parts]), Ok(TensorDesc::f32([1, 24 + 32])));
        let [row, norm, weight, parts] =
            [&[1, 1056][..], &[1056], &[3, 1056, 8], &[6, 1056]].map(TensorDesc::f32);
        let error = op.infer(&[&row, &norm, &weight, &parts]).expect_err("wide").to_string();
        assert_eq!(error, "parts: expected at most 1024 columns, got f32[6, 1056]");
        for (gated, row, weight, dtype, expected) in [
            (false, [2, 32], [3, 32, 8], DType::F32, "row: expected [1, 32], got f32[2, 32]"),
            (
                false,
                [1, 40],
                [3, 40, 8],
                DType::F32,
                "row: expected a multiple of 32 elements, got f32[1, 40]",
            ),
            (false, [1, 32], [3, 32, 8], DType::U32, "weight: expected [3, 32, 4], got u32[3, 32, 8]"),
            (
                true,
                [1, 32],
                [3, 32, 8],
                DType::F32,
                "weight: expected an even number of panels, got f32[3, 32, 8]",
            ),
        ] {
            assert_eq!(infer(gated, &row, &weight, dtype), Err(expected.to_owned()));
        }
    }
}
