//! From a convolution to dispatches.

use kiln_kernels::{
    conv2d_block, conv2d_depthwise, conv2d_depthwise_rows, conv2d_lanes, conv2d_lanes_one, conv2d_naive,
    conv2d_register, conv2d_shared, conv2d_spread,
};

use super::{Conv2d, ConvGeometry};
use crate::error::{Mismatch, Result};
use crate::lower::{Block, Bound, Lowering, Piece};
use crate::ops::{OpRules, SplitSum};
use crate::select::{self, ConvKernel, Sharing, looped};
use crate::window::Axis;

/// Rows of outputs of a strip of the depthwise kernel: long enough that the two rows of the input loaded beside each
/// strip do not count, short enough for many invocations.
const STRIP_ROWS: usize = 16;

/// Bytes of a weight that a core's cache holds beside the inputs.
const CACHED_WEIGHT: u64 = 256 << 10;

pub(super) fn lower(op: &Conv2d, lowering: &mut Lowering<'_>) -> Result<()> {
    let geometry = op
        .geometry(lowering.input(0).desc, lowering.input(1).desc)
        .map_err(|mismatch| mismatch.at(Conv2d::NAME, lowering.path))?
        .joined();
    let candidates = select::conv2d_candidates(lowering.profile, op, &geometry);
    if candidates.is_empty() {
        // Only a pass lays a weight out by taps, where there is a kernel.
        let (expected, got) = ("as it was given, or in panels", "by taps");
        return Err(Mismatch::new("weight", expected, got).at(Conv2d::NAME, lowering.path));
    }
    let kernel = lowering.choose(*op, &candidates);
    // The others have one loop over all taps of all channels.
    let naive = kernel == ConvKernel::Naive;
    lowering.check_iterations(if naive { geometry.iterations() } else { geometry.depth() as u64 })?;
    let weight = lowering.input(1);
    // Only the kernels that read the weight where it lies can do with a piece of it, which gives some channels.
    let by_pieces = matches!(kernel, ConvKernel::Shared(_) | ConvKernel::Naive);
    for block in lowering.blocks()? {
        let input = lowering.rowwise(0, &block)?;
        let [bias, residual] = lowering.epilogue(&op.epilogue, 2, &block, input)?;
        for piece in if by_pieces { weight.pieces } else { &weight.pieces[..1] } {
            let weight = if by_pieces { weight.bound(piece) } else { lowering.whole(1)? };
            let tensors = Tensors { input, weight, bias, residual, output: block.output };
            Launch { op, geometry: &geometry, block: &block, tensors, parts: 1 }
                .dispatch(lowering, kernel, piece)?;
        }
    }
    Ok(())
}

impl Conv2d {
    /// The dispatches that make the stacked parts of a [`SplitSum`](crate::ops::SplitSum).
    pub(crate) fn lower_parts(&self, split: &SplitSum, lowering: &mut Lowering<'_>) -> Result<()> {
        let malformed = |mismatch: Mismatch| mismatch.at(SplitSum::NAME, lowering.path);
        let (input, weight) = (lowering.input(0), lowering.input(1));
        let geometry = self.geometry(input.desc, weight.desc).map_err(malformed)?.joined();
        split.part(geometry.depth()).map_err(malformed)?;
        let candidates = select::conv2d_parts_candidates(lowering.profile, &geometry, split.parts);
        let kernel = lowering.choose(*split, &candidates);
        let output = lowering.whole_output()?;
        let elements = (lowering.output.desc.elements() / split.parts) as u32;
        let block = Block { rows: 0..geometry.batch, elements, output };
        let input = lowering.whole(0)?;
        for piece in weight.pieces {
            let tensors =
                Tensors { input, weight: weight.bound(piece), bias: input, residual: input, output };
            let launch = Launch { op: self, geometry: &geometry, block: &block, tensors, parts: split.parts };
            launch.dispatch(lowering, kernel, piece)?;
        }
        Ok(())
    }
}

impl ConvGeometry {
    /// The same convolution with the rows of an image laid end to end, where windows are single elements, so that no
    /// tile of pixels ends where a row does.
    fn joined(mut self) -> Self {
        let single = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.padded() == axis.input;
        if self.axes.iter().all(single) {
            let [height, width] = &mut self.axes;
            width.input *= height.input;
            height.input = 1;
        }
        self
    }

    /// The side of a square window that a pipeline of its own is worth, 0 for others: such as most convolutions have.
    fn baked_window(&self) -> u32 {
        let [height, width] = self.kernel();
        if height == width && [1, 3, 5, 7].contains(&height) { height as u32 } else { 0 }
    }
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
    op: &'a Conv2d,
    geometry: &'a ConvGeometry,
    block: &'a Block,
    tensors: Tensors,
    /// In how many stretches of the depth the sums are made, which only the kernel of tiles in workgroup memory can.
    parts: usize,
}

