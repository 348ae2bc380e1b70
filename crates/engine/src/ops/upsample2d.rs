//! Images of another size.

use kiln_kernels::{upsample2d_bilinear, upsample2d_nearest};

use super::{OpRules, Upsample2dGrad, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};

/// How an element is found between those of the input: modes of `torch.nn.functional.interpolate` with a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upsampling {
    /// `input[floor(place * in / out)]`, the ratio and the product each rounded to f32 as PyTorch does
    /// (`mode="nearest"`).
    Nearest,
    /// Bilinear interpolation (`mode="bilinear"`).
    Bilinear {
        /// Whether first and last elements fall on each other, `place (in - 1) / (out - 1)`. Otherwise pixels are
        /// areas, whose centres lie at halves: `(place + 1/2) in / out - 1/2`, and not before the first element.
        align_corners: bool,
    },
}

/// `[N][C][H][W]` resized to `[N][C][OH][OW]`, larger or smaller, without a filter where it becomes smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upsample2d {
    /// Height and width of the output.
    pub output: [usize; 2],
    /// How its elements are found.
    pub mode: Upsampling,
}

/// Where places of an axis fall between the elements of the input: at `(place * step + offset) / below`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) step: u32,
    pub(super) offset: i32,
    pub(super) below: u32,
    /// 0 where every place is an element.
    pub(super) reach: u32,
}

impl Positions {
    /// `None` where the integers would exceed 31 bits.
    fn new(input: usize, output: usize, align_corners: bool) -> Option<Self> {
        // With such extents all that follows fits into 64.
        i32::try_from(input.max(output)).ok()?;
        let (step, offset, below) = match align_corners {
            true if output == 1 => (0, 0, 1),
            true => {
                let common = gcd(input - 1, output - 1);
                ((input - 1) / common, 0, (output - 1) / common)
            }
            false => {
                // ((2 place + 1) in - out) / (2 out)
                let common = gcd(input, output);
                let (input, output) = (input / common, output / common);
                (2 * input, input as i64 - output as i64, 2 * output)
            }
        };
        let last = (step * (output - 1)) as u64 + offset.unsigned_abs();
        i32::try_from(last.max(step as u64).max(below as u64)).ok()?;
        Some(Self {
            step: step as u32,
            offset: offset as i32,
            below: below as u32,
            reach: u32::from(input != output),
        })
    }
}

/// The greatest common divisor; the other one where one is 0.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Upsample2d {
    pub(super) fn positions(
        &self,
        input: &TensorDesc,
        align_corners: bool,
    ) -> Result<[Positions; 2], Mismatch> {
        let axis = |axis: usize, name: &str| {
            let (from, to) = (input.shape[2 + axis], self.output[axis]);
            Positions::new(from, to, align_corners).ok_or_else(|| {
                let expected = "extents whose product, less their common factor, is below 2^30";
                Mismatch::new(format!("{name} of input and output"), expected, format!("{from} and {to}"))
            })
        };
        Ok([axis(0, "height")?, axis(1, "width")?])
    }
}

impl OpRules for Upsample2d {
    const NAME: &'static str = "upsample2d";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::rank("input", input, 4)?;
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            if self.output[axis] == 0 {
                return Err(Mismatch::new(format!("output {name}"), "at least 1", 0));
            }
            // The places of larger images are no numbers of f32.
            let largest = self.output[axis].max(input.shape[2 + axis]);
            if self.mode == Upsampling::Nearest && largest > 1 << 24 {
                return Err(Mismatch::new(name, "at most 2^24", largest));
            }
        }
        if let Upsampling::Bilinear { align_corners } = self.mode {
            self.positions(input, align_corners)?;
        }
        Ok(TensorDesc::f32([input.shape[0], input.shape[1], self.output[0], self.output[1]]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        match self.mode {
            Upsampling::Nearest => self.lower_nearest(lowering),
            Upsampling::Bilinear { align_corners } => self.lower_bilinear(lowering, align_corners),
        }
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let input = &backward.g.desc(backward.input(0)).shape;
        let extents = [input[2], input[3]];
        let places = [0, 1]
            .map(|axis| Upsample2dGrad::places_of_an_element(extents[axis], self.output[axis]))
            .iter()
            .fold(1usize, |product, &places| product.saturating_mul(places));
        let mut grad = backward.grad();
        if places > MOST_PLACES {
            let rows = Upsample2dGrad { extents: [self.output[0], extents[1]], mode: self.mode };
            grad = backward.g.apply(rows, &[grad])?;
        }
        let gradient = backward.g.apply(Upsample2dGrad { extents, mode: self.mode }, &[grad])?;
        Ok(vec![Some(gradient)])
    }
}

/// Elements that show at more places have their gradients summed in two steps, along the rows and then along the columns: a
/// software adapter cuts an invocation short that walks over too many.
const MOST_PLACES: usize = 1 << 12;

