//! The cross-entropy of logits with labels, row by row.

use kiln_kernels::cross_entropy_row;

use super::{CrossEntropyGrad, OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::{DType, TensorDesc};

/// `output[n] = -sum_c q[n, c] log_softmax(logits[n])[c]` with `q[n, c] = weight[c] ((1 - s) [c = labels[n]] + s / C)`:
/// `torch.nn.functional.cross_entropy` with `reduction="none"`, softmax included.
///
/// Inputs: logits `[N, C]`, labels u32 `[N]`, and class weights `[C]` where there are some; the output is `[N]`. Large
/// logits do not overflow. A label that is no class gives NaN. Only the logits have a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossEntropy {
    /// s, the share of the target that all classes have alike (Szegedy et al., 2016): at least 0 and at most 1.
    pub label_smoothing: Scalar,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 2;

impl CrossEntropy {
    /// The shares of the target: the label's own, and that of each of so many classes.
    pub(super) fn shares(label_smoothing: Scalar, classes: usize) -> (f32, f32) {
        let smoothing = f64::from(label_smoothing.get());
        ((1.0 - smoothing) as f32, (smoothing / classes as f64) as f32)
    }

    /// The checks of logits, labels, class weights and smoothing; gives N and C.
    pub(super) fn check(
        logits: &TensorDesc,
        labels: &TensorDesc,
        weight: Option<&TensorDesc>,
        label_smoothing: Scalar,
    ) -> Result<[usize; 2], Mismatch> {
        expect::dtype("logits", logits, DType::F32)?;
        let &[rows, classes] = logits.shape.as_slice() else {
            return Err(Mismatch::new("logits rank", "2, as [N, C] has", logits));
        };
        expect::dtype("labels", labels, DType::U32)?;
        expect::shape("labels", labels, &[rows])?;
        if let Some(weight) = weight {
            expect::numbers("class weights", weight, &[classes])?;
        }
        let smoothing = label_smoothing.get();
        // Asked this way round, so that NaN is refused.
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Mismatch::new("label smoothing", "at least 0 and at most 1", smoothing));
        }
        Ok([rows, classes])
    }
}

impl OpRules for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let (logits, labels, weight) = match inputs {
            [logits, labels] => (logits, labels, None),
            [logits, labels, weight] => (logits, labels, Some(*weight)),
            _ => return Err(Mismatch::new("number of inputs", "2 or 3", inputs.len())),
        };
        let [rows, _] = Self::check(logits, labels, weight, self.label_smoothing)?;
        Ok(TensorDesc::f32([rows]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let cols = lowering.input(0).desc.last();
        let (own, each) = Self::shares(self.label_smoothing, cols);
        let cols = cols as u32;
        let weighted = lowering.inputs.len() == 3;
        let variant = match row_form(lowering.profile, cols, looped(PASSES * u64::from(cols), 0)) {
            RowForm::Serial => cross_entropy_row::Variant::Serial,
            RowForm::Tree => cross_entropy_row::Variant::Tree,
        };
        lowering.check_iterations(looped(PASSES * u64::from(cols.div_ceil(variant.lanes())), 0))?;
        for block in lowering.blocks()? {
            let rows = block.rows.len() as u32;
            let params = cross_entropy_row::Params { rows, cols, own, each };
            let input = lowering.rowwise(0, &block)?;
            let bindings = cross_entropy_row::Bindings {
                input,
                labels: lowering.rowwise(1, &block)?,
                // Where there is none an override says so, and any readable buffer fills the place.
                weight: if weighted { lowering.whole(2)? } else { input },
                output: block.output,
            };
            let overrides = cross_entropy_row::Overrides {
                weighted: u32::from(weighted),
                smooth: u32::from(each != 0.0),
            };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        if backward.wants(backward.inputs().len() - 1) {
            return Err(backward.refuse("no gradient of the class weights"));
        }
        let mut inputs = backward.inputs().to_vec();
        inputs.insert(2, backward.grad());
        let op = CrossEntropyGrad { label_smoothing: self.label_smoothing };
        let mut gradients = backward.none();
        gradients[0] = Some(backward.g.apply(op, &inputs)?);
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        let (logits, labels) = (TensorDesc::f32([5, 3]), TensorDesc::new([5], DType::U32));
        let (weight, floats) = (TensorDesc::f32([3]), TensorDesc::f32([5]));
        let (flat, few, wide) =
            (TensorDesc::f32([5]), TensorDesc::new([4], DType::U32), TensorDesc::f32([5]));
        let rows: [(f32, &[&TensorDesc], Option<&str>); 9] = [
            (0.0, &[&logits, &labels], None),
            (1.0, &[&logits, &labels, &weight], None),
            (0.0, &[&logits], Some("number of inputs: expected 2 or 3, got 1")),
            (0.0, &[&flat, &labels], Some("logits rank: expected 2, as [N, C] has, got f32[5]")),
            (0.0, &[&logits, &floats], Some("labels type: expected u32, got f32[5]")),
            (0.0, &[&logits, &few], Some("labels: expected [5], got u32[4]")),
            (0.0, &[&logits, &labels, &wide], Some("class weights: expected [3], got f32[5]")),
            (-0.1, &[&logits, &labels], Some("label smoothing: expected at least 0 and at most 1, got -0.1")),
            (
                f32::NAN,
                &[&logits, &labels],
                Some("label smoothing: expected at least 0 and at most 1, got NaN"),
            ),
        ];
        for (smoothing, inputs, expected) in rows {
            let inferred = CrossEntropy { label_smoothing: Scalar::new(smoothing) }.infer(inputs);
            match expected {
                None => assert_eq!(inferred, Ok(TensorDesc::f32([5]))),
                Some(expected) => assert_eq!(inferred.map_err(|e| e.to_string()), Err(expected.to_owned())),
            }
        }
    }
}