/// The parameters of a kernel: those that all share, and its own.
macro_rules! params {
    ($kernel:ident, $launch:expr, $($field:ident: $value:expr),+ $(,)?) => {{
        let [height, width] = $launch.geometry.axes;
        $kernel::Params {
            batch: $launch.batch() as u32,
            in_h: height.input as u32,
            in_w: width.input as u32,
            out_h: height.output() as u32,
            out_w: width.output() as u32,
            before_h: height.before as u32,
            before_w: width.before as u32,
            flags: u32::from($launch.op.epilogue.bias),
            $($field: $value as u32,)+
        }
    }};
}

/// The same for a window of any sort.
macro_rules! window_params {
    ($kernel:ident, $launch:expr, $($field:ident: $value:expr),+ $(,)?) => {{
        let [height, width] = $launch.geometry.axes;
        params!(
            $kernel, $launch,
            kernel_h: height.kernel,
            kernel_w: width.kernel,
            stride_h: height.stride,
            stride_w: width.stride,
            dilation_h: height.dilation,
            dilation_w: width.dilation,
            $($field: $value,)+
        )
    }};
}

/// The parameters of a kernel that goes by planes of whole loads and stores.
macro_rules! plane_params {
    ($kernel:ident, $launch:expr, $variant:expr, $row_tiles:expr $(, $in_channels:ident)?) => {{
        let geometry = $launch.geometry;
        let blocks = |extents: [usize; 2], numbers: u32| extents.iter().product::<usize>() as u32 / numbers;
        $kernel::Params {
            batch: $launch.batch() as u32,
            $($in_channels: geometry.in_channels as u32,)?
            out_channels: geometry.out_channels as u32,
            in_blocks: blocks(geometry.axes.map(|axis| axis.input), $variant.ins()),
            out_blocks: blocks(geometry.output(), $variant.outs()),
            row_tiles: $row_tiles as u32,
            flags: u32::from($launch.op.epilogue.bias),
        }
    }};
}

/// Adds the dispatch of so many invocations or workgroups.
macro_rules! dispatch {
    ($kernel:ident $({ $free:ident })?, $launch:expr, $lowering:expr, $variant:expr, $params:expr, $groups:expr) => {{
        let Tensors { input, weight, bias, residual, output } = $launch.tensors;
        let bindings = $kernel::Bindings { input, weight, bias, residual, output }.into_array();
        let epilogue = $launch.op.epilogue;
        let overrides = $kernel::Overrides {
            activation: epilogue.activation_code(),
            residual: u32::from(epilogue.residual),
            $($free,)?
        };
        $lowering.dispatch($variant.kernel(), overrides.pairs(), &$params, bindings, $groups as u64)
    }};
}