/// The parts of `lower`: one for each kernel.
impl Upsample2d {
    fn lower_nearest(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = &lowering.input(0).desc.shape;
        let [in_h, in_w, out_h, out_w] = self.sizes(input);
        let variant = match lowering.profile.kind.is_software() {
            true => upsample2d_nearest::Variant::Four,
            false => upsample2d_nearest::Variant::One,
        };
        let row_groups = out_w.div_ceil(variant.outputs());
        for block in lowering.blocks()? {
            let params = upsample2d_nearest::Params {
                count: block.elements / out_w * row_groups,
                row_groups,
                in_h,
                in_w,
                out_h,
                out_w,
                scale_h: in_h as f32 / out_h as f32,
                scale_w: in_w as f32 / out_w as f32,
            };
            let bindings =
                upsample2d_nearest::Bindings { input: lowering.rowwise(0, &block)?, output: block.output };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn lower_bilinear(&self, lowering: &mut Lowering<'_>, align_corners: bool) -> Result<()> {
        let input = lowering.input(0).desc;
        let [height, width] =
            self.positions(input, align_corners).map_err(|e| e.at(lowering.op, lowering.path))?;
        let [in_h, in_w, out_h, out_w] = self.sizes(&input.shape);
        let variant = match lowering.profile.kind.is_software() {
            true => upsample2d_bilinear::Variant::Four,
            false => upsample2d_bilinear::Variant::One,
        };
        let row_groups = out_w.div_ceil(variant.outputs());
        for block in lowering.blocks()? {
            let params = upsample2d_bilinear::Params {
                count: block.elements / out_w * row_groups,
                row_groups,
                in_h,
                in_w,
                out_h,
                out_w,
                step_h: height.step,
                step_w: width.step,
                offset_h: height.offset,
                offset_w: width.offset,
                below_h: height.below,
                below_w: width.below,
                reach_h: height.reach,
                reach_w: width.reach,
            };
            let bindings =
                upsample2d_bilinear::Bindings { input: lowering.rowwise(0, &block)?, output: block.output };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// Heights and widths of input and output.
    fn sizes(&self, input: &[usize]) -> [u32; 4] {
        [input[2], input[3], self.output[0], self.output[1]].map(|size| size as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_PIXEL: Upsampling = Upsampling::Bilinear { align_corners: false };
    const CORNERS: Upsampling = Upsampling::Bilinear { align_corners: true };

    fn infer(output: [usize; 2], mode: Upsampling, shape: &[usize]) -> Result<Vec<usize>, String> {
        let op = Upsample2d { output, mode };
        op.infer(&[&TensorDesc::f32(shape)]).map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn shapes() {
        for mode in [Upsampling::Nearest, HALF_PIXEL, CORNERS] {
            assert_eq!(infer([427, 640], mode, &[1, 1, 27, 40]), Ok(vec![1, 1, 427, 640]));
            assert_eq!(infer([1, 3], mode, &[2, 5, 4, 7]), Ok(vec![2, 5, 1, 3]));
            assert_eq!(
                infer([0, 3], mode, &[2, 5, 4, 7]),
                Err("output height: expected at least 1, got 0".into())
            );
            assert_eq!(
                infer([3, 3], mode, &[5, 4, 7]),
                Err("input rank: expected 4, got f32[5, 4, 7]".into())
            );
        }
        // Twice as long is a small step, whatever the length; an odd ratio of long lines is not.
        assert_eq!(infer([1, 2_000_000], HALF_PIXEL, &[1, 1, 1, 1_000_000]), Ok(vec![1, 1, 1, 2_000_000]));
        assert_eq!(
            infer([1, 200_003], HALF_PIXEL, &[1, 1, 1, 100_003]),
            Err("width of input and output: expected extents whose product, less their common factor, is below \
                 2^30, got 100003 and 200003"
                .into())
        );
    }

    /// The integers give the positions of the definition, and no place falls behind the last element.
    #[test]
    fn positions() {
        for (input, output) in (1..30).flat_map(|input| (1..30).map(move |output| (input, output))) {
            for align_corners in [false, true] {
                let axis = Positions::new(input, output, align_corners).expect("small extents should fit");
                for place in 0..output {
                    let got = (place as f64 * f64::from(axis.step) + f64::from(axis.offset))
                        / f64::from(axis.below);
                    let (place, from, to) = (place as f64, input as f64, output as f64);
                    let expected = match align_corners {
                        true if output == 1 => 0.0,
                        true => place * (from - 1.0) / (to - 1.0),
                        false => (place + 0.5) * from / to - 0.5,
                    };
                    assert!((got - expected).abs() < 1e-12, "{input} to {output}: {got} is not {expected}");
                    assert!(got < from);
                }
            }
        }
    }
}
