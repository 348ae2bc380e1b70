//! The kernels of Winograd's convolution, each alone.

use kiln_kernels::{winograd_input, winograd_input_row, winograd_output, winograd_weight};
use kiln_reference::{Array, Unary, Winograd};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::WINOGRAD_STEP;
use kiln_tests::{data, device, sweep};

use crate::support::u;

fn numbers(name: &str, shape: &[usize]) -> Array {
    Array::from_f32(shape, &data::uniform(name, shape.iter().product()))
}

fn plain(x: &Array) -> Vec<f32> {
    x.data.iter().map(|&x| x as f32).collect()
}

/// Extents around the tiles and the vectors of tiles, in company with channels, batches and paddings.
fn images(tile: usize) -> Vec<([usize; 4], [[usize; 2]; 2])> {
    let extents = sweep::sizes(4 * tile);
    let shapes = sweep::shapes([&[1, 2, 3], &[1, 4, 5], &[1, 3, 6], &extents, &[0, 1, 2]]);
    shapes
        .into_iter()
        .map(|[batch, channels, height, width, before]| {
            let padding = [[before, 2], [2, before]];
            ([batch, channels, height, width], padding)
        })
        // Four tiles in a row, and no more: half a panel of eight is behind the last.
        .chain([([1, 3, tile, 4 * tile], [[0, 2], [2, 0]])])
        .collect()
}

/// Both kernels of the image's transform take the same parameters and bindings; `in_rows` asks for whole runs in a row.
macro_rules! inputs {
    ($test:ident, $kernel:ident, $variant:ident in $variants:expr, $lanes:expr, $in_rows:expr) => {
        #[test]
        fn $test() {
            let Some(gpu) = device::gpu() else { return };
            for &$variant in $variants {
                let (outputs, lanes): (usize, usize) = ($variant.outputs() as usize, $lanes);
                let matrices = Winograd::new(outputs);
                for (mut shape, padding) in images(outputs) {
                    let along = |shape: &[usize], axis: usize| {
                        (padding[axis][0] + shape[axis + 2] + padding[axis][1] - 2).div_ceil(outputs)
                    };
                    while $in_rows && along(&shape, 1) % lanes != 0 {
                        shape[3] += 1;
                    }
                    if lanes > 1 {
                        shape[0] *= [1, 4, 2, 4][shape.iter().product::<usize>() % 4];
                    }
                    let x = numbers("winograd.input", &shape);
                    let expected = kiln_reference::winograd_input(&x, padding, &matrices);
                    let terms = kiln_reference::winograd_input(&x.abs(), padding, &matrices.abs());
                    let (tiles, channels) = (expected.shape[2], shape[1]);
                    // In panels of eight, of four, and in one that holds all.
                    for width in [8, 4, tiles.next_multiple_of(4)] {
                        let panels = tiles.div_ceil(width);
                        let laid = |x: &Array| {
                            Array::from_fn(&[x.shape[0], panels, channels, width], |at| {
                                let tile = width * at[1] + at[3];
                                if tile < tiles { x.at(&[at[0], at[2], tile]) } else { 0.0 }
                            })
                        };
                        let count = panels * channels * width / lanes;
                        let params = $kernel::Params {
                            count: u(count),
                            tiles: u(tiles),
                            tiles_h: u(along(&shape, 0)),
                            tiles_w: u(along(&shape, 1)),
                            channels: u(channels),
                            panel_tiles: u(width / lanes),
                            batch: u(shape[0]),
                            in_h: u(shape[2]),
                            in_w: u(shape[3]),
                            before_h: u(padding[0][0]),
                            before_w: u(padding[1][0]),
                        };
                        let (expected, terms) = (laid(&expected), laid(&terms));
                        let binds = vec![Bind::f32(&plain(&x)), Bind::output(expected.data.len())];
                        let groups = count.div_ceil($variant.threads() as usize);
                        let got = Run::new($variant.kernel(), &params, binds, groups).output(gpu);
                        let what =
                            format!("{} on {shape:?}, {padding:?}, panels of {width}", $variant.kernel());
                        assert_close(what, &got, &expected, &WINOGRAD_STEP.bounds(&terms));
                    }
                }
            }
        }
    };
}

inputs! { inputs, winograd_input, variant in winograd_input::Variant::ALL, variant.lanes() as usize, false }
inputs! { inputs_in_rows, winograd_input_row, variant in winograd_input_row::Variant::ALL, 4, true }

#[test]
fn weights() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in winograd_weight::Variant::ALL {
        let matrices = Winograd::new(variant.outputs() as usize);
        for [outputs, channels] in sweep::shapes([&[1, 3, 8], &sweep::sizes(8)]) {
            let weight = numbers("winograd.weight", &[outputs, channels, 3, 3]);
            let expected = kiln_reference::winograd_weight(&weight, &matrices);
            let terms = kiln_reference::winograd_weight(&weight.abs(), &matrices.abs());
            let params = winograd_weight::Params { count: u(outputs * channels) };
            let binds = vec![Bind::f32(&plain(&weight)), Bind::output(expected.data.len())];
            let groups = (outputs * channels).div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let what = format!("{} of {outputs} by {channels}", variant.kernel());
            assert_close(what, &got, &expected, &WINOGRAD_STEP.bounds(&terms));
        }
    }
}

