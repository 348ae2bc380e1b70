//! From a transposed convolution to dispatches.

use kiln_kernels::{
    conv_transpose2d_depthwise, conv_transpose2d_gather, conv_transpose2d_naive, conv_transpose2d_row,
};

use super::{ConvTranspose2d, ConvTransposeGeometry, TransposedAxis};
use crate::error::Result;
use crate::lower::{Block, Bound, Lowering};
use crate::ops::{OpRules, PANEL};
use crate::select::{self, ConvTransposeKernel};

pub(super) fn lower(op: &ConvTranspose2d, lowering: &mut Lowering<'_>) -> Result<()> {
    let geometry = op
        .geometry(lowering.input(0).desc, lowering.input(1).desc)
        .map_err(|mismatch| mismatch.at(ConvTranspose2d::NAME, lowering.path))?;
    lowering.check_iterations(geometry.iterations())?;
    let kernel = select::conv_transpose2d(lowering.profile, op, &geometry);
    let weight = lowering.whole(1)?;
    for block in lowering.blocks()? {
        let input = lowering.rowwise(0, &block)?;
        let [bias, residual] = lowering.epilogue(&op.epilogue, 2, &block, input)?;
        let tensors = Tensors { input, weight, bias, residual, output: block.output };
        Launch { op, geometry: &geometry, block: &block, tensors }.dispatch(lowering, kernel)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Tensors {
    input: Bound,
    weight: Bound,
    bias: Bound,
    residual: Bound,
    output: Bound,
}

/// One block of the output.
struct Launch<'a> {
    op: &'a ConvTranspose2d,
    geometry: &'a ConvTransposeGeometry,
    block: &'a Block,
    tensors: Tensors,
}

/// Adds the dispatch of a kernel, with the parameters that all have and its own.
macro_rules! dispatch {
    ($kernel:ident, $launch:expr, $lowering:expr, $variant:expr, $groups:expr, $($field:ident: $value:expr),* $(,)?) => {{
        let [height, width] = $launch.geometry.axes;
        let params = $kernel::Params {
            batch: $launch.batch() as u32,
            groups: $launch.geometry.groups as u32,
            group_in: $launch.geometry.group_in() as u32,
            group_out: $launch.geometry.group_out() as u32,
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
            before_h: height.padding as u32,
            before_w: width.padding as u32,
            step_h: height.step() as u32,
            step_w: width.step() as u32,
            $($field: $value as u32,)*
            flags: $launch.op.epilogue.flags(),
        };
        let Tensors { input, weight, bias, residual, output } = $launch.tensors;
        let bindings = $kernel::Bindings { input, weight, bias, residual, output }.into_array();
        let overrides = $kernel::Overrides { activation: $launch.op.epilogue.activation_code() };
        $lowering.dispatch($variant.kernel(), overrides.pairs(), &params, bindings, $groups as u64)
    }};
}

impl Launch<'_> {
    fn dispatch(&self, lowering: &mut Lowering<'_>, kernel: ConvTransposeKernel) -> Result<()> {
        let [height, width] = self.geometry.axes;
        let (groups, group_out) = (self.geometry.groups, self.geometry.group_out());
        let (phases_h, phases_w) = (height.phases(), width.phases());
        let (phase_rows, phase_cols) = (height.phase(), width.phase());
        // Phases of all images.
        let planes = self.batch() * phases_h * phases_w;
        match kernel {
            ConvTransposeKernel::Row(variant) => {
                let channel_tiles = groups * group_out.div_ceil(2 * PANEL);
                // Two share their inputs; more would have as many streams of weights pass through the caches.
                let oc_lanes = if channel_tiles.is_multiple_of(2) { 2 } else { 1 };
                let row_tiles = phase_cols.div_ceil(variant.pixels() as usize);
                let workgroups =
                    (planes * phase_rows * row_tiles * channel_tiles).div_ceil(variant.threads() as usize);
                dispatch!(
                    conv_transpose2d_row, self, lowering, variant, workgroups,
                    phases_h: phases_h, phases_w: phases_w, phase_rows: phase_rows,
                    row_tiles: row_tiles, oc_lanes: oc_lanes,
                )
            }
            ConvTransposeKernel::Gather(variant) => {
                let panel_lanes = variant.panel_lanes() as usize;
                let panels = group_out.div_ceil(PANEL);
                let tile = variant.pixels() as usize * (variant.threads() as usize / panel_lanes);
                let pixel_tiles = (phase_rows * phase_cols).div_ceil(tile);
                let workgroups = planes * groups * panels.div_ceil(2 * panel_lanes) * pixel_tiles;
                dispatch!(
                    conv_transpose2d_gather, self, lowering, variant, workgroups,
                    phases_h: phases_h, phases_w: phases_w, phase_rows: phase_rows, phase_cols: phase_cols,
                    panels: panels, pixel_tiles: pixel_tiles,
                )
            }
            ConvTransposeKernel::Depthwise(variant) => {
                // Outputs by twos, counted from the padding on.
                let pairs =
                    |axis: &TransposedAxis| (axis.padding + axis.output() - 1) / 2 - axis.padding / 2 + 1;
                let (row_pairs, col_pairs) = (pairs(&height), pairs(&width));
                let col_tiles = col_pairs.div_ceil(variant.cols() as usize);
                let params = conv_transpose2d_depthwise::Params {
                    batch: self.batch() as u32,
                    groups: groups as u32,
                    group_in: self.geometry.group_in() as u32,
                    in_h: height.input as u32,
                    in_w: width.input as u32,
                    out_h: height.output() as u32,
                    out_w: width.output() as u32,
                    before_h: height.padding as u32,
                    before_w: width.padding as u32,
                    row_pairs: row_pairs as u32,
                    col_tiles: col_tiles as u32,
                    flags: self.op.epilogue.flags(),
                };
                let Tensors { input, weight, bias, residual, output } = self.tensors;
                let bindings = conv_transpose2d_depthwise::Bindings { input, weight, bias, residual, output };
                let activation = self.op.epilogue.activation_code();
                let overrides = conv_transpose2d_depthwise::Overrides { activation };
                let tiles = self.batch() * groups * row_pairs * col_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize) as u64;
                let bindings = bindings.into_array();
                lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings, workgroups)
            }
            ConvTransposeKernel::Naive => {
                let variant = conv_transpose2d_naive::Variant::Base;
                let workgroups = self.block.elements.div_ceil(variant.threads());
                dispatch!(conv_transpose2d_naive, self, lowering, variant, workgroups,)
            }
        }
    }

    fn batch(&self) -> usize {
        self.block.rows.len()
    }
}
