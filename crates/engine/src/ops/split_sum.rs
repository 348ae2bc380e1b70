//! Products and convolutions with few outputs and long sums, in parts that fill a GPU.

use super::{Conv2d, Epilogue, Matmul, OpRules};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;
use crate::work::Work;

/// What a [`SplitSum`] sums in parts: an op without an epilogue, on two inputs that lie as they were given, or in halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Summed {
    /// A product whose right side has no batch.
    Matmul(Matmul),
    /// A convolution.
    Conv2d(Conv2d),
}

/// The sums of an op in consecutive, equal stretches of its depth, in a fixed order: `[1][parts]` and then the shape of the
/// op's own output. [`JoinParts`](super::JoinParts) adds them up.
///
/// The depth, `in / groups * kh * kw` for a convolution, is a multiple of `parts` and of [`SplitSum::STEP`] times that.
/// Inputs are those of the op. The pass [`split_sum`](crate::passes::split_sum) makes parts where few outputs would leave a
/// GPU idle; the kernels are a GPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SplitSum {
    /// The op.
    pub of: Summed,
    /// In how many parts.
    pub parts: usize,
}

impl SplitSum {
    /// What the depth of each part is a multiple of: the depth of a slice in workgroup memory.
    pub const STEP: usize = 16;

    fn epilogue(&self) -> Epilogue {
        match self.of {
            Summed::Matmul(op) => op.epilogue,
            Summed::Conv2d(op) => op.epilogue,
        }
    }

    /// The depth of a part.
    pub(super) fn part(&self, depth: usize) -> Result<usize, Mismatch> {
        let whole = self.parts.saturating_mul(Self::STEP);
        if self.parts == 0 || !depth.is_multiple_of(whole) {
            return Err(Mismatch::new(
                "depth",
                format!("a multiple of {whole}, for {} parts", self.parts),
                depth,
            ));
        }
        Ok(depth / self.parts)
    }
}

impl OpRules for SplitSum {
    const NAME: &'static str = "split_sum";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        if self.epilogue() != Epilogue::default() {
            return Err(Mismatch::new("epilogue", "none", format!("{:?}", self.epilogue())));
        }
        let (output, depth) = match self.of {
            Summed::Matmul(op) => {
                let output = op.infer(inputs)?;
                let geometry = op.geometry(inputs[0], inputs[1])?;
                if !op.is_one_product(&geometry) || op.rhs.is_panels() {
                    return Err(Mismatch::new(
                        "right side",
                        "one plain matrix for all of the left side",
                        inputs[1],
                    ));
                }
                (output, geometry.depth)
            }
            Summed::Conv2d(op) => {
                let output = op.infer(inputs)?;
                if op.weight != super::ConvWeight::Plain {
                    return Err(Mismatch::new("weight", "[out][in / groups][kh][kw]", inputs[1]));
                }
                (output, op.geometry(inputs[0], inputs[1])?.depth())
            }
        };
        self.part(depth)?;
        Ok(TensorDesc::f32([&[1, self.parts], output.shape.as_slice()].concat()))
    }

    fn work(&self, inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        let whole = match self.of {
            Summed::Matmul(op) => op.infer(inputs).map(|output| op.work(inputs, &output)),
            Summed::Conv2d(op) => op.infer(inputs).map(|output| op.work(inputs, &output)),
        };
        whole.unwrap_or(Work::MOVES)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        match &self.of {
            Summed::Matmul(op) => op.lower_parts(self, lowering),
            Summed::Conv2d(op) => op.lower_parts(self, lowering),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{ConvOptions, RhsLayout};

    fn infer(of: Summed, parts: usize, shapes: [&[usize]; 2]) -> Result<Vec<usize>, String> {
        let [first, second] = shapes.map(TensorDesc::f32);
        let op = SplitSum { of, parts };
        op.infer(&[&first, &second]).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn parts_are_stacked() {
        let linear = Summed::Matmul(Matmul::with_rhs(RhsLayout::Transposed));
        let biased = Matmul { epilogue: Epilogue::with_bias(true), ..Matmul::new() };
        let conv = Summed::Conv2d(Conv2d::new(ConvOptions::default()));
        type Row<'a> = (Summed, usize, [&'a [usize]; 2], Result<&'a [usize], &'a str>);
        let table: &[Row<'_>] = &[
            (linear, 4, [&[8, 256], &[10, 256]], Ok(&[1, 4, 8, 10])),
            (linear, 4, [&[2, 8, 256], &[10, 256]], Ok(&[1, 4, 2, 8, 10])),
            (conv, 3, [&[2, 32, 6, 6], &[5, 32, 3, 3]], Ok(&[1, 3, 2, 5, 4, 4])),
            (
                linear,
                3,
                [&[8, 256], &[10, 256]],
                Err("depth: expected a multiple of 48, for 3 parts, got 256"),
            ),
            (
                linear,
                0,
                [&[8, 256], &[10, 256]],
                Err("depth: expected a multiple of 0, for 0 parts, got 256"),
            ),
            (
                Summed::Matmul(Matmul::new()),
                2,
                [&[3, 8, 32], &[3, 32, 5]],
                Err("right side: expected one plain matrix for all of the left side, got f32[3, 32, 5]"),
            ),
            (Summed::Matmul(biased), 2, [&[8, 32], &[32, 5]], Err("epilogue: expected none, got bias")),
        ];
        for (of, parts, shapes, expected) in table {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(infer(*of, *parts, *shapes), expected, "{of:?} of {shapes:?}");
        }
    }
}
