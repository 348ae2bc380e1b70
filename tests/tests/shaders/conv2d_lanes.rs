//! The kernels of conv2d whose lanes have a channel each, of an image that they load together.

use kiln_kernels::{conv2d_lanes, conv2d_lanes_one, conv2d_spread};
use kiln_tests::device;
use kiln_tests::kernel::Run;

use crate::conv2d::{Case, check};
use crate::support::u;

/// `[out][in][taps]`, zeros behind the taps up to a multiple of eight.
fn by_taps(case: &Case, weight: &[f32]) -> Vec<f32> {
    let taps = case.kernel[0] * case.kernel[1];
    let padded = |taps: &[f32]| [taps, &vec![0.0; taps.len().next_multiple_of(8) - taps.len()]].concat();
    weight.chunks(taps).flat_map(padded).collect()
}

/// Cases of channels of the input and the output and of a height, around `rows`, then the epilogue and NaN.
fn by_lanes(case: impl Fn(usize, usize, usize) -> Case, rows: usize, turn: usize) -> Vec<Case> {
    let odd = case(3, 13, 2 * rows + 1);
    vec![
        case(1, 8, rows),
        case(2, 7, 1),
        case(4, 17, 3 * rows),
        odd,
        Case { bias: true, nan: true, ..odd },
        // A pipeline takes long to make: one more for all of the epilogue.
        Case { bias: true, residual: true, activation: u(turn % 7), ..odd },
    ]
}

/// Workgroups of eight lanes that have `at_once` of some tiles, and a channel each of one of them.
fn by_subgroups(tiles: usize, channels: usize, at_once: u32) -> usize {
    let at_once = at_once as usize;
    tiles.div_ceil(at_once) * channels.div_ceil(8 / at_once)
}

/// The parameters of the kernels that go by planes of whole loads and stores.
macro_rules! plane_params {
    ($kernel:ident, $case:expr, $variant:expr, $row_tiles:expr $(, $in_channels:ident)?) => {{
        let blocks = |extents: [usize; 2], numbers: u32| u(extents[0] * extents[1]) / numbers;
        $kernel::Params {
            batch: u($case.batch),
            $($in_channels: u($case.group_in),)?
            out_channels: u($case.group_out),
            in_blocks: blocks($case.input, $variant.ins()),
            out_blocks: blocks($case.output(), $variant.outs()),
            row_tiles: u($row_tiles),
            flags: $case.flags(),
        }
    }};
}

#[test]
fn lanes() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for (turn, &variant) in conv2d_lanes::Variant::ALL.iter().enumerate() {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let [rows, taps, width, pad, height] =
            [variant.rows(), variant.taps(), variant.width(), variant.pad(), variant.height()]
                .map(|count| count as usize);
        let whole = |group_in, group_out, outputs| Case {
            kernel: [taps; 2],
            padding: [[pad; 2]; 2],
            ..Case::new(3, [1, group_in, group_out], [outputs + taps - 1 - 2 * pad, width])
        };
        // A tile of the image, several, and parts of one; planes are whole loads and stores.
        let case = |group_in, group_out, outputs: usize| {
            let in_blocks = |outputs: &usize| {
                let case = whole(1, 1, *outputs);
                let elements = [case.input, case.output()].map(|extents| extents[0] * extents[1]);
                let numbers = [variant.ins(), variant.outs()];
                elements.iter().zip(numbers).all(|(count, by)| count.is_multiple_of(by as usize))
            };
            let fits = |outputs: &usize| outputs + taps > 1 + 2 * pad && in_blocks(outputs);
            let outputs =
                if height > 0 { rows } else { (outputs..).find(fits).expect("a height should fit") };
            whole(group_in, group_out, outputs)
        };
        for case in by_lanes(case, rows, turn) {
            check(gpu, variant.kernel(), &case, |tensors| {
                let row_tiles = case.output()[0].div_ceil(rows);
                let params = plane_params!(conv2d_lanes, case, variant, row_tiles, in_channels);
                let overrides = conv2d_lanes::Overrides {
                    activation: case.activation,
                    residual: u32::from(case.residual),
                }
                .pairs();
                let binds = case.binds(tensors, &by_taps(&case, &tensors.weight));
                let groups = by_subgroups(case.batch * row_tiles, case.group_out, variant.tiles());
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}

#[test]
fn lanes_one() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for (turn, &variant) in conv2d_lanes_one::Variant::ALL.iter().enumerate() {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let [rows, taps, width] =
            [variant.rows(), variant.taps(), variant.width()].map(|count| count as usize);
        // Of three images one is alone; inputs are whole loads where the height is even, outputs are whole stores.
        let case = |_, group_out, outputs: usize| Case {
            kernel: [taps; 2],
            ..Case::new(3, [1, 1, group_out], [outputs.next_multiple_of(2) + taps - 1, width])
        };
        for case in by_lanes(case, rows, turn) {
            check(gpu, variant.kernel(), &case, |tensors| {
                let row_tiles = case.output()[0].div_ceil(rows);
                let params = plane_params!(conv2d_lanes_one, case, variant, row_tiles);
                let overrides = conv2d_lanes_one::Overrides {
                    activation: case.activation,
                    residual: u32::from(case.residual),
                }
                .pairs();
                let binds = case.binds(tensors, &by_taps(&case, &tensors.weight));
                let groups = by_subgroups(case.batch, case.group_out, variant.tiles());
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}

#[test]
fn spread() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for (turn, &variant) in conv2d_spread::Variant::ALL.iter().enumerate() {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let [rows, taps, width] =
            [variant.rows(), variant.taps(), variant.width()].map(|count| count as usize);
        let case = |group_in, group_out, height| Case {
            kernel: [taps; 2],
            padding: [[taps - 1; 2]; 2],
            // Widths are whole loads; the outputs are whole stores where the height is even. Of three images, where two
            // go together, one is alone.
            ..Case::new(3, [1, group_in, group_out], [height, width])
        };
        let even = |group_in, group_out, height: usize| case(group_in, group_out, height.next_multiple_of(2));
        for case in by_lanes(even, rows, turn) {
            check(gpu, variant.kernel(), &case, |tensors| {
                let row_tiles = case.input[0].div_ceil(rows);
                let params = plane_params!(conv2d_spread, case, variant, row_tiles, in_channels);
                let overrides = conv2d_spread::Overrides {
                    activation: case.activation,
                    residual: u32::from(case.residual),
                }
                .pairs();
                let binds = case.binds(tensors, &by_taps(&case, &tensors.weight));
                let groups = by_subgroups(case.batch, case.group_out, variant.tiles());
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}
