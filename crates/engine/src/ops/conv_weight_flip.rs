//! The weight of a transposed convolution as that of a convolution.

use kiln_kernels::conv_weight_flip;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// The weight with which a [`Conv2d`](super::Conv2d) of stride 1 does what a
/// [`ConvTranspose2d`](super::ConvTranspose2d) does with the input, `[in][out / groups][kh][kw]`: in each group the
/// channels change places, and the taps are mirrored along both axes. The output is `[out][in / groups][kh][kw]`, or with a
/// `row` `[out][in / groups][1][row]`: the taps and then zeros, as [`ConvWeight::Taps`](super::ConvWeight::Taps) lie.
///
/// The pass [`conv_transpose_as_conv`](crate::passes::conv_transpose_as_conv) adds it, and
/// [`pack_weights`](crate::passes::pack_weights) the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvWeightFlip {
    /// Groups that both kinds of channels are cut into.
    pub groups: usize,
    /// How many numbers the taps of a channel take, at least as many as they are, where they lie in one row.
    pub row: Option<usize>,
}

impl OpRules for ConvWeightFlip {
    const NAME: &'static str = "conv_weight_flip";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 4)?;
        let [channels, group_out, kernel_h, kernel_w] = [0, 1, 2, 3].map(|dim| input.shape[dim]);
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of the weight's {channels} input channels");
            return Err(Mismatch::new("groups", expected, self.groups));
        }
        let outputs = group_out.checked_mul(self.groups);
        let outputs = outputs.ok_or_else(|| Mismatch::new("output channels", "less than 2^31", "more"))?;
        let taps = kernel_h.saturating_mul(kernel_w);
        let [rows, cols] = match self.row {
            None => [kernel_h, kernel_w],
            Some(row) if row >= taps => [1, row],
            Some(row) => return Err(Mismatch::new("row", format!("at least {taps}, the taps"), row)),
        };
        Ok(TensorDesc::f32([outputs, channels / self.groups, rows, cols]))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.output;
        let [group_in, group_out] =
            [output.desc.shape[1], output.desc.shape[0] / self.groups].map(|size| size as u32);
        let row = (output.desc.shape[2] * output.desc.shape[3]) as u32;
        let weight = &lowering.input(0).desc.shape;
        let taps = (weight[2] * weight[3]) as u32;
        let input = lowering.whole(0)?;
        let variant = conv_weight_flip::Variant::Base;
        lowering.check_iterations(crate::select::looped(u64::from(row), 0))?;
        for piece in output.pieces {
            let params = conv_weight_flip::Params {
                group_in,
                group_out,
                taps,
                row,
                oc_start: piece.rows.start as u32,
                piece_oc: piece.rows.len() as u32,
            };
            let bindings = conv_weight_flip::Bindings { input, output: output.bound(piece) };
            let groups = u64::from(params.piece_oc * group_in).div_ceil(u64::from(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |groups, shape: &[usize]| {
            let desc = ConvWeightFlip { groups, row: None }.infer(&[&TensorDesc::f32(shape)]);
            desc.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(1, &[20, 50, 5, 3]), Ok(vec![50, 20, 5, 3]));
        assert_eq!(infer(4, &[20, 2, 3, 3]), Ok(vec![8, 5, 3, 3]));
        let by_rows =
            |row| ConvWeightFlip { groups: 1, row: Some(row) }.infer(&[&TensorDesc::f32([5, 2, 3, 3])]);
        assert_eq!(by_rows(16), Ok(TensorDesc::f32([2, 5, 1, 16])));
        let error = by_rows(8).map_err(|mismatch| mismatch.to_string());
        assert_eq!(error, Err("row: expected at least 9, the taps, got 8".into()));
        assert_eq!(
            infer(3, &[20, 2, 3, 3]),
            Err("groups: expected a divisor of the weight's 20 input channels, got 3".into())
        );
        assert_eq!(infer(1, &[20, 2, 3]), Err("input rank: expected 4, got f32[20, 2, 3]".into()));
    }
}