#[test]
fn outputs() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in winograd_output::Variant::ALL {
        let (outputs, lanes) = (variant.outputs() as usize, variant.lanes() as usize);
        let matrices = Winograd::new(outputs);
        let extents = sweep::sizes(4 * outputs);
        let shapes = sweep::shapes([&[1, 2, 3], &[1, 4, 5], &[2, 3, 7], &extents]);
        for (turn, [batch, channels, height, width]) in shapes.into_iter().enumerate() {
            let [bias, residual, relu] = [turn % 2 == 1, turn % 3 == 1, turn % 5 == 1];
            let pool = turn % 4 >= 2 && width >= 2;
            let tiles = batch * height.div_ceil(outputs) * width.div_ceil(outputs);
            // What lies behind the last tile is never looked at.
            let padded = tiles.next_multiple_of(lanes);
            let products = numbers("winograd.products", &[(outputs + 2) * (outputs + 2), channels, tiles]);
            let shape = [batch, channels, height, width];
            let (added, late) = (numbers("winograd.bias", &[channels]), numbers("winograd.residual", &shape));
            let laid = Array::from_fn(&[products.shape[0], channels, padded], |at| {
                if at[2] < tiles { products.at(at) } else { f64::NAN }
            });
            let by_channel = |x: &Array| Array::from_fn(&shape, |at| x.data[at[1]]);
            let mut expected = kiln_reference::winograd_output(&products, batch, [height, width], &matrices);
            let mut terms =
                kiln_reference::winograd_output(&products.abs(), batch, [height, width], &matrices.abs());
            if bias {
                expected = kiln_reference::add(&expected, &by_channel(&added));
                terms = kiln_reference::add(&terms, &by_channel(&added.abs()));
            }
            if relu {
                expected = kiln_reference::unary(Unary::Relu, &expected);
            }
            if residual {
                expected = kiln_reference::add(&expected, &late);
                terms = kiln_reference::add(&terms, &late.abs());
            }
            if pool {
                let windows = kiln_reference::Pool::new([2; 2]);
                (expected, terms) = (
                    kiln_reference::max_pool2d(&expected, windows),
                    kiln_reference::max_pool2d(&terms, windows),
                );
            }
            let count = channels * padded / lanes;
            let params = winograd_output::Params {
                count: u(count),
                row_runs: u(padded / lanes),
                tiles: u(tiles),
                tiles_h: u(height.div_ceil(outputs)),
                tiles_w: u(width.div_ceil(outputs)),
                out_channels: u(channels),
                out_h: u(height),
                out_w: u(width),
                flags: u32::from(bias),
            };
            let overrides = winograd_output::Overrides {
                activation: u32::from(relu),
                residual: u32::from(residual),
                pool: u32::from(pool),
            }
            .pairs();
            let absent = || Bind::f32(&[f32::NAN]);
            let binds = vec![
                Bind::f32(&plain(&laid)),
                if bias { Bind::f32(&plain(&added)) } else { absent() },
                if residual { Bind::f32(&plain(&late)) } else { absent() },
                Bind::output(expected.data.len()),
            ];
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
            let what = format!(
                "{} to {shape:?}, bias {bias}, relu {relu}, residual {residual}, pool {pool}",
                variant.kernel()
            );
            assert_close(what, &got, &expected, &WINOGRAD_STEP.bounds(&terms));
        }
    }
}

/// A tile writes what is its own and nothing else: here only some of an image's tiles are there, of one channel of
/// several, so that nobody writes over what is too much.
#[test]
fn outputs_keep_to_their_tiles() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in winograd_output::Variant::ALL {
        let (outputs, lanes) = (variant.outputs() as usize, variant.lanes() as usize);
        for [height, width, there] in sweep::shapes([&sweep::sizes(3 * outputs), &[outputs, 11], &[1, 2, 5]])
        {
            for pool in [false, true] {
                let (tiles_h, tiles_w) = (height.div_ceil(outputs), width.div_ceil(outputs));
                // Of two images of two channels.
                let tiles = there.min(2 * tiles_h * tiles_w);
                let padded = tiles.next_multiple_of(lanes);
                let input = data::uniform("winograd.products", (outputs + 2) * (outputs + 2) * padded);
                let made = if pool { [height / 2, width / 2] } else { [height, width] };
                let plane = made[0] * made[1];
                if plane == 0 {
                    continue;
                }
                let params = winograd_output::Params {
                    count: u(padded / lanes),
                    row_runs: u(padded / lanes),
                    tiles: u(tiles),
                    tiles_h: u(tiles_h),
                    tiles_w: u(tiles_w),
                    out_channels: 2,
                    out_h: u(height),
                    out_w: u(width),
                    flags: 0,
                };
                let overrides =
                    winograd_output::Overrides { activation: 0, residual: 0, pool: u32::from(pool) }.pairs();
                // No output is as large.
                const BEFORE: f32 = 1e9;
                let absent = || Bind::f32(&[f32::NAN]);
                let binds =
                    vec![Bind::f32(&input), absent(), absent(), Bind::update(&vec![BEFORE; 4 * plane])];
                let groups = (padded / lanes).div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let side = if pool { outputs / 2 } else { outputs };
                for (index, value) in got.iter().enumerate() {
                    let [image, channel] = [index / plane / 2, index / plane % 2];
                    let (row, col) = (index % plane / made[1], index % made[1]);
                    let tile = (image * tiles_h + row / side) * tiles_w + col / side;
                    let written = *value != BEFORE;
                    assert_eq!(
                        written,
                        channel == 0 && tile < tiles,
                        "{}, pool {pool}: {tiles} tiles of {height} x {width}, image {image}, channel {channel}, \
                         row {row}, column {col}",
                        variant.kernel()
                    );
                }
            }
        }
    }
}
