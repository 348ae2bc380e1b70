//! From the gradient of a weight to dispatches.

use kiln_kernels::{
    conv2d_grad_weight_gather, conv2d_grad_weight_lanes, conv2d_grad_weight_points, conv2d_grad_weight_rows,
    conv2d_grad_weight_shared,
};

use super::Conv2dWeightGrad;
use crate::error::Result;
use crate::lower::{Bound, Lowering, Piece};
use crate::ops::{ConvGeometry, OpRules};
use crate::select::{self, Strips, WeightGradKernel};

pub(super) fn lower(op: &Conv2dWeightGrad, lowering: &mut Lowering<'_>) -> Result<()> {
    let geometry = op
        .geometry(lowering.input(0).desc, lowering.input(1).desc)
        .map_err(|mismatch| mismatch.at(Conv2dWeightGrad::NAME, lowering.path))?;
    let output = lowering.output;
    for piece in output.pieces {
        // Where a batch lies in several pieces, each adds to what those before it left.
        for (index, (rows, [input, grad])) in lowering.stretches([0, 1])?.into_iter().enumerate() {
            let launch = Launch {
                geometry: &geometry,
                images: rows.len(),
                parts: op.parts,
                piece,
                adds: index > 0,
                tensors: [input, grad, output.bound(piece)],
            };
            launch.dispatch(lowering)?;
        }
    }
    Ok(())
}

/// Some images of the batch, and a piece of the output.
struct Launch<'a> {
    geometry: &'a ConvGeometry,
    images: usize,
    parts: usize,
    piece: &'a Piece,
    /// Whether the sums are added to what the output holds.
    adds: bool,
    /// Image, gradient and output.
    tensors: [Bound; 3],
}

/// Adds the dispatch of a kernel, with the parameters that all have and its own.
macro_rules! dispatch {
    ($kernel:ident, $launch:expr, $lowering:expr, $variant:expr, $groups:expr, $($field:ident: $value:expr),* $(,)?) => {{
        let [height, width] = $launch.geometry.axes;
        let params = $kernel::Params {
            batch: $launch.images as u32,
            groups: $launch.geometry.groups as u32,
            group_in: $launch.geometry.group_in() as u32,
            group_out: $launch.geometry.group_out() as u32,
            in_h: height.input as u32,
            in_w: width.input as u32,
            out_h: height.output() as u32,
            out_w: width.output() as u32,
            before_h: height.before as u32,
            before_w: width.before as u32,
            parts: $launch.parts as u32,
            row_start: $launch.piece.rows.start as u32,
            rows: $launch.piece.rows.len() as u32,
            flags: u32::from($launch.adds),
            $($field: $value as u32,)*
        };
        let [input, grad, output] = $launch.tensors;
        let bindings = $kernel::Bindings { input, grad, output }.into_array();
        $lowering.dispatch($variant.kernel(), [], &params, bindings, $groups as u64)
    }};
}

/// The same for a window of any sort, where the sum is cut by pixels.
macro_rules! window_dispatch {
    ($kernel:ident, $launch:expr, $lowering:expr, $variant:expr, $groups:expr, $part_pixels:expr) => {{
        let [height, width] = $launch.geometry.axes;
        dispatch!(
            $kernel, $launch, $lowering, $variant, $groups,
            kernel_h: height.kernel,
            kernel_w: width.kernel,
            stride_h: height.stride,
            stride_w: width.stride,
            dilation_h: height.dilation,
            dilation_w: width.dilation,
            part_pixels: $part_pixels,
        )
    }};
}

impl Launch<'_> {
    fn dispatch(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let kernel = select::conv2d_weight_grad(lowering.profile, self.geometry, self.images);
        let tiles = self.parts * kernel.tiles(self.geometry);
        let run = kernel.units(self.geometry, self.images).div_ceil(self.parts);
        lowering.check_iterations(kernel.iterations(self.geometry, run))?;
        match kernel {
            WeightGradKernel::Rows(variant) => {
                let Strips { strips, rows } = Strips::of(self.geometry);
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                dispatch!(
                    conv2d_grad_weight_rows, self, lowering, variant, workgroups,
                    part_units: run,
                    strips: strips,
                    strip_rows: rows,
                    col_tiles: self.geometry.output()[1].div_ceil(variant.cols() as usize),
                )
            }
            WeightGradKernel::Lanes(variant) => {
                let [height, width] = self.geometry.output();
                let in_plane: usize = self.geometry.axes.iter().map(|axis| axis.input).product();
                let params = conv2d_grad_weight_lanes::Params {
                    batch: self.images as u32,
                    in_channels: self.geometry.in_channels as u32,
                    out_channels: self.geometry.out_channels as u32,
                    in_blocks: in_plane as u32 / variant.ins(),
                    out_blocks: (height * width) as u32 / variant.grads(),
                    row_tiles: height.div_ceil(variant.rows() as usize) as u32,
                    parts: self.parts as u32,
                    part_units: run as u32,
                    row_start: self.piece.rows.start as u32,
                    rows: self.piece.rows.len() as u32,
                    flags: u32::from(self.adds),
                };
                let [input, grad, output] = self.tensors;
                let bindings = conv2d_grad_weight_lanes::Bindings { input, grad, output }.into_array();
                let workgroups = (tiles / variant.threads() as usize) as u64;
                lowering.dispatch(variant.kernel(), [], &params, bindings, workgroups)
            }
            WeightGradKernel::Points(variant) => {
                let params = conv2d_grad_weight_points::Params {
                    batch: self.images as u32,
                    groups: self.geometry.groups as u32,
                    group_in: self.geometry.group_in() as u32,
                    group_out: self.geometry.group_out() as u32,
                    blocks: (self.geometry.output().iter().product::<usize>() / 4) as u32,
                    parts: self.parts as u32,
                    part_blocks: run as u32,
                    row_start: self.piece.rows.start as u32,
                    rows: self.piece.rows.len() as u32,
                    flags: u32::from(self.adds),
                };
                let [input, grad, output] = self.tensors;
                let bindings = conv2d_grad_weight_points::Bindings { input, grad, output }.into_array();
                let workgroups = tiles.div_ceil(variant.threads() as usize) as u64;
                lowering.dispatch(variant.kernel(), [], &params, bindings, workgroups)
            }
            WeightGradKernel::Gather => {
                let variant = conv2d_grad_weight_gather::Variant::Base;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                window_dispatch!(conv2d_grad_weight_gather, self, lowering, variant, workgroups, run)
            }
            WeightGradKernel::Shared(variant) => {
                window_dispatch!(conv2d_grad_weight_shared, self, lowering, variant, tiles, run)
            }
        }
    }
}
