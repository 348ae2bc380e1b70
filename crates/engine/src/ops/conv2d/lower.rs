//! From a convolution to dispatches.

use kiln_kernels::conv2d_naive;

use super::Conv2d;
use crate::error::Result;
use crate::lower::Lowering;
use crate::ops::OpRules;

pub(super) fn lower(op: &Conv2d, lowering: &mut Lowering<'_>) -> Result<()> {
    let geometry = op
        .geometry(lowering.input(0).desc, lowering.input(1).desc)
        .map_err(|mismatch| mismatch.at(Conv2d::NAME, lowering.path))?;
    let [height, width] = geometry.axes;
    lowering.check_iterations(geometry.depth() as u64)?;
    let weight = lowering.whole(1)?;
    for block in lowering.blocks()? {
        let input = lowering.rowwise(0, &block)?;
        let [bias, residual] = lowering.epilogue(&op.epilogue, 2, &block, input)?;
        let params = conv2d_naive::Params {
            batch: block.rows.len() as u32,
            groups: geometry.groups as u32,
            group_in: geometry.group_in() as u32,
            group_out: geometry.group_out() as u32,
            in_h: height.input as u32,
            in_w: width.input as u32,
            out_h: height.output() as u32,
            out_w: width.output() as u32,
            kernel_h: height.kernel as u32,
            kernel_w: width.kernel as u32,
            stride_h: height.stride as u32,
            stride_w: width.stride as u32,
            dilation_h: height.dilation as u32,
            dilation_w: width.dilation as u32,
            before_h: height.before as u32,
            before_w: width.before as u32,
            oc_start: 0,
            piece_oc: geometry.out_channels as u32,
            flags: op.epilogue.flags(),
        };
        let bindings = conv2d_naive::Bindings { input, weight, bias, residual, output: block.output };
        let variant = conv2d_naive::Variant::Base;
        let overrides = conv2d_naive::Overrides { activation: op.epilogue.activation_code() };
        let groups = u64::from(block.elements.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
    }
    Ok(())
}
