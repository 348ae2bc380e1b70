//! Puts together what was made by channel in parts.

use kiln_kernels::channel_join;

use super::channel_sum::Parts;
use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::graph::check_desc;
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::TensorDesc;

/// Numbers of `[C]`, or two of them as `[2, C]`, from the parts that a [`ChannelSum`](super::ChannelSum) of a tensor of shape `of` made.
///
/// Input: the parts, `[1, parts, rows, C]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChannelJoin {
    /// The shape of the tensor that was summed, `[N, C]` or `[N, C, ...]`.
    pub of: Vec<usize>,
    /// What is made.
    pub result: ChannelResult,
}

/// What a [`ChannelJoin`] makes of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelResult {
    /// The sum over the parts of one of their rows.
    Sum {
        /// Which of the rows.
        row: usize,
    },
    /// The mean, from parts of [`Moments`](super::ChannelTerms::Moments).
    Mean,
    /// The biased variance (divided by the number of elements), from parts of the same kind.
    Variance,
    /// Both, `[2, C]`.
    Moments,
}

impl OpRules for ChannelJoin {
    const NAME: &'static str = "channel_join";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        let of = TensorDesc::f32(self.of.as_slice());
        check_desc(&of)?;
        let channels = expect::channels(&of)?;
        expect::rank("parts", input, 4)?;
        let rows = input.shape[2];
        let needed = match self.result {
            ChannelResult::Sum { row } if row < rows => rows,
            ChannelResult::Sum { row } => {
                return Err(Mismatch::new("row", format!("less than the rows of {input}"), row));
            }
            ChannelResult::Mean | ChannelResult::Variance | ChannelResult::Moments => 3,
        };
        let parts = Parts::of(&of);
        expect::numbers("parts", input, &[1, parts.count(), needed, channels])?;
        Ok(match self.result {
            ChannelResult::Moments => TensorDesc::f32([2, channels]),
            _ => TensorDesc::f32([channels]),
        })
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let parts = Parts::of(&TensorDesc::f32(self.of.as_slice()));
        let count = parts.count();
        let along = |lanes: u32| {
            let own = count.div_ceil(lanes as usize);
            looped(own.div_ceil(64) as u64, 1) + 2 * own as u64
        };
        let variant = match row_form(lowering.profile, count as u32, along(1)) {
            RowForm::Serial => channel_join::Variant::Serial,
            RowForm::Tree => channel_join::Variant::Tree,
        };
        lowering.check_iterations(along(variant.lanes()))?;
        let (kind, row) = match self.result {
            ChannelResult::Sum { row } => (0, row),
            ChannelResult::Mean => (1, 0),
            ChannelResult::Variance => (2, 0),
            ChannelResult::Moments => (3, 0),
        };
        let params = channel_join::Params {
            count: count as u32,
            rows: lowering.input(0).desc.shape[2] as u32,
            row: row as u32,
            channels: parts.channels as u32,
            images: parts.images as u32,
            inner: (parts.inner * parts.width) as u32,
            part_images: parts.part_images as u32,
            segments: parts.segments as u32,
            length: (parts.length * parts.width) as u32,
        };
        let bindings = channel_join::Bindings { parts: lowering.whole(0)?, output: lowering.whole_output()? };
        let overrides = channel_join::Overrides { kind };
        let groups = parts.channels.div_ceil((variant.threads() / variant.lanes()) as usize) as u64;
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(of: &[usize], result: ChannelResult, parts: &[usize]) -> Result<TensorDesc, Mismatch> {
        ChannelJoin { of: of.to_vec(), result }.infer(&[&TensorDesc::f32(parts)])
    }

    #[test]
    fn one_number_a_channel() -> Result<(), Mismatch> {
        let of = [100, 20, 24, 24];
        assert_eq!(infer(&of, ChannelResult::Sum { row: 0 }, &[1, 50, 1, 20])?, TensorDesc::f32([20]));
        assert_eq!(infer(&of, ChannelResult::Variance, &[1, 50, 3, 20])?, TensorDesc::f32([20]));
        assert_eq!(infer(&of, ChannelResult::Moments, &[1, 50, 3, 20])?, TensorDesc::f32([2, 20]));
        Ok(())
    }

    #[test]
    fn parts_of_another_tensor_are_refused() {
        for (of, result, parts, expected) in [
            (
                &[100, 20, 24, 24][..],
                ChannelResult::Mean,
                &[1, 50, 1, 20][..],
                "parts: expected [1, 50, 3, 20], got f32[1, 50, 1, 20]",
            ),
            (
                &[100, 20, 24, 24],
                ChannelResult::Sum { row: 1 },
                &[1, 50, 1, 20],
                "row: expected less than the rows of f32[1, 50, 1, 20], got 1",
            ),
            (
                &[100, 20, 24, 24],
                ChannelResult::Sum { row: 0 },
                &[50, 1, 20],
                "parts rank: expected 4, got f32[50, 1, 20]",
            ),
            (
                &[100],
                ChannelResult::Mean,
                &[1, 50, 2, 20],
                "input rank: expected at least 2, as [N, C, ...] has, got f32[100]",
            ),
        ] {
            assert_eq!(infer(of, result, parts).expect_err(expected).to_string(), expected);
        }
    }
}