impl Launch<'_> {
    fn dispatch(&self, lowering: &mut Lowering<'_>, kernel: ConvKernel, piece: &Piece) -> Result<()> {
        let geometry = self.geometry;
        let [height, width] = geometry.axes.map(|axis| axis.output());
        let (groups, group_in, group_out) = (geometry.groups, geometry.group_in(), geometry.group_out());
        let (oc_start, piece_oc) = (piece.rows.start, piece.rows.len());
        match kernel {
            ConvKernel::Register(variant, sharing) => {
                let Sharing { pixel_step, tap_step } = sharing;
                let row_tiles = sharing.row_tiles(width, variant.pixels());
                let channel_tiles = groups * group_out.div_ceil(4 * variant.vecs() as usize);
                let params = window_params!(
                    conv2d_register, self, groups: groups, group_in: group_in, group_out: group_out,
                    pixel_step: pixel_step, tap_step: tap_step, row_tiles: row_tiles,
                    // Two share their inputs; more would have as many streams of weights pass through the caches.
                    oc_lanes: if channel_tiles.is_multiple_of(2) { 2 } else { 1 },
                );
                let tiles = self.batch() * height * pixel_step * row_tiles * channel_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                dispatch!(conv2d_register, self, lowering, variant, params, workgroups)
            }
            ConvKernel::Block(variant) => {
                let col_tiles = width.div_ceil(variant.cols() as usize);
                let row_tiles = height.div_ceil(variant.rows() as usize);
                let channel_tiles = groups * group_out.div_ceil(4 * variant.vecs() as usize);
                // Weights that stay in the caches are taken all at once, the inputs of a tile one time.
                let oc_lanes = match self.tensors.weight.bytes <= CACHED_WEIGHT {
                    true => channel_tiles,
                    false => 1 + usize::from(channel_tiles.is_multiple_of(2)),
                };
                let params = params!(
                    conv2d_block, self, groups: groups, group_in: group_in, group_out: group_out,
                    col_tiles: col_tiles, row_tiles: row_tiles, oc_lanes: oc_lanes,
                );
                let tiles = self.batch() * row_tiles * col_tiles * channel_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                dispatch!(conv2d_block, self, lowering, variant, params, workgroups)
            }
            ConvKernel::Lanes(variant) => {
                let row_tiles = height.div_ceil(variant.rows() as usize);
                let params = plane_params!(conv2d_lanes, self, variant, row_tiles, in_channels);
                let workgroups =
                    self.workgroups(self.batch() * row_tiles, variant.tiles(), variant.threads());
                dispatch!(conv2d_lanes, self, lowering, variant, params, workgroups)
            }
            ConvKernel::One(variant) => {
                let row_tiles = height.div_ceil(variant.rows() as usize);
                lowering.check_iterations(looped(row_tiles as u64, 0))?;
                let params = plane_params!(conv2d_lanes_one, self, variant, row_tiles);
                let workgroups = self.workgroups(self.batch(), variant.tiles(), variant.threads());
                dispatch!(conv2d_lanes_one, self, lowering, variant, params, workgroups)
            }
            ConvKernel::Spread(variant) => {
                let row_tiles = geometry.axes[0].input.div_ceil(variant.rows() as usize);
                lowering
                    .check_iterations(looped(row_tiles as u64, looped(geometry.in_channels as u64, 0)))?;
                let params = plane_params!(conv2d_spread, self, variant, row_tiles, in_channels);
                let workgroups = self.workgroups(self.batch(), variant.tiles(), variant.threads());
                dispatch!(conv2d_spread, self, lowering, variant, params, workgroups)
            }
            ConvKernel::Depthwise(variant, sharing) => {
                let Sharing { pixel_step, tap_step } = sharing;
                let row_tiles = sharing.row_tiles(width, variant.pixels());
                let params = window_params!(
                    conv2d_depthwise, self, channels: groups, multiplier: group_out,
                    pixel_step: pixel_step, tap_step: tap_step, row_tiles: row_tiles,
                );
                let tiles = self.batch() * geometry.out_channels * height * pixel_step * row_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                dispatch!(conv2d_depthwise, self, lowering, variant, params, workgroups)
            }
            ConvKernel::DepthwiseRows(variant) => {
                let row_tiles = width.div_ceil(variant.pixels() as usize);
                let strips = height.div_ceil(STRIP_ROWS);
                let params = params!(
                    conv2d_depthwise_rows, self, channels: groups, multiplier: group_out,
                    row_tiles: row_tiles, strips: strips, strip_rows: height.div_ceil(strips),
                );
                let tiles = self.batch() * geometry.out_channels * strips * row_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                dispatch!(conv2d_depthwise_rows, self, lowering, variant, params, workgroups)
            }
            ConvKernel::Shared(variant) => {
                let params = window_params!(
                    conv2d_shared, self, groups: groups, group_in: group_in, group_out: group_out,
                    oc_start: oc_start, piece_oc: piece_oc, parts: self.parts,
                    part_depth: geometry.depth() / self.parts,
                );
                let touched = (piece.rows.end - 1) / group_out - oc_start / group_out + 1;
                let channel_tiles = touched * group_out.min(piece_oc).div_ceil(variant.tile_oc() as usize);
                let pixel_tiles = (self.batch() * height * width).div_ceil(variant.tile_pixels() as usize);
                let window = geometry.baked_window();
                let groups = self.parts * channel_tiles * pixel_tiles;
                dispatch!(conv2d_shared { window }, self, lowering, variant, params, groups)
            }
            ConvKernel::Naive => {
                let params = window_params!(
                    conv2d_naive, self, groups: groups, group_in: group_in, group_out: group_out,
                    oc_start: oc_start, piece_oc: piece_oc,
                );
                let variant = conv2d_naive::Variant::Base;
                let outputs = self.batch() * piece_oc * height * width;
                let workgroups = outputs.div_ceil(variant.threads() as usize);
                dispatch!(conv2d_naive, self, lowering, variant, params, workgroups)
            }
        }
    }

    fn batch(&self) -> usize {
        self.block.rows.len()
    }

    /// Workgroups whose `lanes` have `at_once` of so many tiles, and a channel each of one of them.
    fn workgroups(&self, tiles: usize, at_once: u32, lanes: u32) -> usize {
        tiles.div_ceil(at_once as usize) * self.geometry.out_channels.div_ceil((lanes / at_once) as usize)
    }
}
