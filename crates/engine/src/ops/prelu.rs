//! The rectifier with a learned slope.

use kiln_kernels::prelu;

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::planes::Planes;
use crate::select::{PlaneForm, plane_form};
use crate::tensor::{DType, TensorDesc};

/// `x` where it is above 0, else `weight * x`: `torch.nn.functional.prelu` (He, Zhang, Ren and Sun, 2015). NaN passes
/// through.
///
/// Inputs: x, then the weight: `[C]` for x of `[N, C, ...]`, or `[1]` for any x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prelu;

impl OpRules for Prelu {
    const NAME: &'static str = "prelu";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, weight] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::dtype("weight", weight, DType::F32)?;
        let channels = input.shape.get(1).copied().unwrap_or(1);
        if weight.shape != [1] && weight.shape != [channels] {
            let expected = match channels {
                1 => "[1]".to_owned(),
                _ => format!("[1] or [{channels}], the channels of {input}"),
            };
            return Err(Mismatch::new("weight", expected, weight));
        }
        Ok(input.clone())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        for block in lowering.blocks()? {
            let mut planes = Planes::of(lowering.output.desc, &block);
            if lowering.input(1).desc.elements() == 1 {
                planes = planes.one_channel();
            }
            let variant = match plane_form(lowering.profile, planes.inner) {
                PlaneForm::Narrow => prelu::Variant::Narrow,
                PlaneForm::Wide => prelu::Variant::Wide,
            };
            let runs = planes.runs(variant.threads(), variant.lanes(), variant.steps());
            let Planes { planes, channels, inner } = planes;
            let params = prelu::Params { planes, channels, inner, runs_per_plane: runs.per_plane };
            let bindings = prelu::Bindings {
                input: lowering.rowwise(0, &block)?,
                weight: lowering.whole(1)?,
                output: block.output,
            };
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), runs.workgroups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (x, weight, grad) = (backward.input(0), backward.input(1), backward.grad());
        let wants = [0, 1].map(|index| backward.wants(index));
        let g = &mut *backward.g;
        let desc = g.desc(x).clone();
        let zero = g.scalar(0.0);
        let by_channel = g.desc(weight).elements() > 1;
        let mut gradients = vec![None; 2];
        if wants[0] {
            let mut shape = vec![1; if by_channel { desc.rank() - 1 } else { 0 }];
            if let Some(channels) = shape.first_mut() {
                *channels = desc.shape[1];
            }
            let slope = g.reshape(weight, &shape)?;
            let (one, above) = (g.scalar(1.0), g.greater(x, zero)?);
            let below = g.sub(one, above)?;
            let below = g.mul(below, slope)?;
            let factor = g.add(above, below)?;
            gradients[0] = Some(g.mul(grad, factor)?);
        }
        if wants[1] {
            let below = g.minimum(x, zero)?;
            let (grad, below) = if by_channel {
                (grad, below)
            } else {
                let one_channel = [desc.rows(), 1, desc.row_elements()];
                (g.reshape(grad, &one_channel)?, g.reshape(below, &one_channel)?)
            };
            gradients[1] = Some(g.channel_dot(grad, below)?);
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weight_or_one_a_channel() {
        for (shape, weight, expected) in [
            (&[2, 3, 5][..], &[3][..], None),
            (&[2, 3, 5], &[1], None),
            (&[2, 3], &[3], None),
            (&[7], &[1], None),
            (&[], &[1], None),
            (&[2, 3, 5], &[5], Some("weight: expected [1] or [3], the channels of f32[2, 3, 5], got f32[5]")),
            (&[2, 3, 5], &[], Some("weight: expected [1] or [3], the channels of f32[2, 3, 5], got f32[]")),
            (&[7], &[7], Some("weight: expected [1], got f32[7]")),
        ] {
            let (x, weight) = (TensorDesc::f32(shape), TensorDesc::f32(weight));
            let inferred = Prelu.infer(&[&x, &weight]);
            assert_eq!(inferred.as_ref().err().map(Mismatch::to_string).as_deref(), expected);
        }
    }
}
