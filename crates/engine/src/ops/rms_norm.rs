//! Division by the root mean square over the last dimension.

use kiln_gpu::DeviceProfile;
use kiln_kernels::rms_norm_row;

use super::{OpRules, Scalar, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::{DType, TensorDesc};

/// `x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension: `torch.nn.functional.rms_norm` (Zhang and Sennrich,
/// 2019), which is T5's layer norm. The weight is `[last]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RmsNorm {
    /// Added to the mean of the squares.
    pub epsilon: Scalar,
}

/// How often the kernel walks along a row.
const PASSES: u64 = 2;

/// Rows up to which a software adapter shares each among its vector lanes: with one row to a lane, most would idle.
const FEW_ROWS: u32 = 16;

impl OpRules for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        if input.rank() == 0 {
            return Err(Mismatch::new("input rank", "at least 1", input));
        }
        expect::numbers("weight", weight, &[input.last()])?;
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let cols = lowering.output.desc.last() as u32;
        for block in lowering.row_blocks(lowering.output.desc.rank() - 1)? {
            let rows = block.elements / cols;
            let variant = variant(lowering.profile, rows, cols);
            let numbers = cols / variant.width();
            lowering.check_iterations(iterations(variant, cols))?;
            let params = rms_norm_row::Params { rows, cols: numbers, epsilon: self.epsilon.get() };
            let bindings = rms_norm_row::Bindings {
                input: lowering.rowwise(0, &block)?,
                weight: lowering.whole(1)?,
                output: block.output,
            };
            let groups = u64::from(rows.div_ceil(variant.threads() / variant.lanes()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// With `y = x / r` of the root `r`: `(grad weight - y mean(grad weight y)) / r`.
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let [x, weight] = [0, 1].map(|index| backward.input(index));
        let (grad, wants) = (backward.grad(), [0, 1].map(|index| backward.wants(index)));
        let g = &mut *backward.g;
        let desc = g.desc(x);
        let (last, cols, count) = ([desc.rank() - 1], desc.last(), desc.elements() / desc.last());
        let squares = g.mul(x, x)?;
        let mean = g.mean(squares, &last, true)?;
        let epsilon = g.scalar(self.epsilon.get());
        let mean = g.add(mean, epsilon)?;
        let scale = g.rsqrt(mean)?;
        let normalized = g.mul(x, scale)?;
        let mut gradients = vec![None; 2];
        if wants[0] {
            let weighed = g.mul(grad, weight)?;
            let along = g.mul(weighed, normalized)?;
            let along = g.mean(along, &last, true)?;
            let along = g.mul(normalized, along)?;
            let across = g.sub(weighed, along)?;
            gradients[0] = Some(g.mul(across, scale)?);
        }
        if wants[1] {
            let [grad, normalized] =
                [g.reshape(grad, &[count, cols])?, g.reshape(normalized, &[count, cols])?];
            gradients[1] = Some(g.channel_dot(grad, normalized)?);
        }
        Ok(gradients)
    }
}

/// The kernel's variant for so many rows.
fn variant(profile: &DeviceProfile, rows: u32, cols: u32) -> rms_norm_row::Variant {
    use rms_norm_row::Variant;
    let wide = cols.is_multiple_of(4);
    let serial = if wide { Variant::SerialWide } else { Variant::Serial };
    let few = profile.kind.is_software() && rows <= FEW_ROWS && cols >= 32;
    match row_form(profile, cols, iterations(serial, cols)) {
        RowForm::Serial if few => [Variant::Octet, Variant::OctetWide][usize::from(wide)],
        RowForm::Serial => serial,
        RowForm::Tree => [Variant::Tree, Variant::TreeWide][usize::from(wide)],
    }
}

/// Loop iterations of one invocation.
fn iterations(variant: rms_norm_row::Variant, cols: u32) -> u64 {
    PASSES * looped(u64::from((cols / variant.width()).div_ceil(variant.lanes())), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let op = RmsNorm { epsilon: Scalar::new(1e-6) };
        let infer = |input: &[usize], weight: &[usize]| {
            let made = op.infer(&[&TensorDesc::f32(input), &TensorDesc::f32(weight)]);
            made.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(&[2, 3, 4], &[4]), Ok(vec![2, 3, 4]));
        assert_eq!(infer(&[4], &[4]), Ok(vec![4]));
        assert_eq!(infer(&[2, 3], &[2]), Err("weight: expected [3], got f32[2]".into()));
        assert_eq!(infer(&[], &[1]), Err("input rank: expected at least 1, got f32[]".into()));
    }
}
