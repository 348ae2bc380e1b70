//! The gradient of resizing.

use kiln_kernels::{upsample2d_grad_bilinear, upsample2d_grad_nearest};

use super::{OpRules, Upsample2d, Upsampling, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select::looped;
use crate::tensor::TensorDesc;

/// The gradient of [`Upsample2d`] by its input `[N][C][H][W]`, from that of its result, the only input: what each place gets
/// goes to the elements that it was made of, by their shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upsample2dGrad {
    /// Height and width of what was resized.
    pub extents: [usize; 2],
    /// How elements were found.
    pub mode: Upsampling,
}

impl Upsample2dGrad {
    fn forward(&self, grad: &TensorDesc) -> (Upsample2d, TensorDesc) {
        let image = TensorDesc::f32([grad.shape[0], grad.shape[1], self.extents[0], self.extents[1]]);
        (Upsample2d { output: [grad.shape[2], grad.shape[3]], mode: self.mode }, image)
    }

    /// A bound on how many of `places` an axis of `extent` has between an element's neighbours.
    pub(super) fn places_of_an_element(extent: usize, places: usize) -> usize {
        (2 * places).div_ceil(extent.saturating_sub(1).max(1)).saturating_add(2).min(places)
    }
}

impl OpRules for Upsample2dGrad {
    const NAME: &'static str = "upsample2d_grad";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [grad] = expect::inputs(inputs)?;
        expect::rank("gradient", grad, 4)?;
        if self.extents.contains(&0) {
            return Err(Mismatch::new("extents", "at least 1", format!("{:?}", self.extents)));
        }
        let (forward, image) = self.forward(grad);
        let resized = forward.infer(&[&image])?;
        expect::numbers("gradient", grad, &resized.shape)?;
        if let Upsampling::Bilinear { align_corners } = self.mode {
            let positions = forward.positions(&image, align_corners)?;
            for (axis, name) in ["height", "width"].into_iter().enumerate() {
                let position = positions[axis];
                let last = self.extents[axis] as u64 * u64::from(position.below);
                if last + u64::from(position.offset.unsigned_abs()) > i32::MAX as u64 {
                    let (from, to) = (self.extents[axis], grad.shape[2 + axis]);
                    let expected = "extents whose product, less their common factor, is below 2^30";
                    let what = format!("{name} of input and output");
                    return Err(Mismatch::new(what, expected, format!("{from} and {to}")));
                }
            }
        }
        Ok(image)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        match self.mode {
            Upsampling::Nearest => self.lower_nearest(lowering),
            Upsampling::Bilinear { align_corners } => self.lower_bilinear(lowering, align_corners),
        }
    }
}

