//! The copy between strided views that permute, slice and concat share.

use kiln_kernels::copy_strided;

use crate::error::Result;
use crate::lower::{Bound, Lowering};
use crate::views::{View, halves};

/// Copies `shape` elements from one strided view to another; all in elements, slowest dimension first.
pub(crate) struct StridedCopy<'a> {
    pub(crate) input: Bound,
    pub(crate) input_offset: usize,
    pub(crate) input_strides: &'a [usize],
    pub(crate) output: Bound,
    pub(crate) output_offset: usize,
    pub(crate) output_strides: &'a [usize],
    pub(crate) shape: &'a [usize],
}

impl StridedCopy<'_> {
    pub(crate) fn dispatch(self, lowering: &mut Lowering<'_>) -> Result<()> {
        let view = View::merged(self.shape, [self.input_strides, self.output_strides]);
        let (shape_low, shape_high) = halves(&view.shape);
        let (input_low, input_high) = halves(&view.strides[0]);
        let (output_low, output_high) = halves(&view.strides[1]);
        let count = self.shape.iter().product::<usize>() as u32;
        let params = copy_strided::Params {
            count,
            rank: view.rank(),
            input_offset: self.input_offset as u32,
            output_offset: self.output_offset as u32,
            shape_low,
            shape_high,
            input_low,
            input_high,
            output_low,
            output_high,
        };
        let bindings = copy_strided::Bindings { input: self.input, output: self.output };
        let variant = copy_strided::Variant::Base;
        let groups = u64::from(count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}