/// The parts of `lower`: one for each kernel.
impl Upsample2dGrad {
    fn lower_nearest(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let [in_h, in_w, out_h, out_w] = self.sizes(lowering);
        let variant = match lowering.profile.kind.is_software() {
            true => upsample2d_grad_nearest::Variant::Four,
            false => upsample2d_grad_nearest::Variant::One,
        };
        self.check_iterations(lowering, variant.outputs())?;
        let row_groups = in_w.div_ceil(variant.outputs());
        // The estimate and the place itself are products of numbers that are rounded once.
        let slack = |places: u32| 1 + (places >> 21);
        for block in lowering.blocks()? {
            let params = upsample2d_grad_nearest::Params {
                count: block.elements / in_w * row_groups,
                row_groups,
                in_h,
                in_w,
                out_h,
                out_w,
                scale_h: in_h as f32 / out_h as f32,
                scale_w: in_w as f32 / out_w as f32,
                inverse_h: out_h as f32 / in_h as f32,
                inverse_w: out_w as f32 / in_w as f32,
                slack_h: slack(out_h),
                slack_w: slack(out_w),
            };
            let bindings = upsample2d_grad_nearest::Bindings {
                grad: lowering.rowwise(0, &block)?,
                output: block.output,
            };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn lower_bilinear(&self, lowering: &mut Lowering<'_>, align_corners: bool) -> Result<()> {
        let (forward, image) = self.forward(lowering.input(0).desc);
        let [height, width] =
            forward.positions(&image, align_corners).map_err(|e| e.at(lowering.op, lowering.path))?;
        let [in_h, in_w, out_h, out_w] = self.sizes(lowering);
        let variant = match lowering.profile.kind.is_software() {
            true => upsample2d_grad_bilinear::Variant::Four,
            false => upsample2d_grad_bilinear::Variant::One,
        };
        self.check_iterations(lowering, variant.outputs())?;
        let row_groups = in_w.div_ceil(variant.outputs());
        for block in lowering.blocks()? {
            let params = upsample2d_grad_bilinear::Params {
                count: block.elements / in_w * row_groups,
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
            let bindings = upsample2d_grad_bilinear::Bindings {
                grad: lowering.rowwise(0, &block)?,
                output: block.output,
            };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    /// An invocation makes `outputs` neighbours, each of which may have as many places as any.
    fn check_iterations(&self, lowering: &Lowering<'_>, outputs: u32) -> Result<()> {
        let places = &lowering.input(0).desc.shape;
        let [high, wide] =
            [0, 1].map(|axis| Self::places_of_an_element(self.extents[axis], places[2 + axis]) as u64);
        // Where the places begin is found in a few steps more.
        let search = 3 * looped(8 + (places[2].max(places[3]) as u64 >> 20), 0);
        lowering.check_iterations(u64::from(outputs) * looped(wide, looped(high, 0)) + search)
    }

    /// Heights and widths of what was resized and of the result.
    fn sizes(&self, lowering: &Lowering<'_>) -> [u32; 4] {
        let places = &lowering.input(0).desc.shape;
        [self.extents[0], self.extents[1], places[2], places[3]].map(|size| size as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Upsampling; 3] = [
        Upsampling::Nearest,
        Upsampling::Bilinear { align_corners: false },
        Upsampling::Bilinear { align_corners: true },
    ];

    #[test]
    fn shapes() {
        for mode in MODES {
            let infer = |extents, shape: &[usize]| {
                let op = Upsample2dGrad { extents, mode };
                op.infer(&[&TensorDesc::f32(shape)]).map(|desc| desc.shape).map_err(|error| error.to_string())
            };
            assert_eq!(infer([4, 7], &[2, 5, 8, 3]), Ok(vec![2, 5, 4, 7]));
            assert_eq!(infer([4, 0], &[2, 5, 8, 3]), Err("extents: expected at least 1, got [4, 0]".into()));
            assert!(infer([usize::MAX, 1], &[2, 5, 8, 3]).is_err());
            assert_eq!(infer([4, 7], &[5, 8, 3]), Err("gradient rank: expected 4, got f32[5, 8, 3]".into()));
        }
        // The forward direction takes places one by one and can do with fewer bits.
        let op = Upsample2dGrad { extents: [1, 1 << 29], mode: MODES[1] };
        assert!(op.infer(&[&TensorDesc::f32([1, 1, 1, 3])]).is_err());
    }

    /// No element has more places than are allowed for.
    #[test]
    fn places_are_counted() {
        for (extent, places) in (1..30usize).flat_map(|extent| (1..60).map(move |places| (extent, places))) {
            let counted = Upsample2dGrad::places_of_an_element(extent, places);
            let (from, to) = (extent as f64, places as f64);
            for element in 0..extent {
                let near = |position: f64| {
                    position.floor() == element as f64 || position.floor() + 1.0 == element as f64
                };
                let centres =
                    (0..places).filter(|&o| near(((o as f64 + 0.5) * from / to - 0.5).max(0.0))).count();
                let corners = (0..places)
                    .filter(|&o| near(if places == 1 { 0.0 } else { o as f64 * (from - 1.0) / (to - 1.0) }))
                    .count();
                assert!(centres.max(corners) <= counted, "{extent} to {places}");
            }
        }
    }
}
