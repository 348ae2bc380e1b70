//! The kernels of pooling: one output an invocation, and several neighbours of a row.

use kiln_gpu::Gpu;
use kiln_kernels::{pool2d_average, pool2d_max, pool2d_max_pairs, pool2d_row};
use kiln_reference::{Array, Pool};
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{EXACT, SUM};
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// Three planes or so, NaN in the second.
fn planes(shape: &[usize]) -> Vec<f32> {
    let mut x = data::uniform("pool.input", shape.iter().product());
    let plane = shape[2] * shape[3];
    if x.len() > plane {
        x[plane + plane / 2] = f32::NAN;
    }
    x
}

const PLAIN: Pool<2> =
    Pool { kernel: [2, 2], stride: [2, 2], padding: [[0, 0]; 2], dilation: [1, 1], ceil_mode: false };

/// Windows with every option, some beside a width.
const POOLS: [Pool<2>; 8] = [
    PLAIN,
    Pool { kernel: [1, 1], stride: [1, 1], ..PLAIN },
    Pool { ceil_mode: true, ..PLAIN },
    Pool { kernel: [3, 3], padding: [[1, 1]; 2], ..PLAIN },
    Pool { kernel: [3, 3], stride: [1, 1], padding: [[1, 1]; 2], ..PLAIN },
    Pool { kernel: [4, 3], stride: [3, 2], padding: [[2, 0], [0, 1]], ceil_mode: true, ..PLAIN },
    Pool { kernel: [2, 5], stride: [1, 3], padding: [[0, 1], [2, 2]], ..PLAIN },
    Pool { kernel: [2, 4], stride: [2, 4], padding: [[1, 1], [2, 2]], ..PLAIN },
];

/// What pools a dilated input, and strides past the window.
const WIDER: [Pool<2>; 3] = [
    Pool { kernel: [2, 3], stride: [1, 1], dilation: [2, 2], padding: [[1, 1]; 2], ..PLAIN },
    Pool { kernel: [2, 2], stride: [3, 4], ceil_mode: true, ..PLAIN },
    // Taps at -1 and at 3 of heights up to three.
    Pool { kernel: [2, 1], stride: [1, 1], dilation: [4, 1], padding: [[1, 2], [0, 0]], ..PLAIN },
];

/// Shapes that hold a window, with widths around those of a workgroup's rows.
fn shapes(pool: Pool<2>, tile: usize) -> Vec<[usize; 4]> {
    let fits = |shape: &[usize; 4]| {
        (0..2).all(|axis| {
            let padding: usize = pool.padding[axis].iter().sum();
            shape[2 + axis] + padding > pool.dilation[axis] * (pool.kernel[axis] - 1)
        })
    };
    let widths = sweep::sizes(tile * pool.stride[1]);
    sweep::shapes([&[1, 2], &[1, 3], &[1, 2, 3, 7, 8], &widths]).into_iter().filter(fits).collect()
}

fn max(
    gpu: &Gpu,
    variant: pool2d_max::Variant,
    overrides: pool2d_max::Overrides,
    x: &[f32],
    p: pool2d_max::Params,
) -> Vec<u32> {
    let binds = vec![Bind::f32(x), Bind::output(p.count as usize)];
    let groups = p.count.div_ceil(variant.threads()) as usize;
    Run::new(variant.kernel(), &p, binds, groups).with(&overrides.pairs()).words(gpu)
}

fn max_params(shape: &[usize; 4], pool: Pool<2>, output: &[usize]) -> pool2d_max::Params {
    pool2d_max::Params {
        count: u(output.iter().product()),
        in_h: u(shape[2]),
        in_w: u(shape[3]),
        out_h: u(output[2]),
        out_w: u(output[3]),
        kernel_h: u(pool.kernel[0]),
        kernel_w: u(pool.kernel[1]),
        stride_h: u(pool.stride[0]),
        stride_w: u(pool.stride[1]),
        dilation_h: u(pool.dilation[0]),
        dilation_w: u(pool.dilation[1]),
        before_h: u(pool.padding[0][0]),
        before_w: u(pool.padding[1][0]),
        empty: f32::NEG_INFINITY,
    }
}

#[test]
fn maxima_and_their_places() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_max::Variant::ALL {
        for pool in POOLS.into_iter().chain(WIDER) {
            for shape in shapes(pool, 8) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                let what = format!("{shape:?}, {pool:?}");
                let expected = kiln_reference::max_pool2d(&x, pool);
                let params = max_params(&shape, pool, &expected.shape);
                let got =
                    max(gpu, *variant, pool2d_max::Overrides { index: 0, adaptive: 0 }, &numbers, params);
                let got: Vec<f32> = got.into_iter().map(f32::from_bits).collect();
                assert_close(&what, &got, &expected, &EXACT.bounds(&expected));
                let places = kiln_reference::max_pool2d_indices(&x, pool);
                let places: Vec<u32> = places.data.iter().map(|&place| place as u32).collect();
                let got =
                    max(gpu, *variant, pool2d_max::Overrides { index: 1, adaptive: 0 }, &numbers, params);
                assert_same_bits(&what, &got, &places, &expected.shape);
            }
        }
    }
}

fn average_params(shape: &[usize; 4], pool: Pool<2>, output: &[usize]) -> pool2d_average::Params {
    pool2d_average::Params {
        count: u(output.iter().product()),
        in_h: u(shape[2]),
        in_w: u(shape[3]),
        out_h: u(output[2]),
        out_w: u(output[3]),
        kernel_h: u(pool.kernel[0]),
        kernel_w: u(pool.kernel[1]),
        stride_h: u(pool.stride[0]),
        stride_w: u(pool.stride[1]),
        before_h: u(pool.padding[0][0]),
        before_w: u(pool.padding[1][0]),
        after_h: u(pool.padding[0][1]),
        after_w: u(pool.padding[1][1]),
    }
}

fn average(
    gpu: &Gpu,
    variant: pool2d_average::Variant,
    overrides: pool2d_average::Overrides,
    x: &[f32],
    p: pool2d_average::Params,
) -> Vec<f32> {
    let binds = vec![Bind::f32(x), Bind::output(p.count as usize)];
    let groups = p.count.div_ceil(variant.threads()) as usize;
    Run::new(variant.kernel(), &p, binds, groups).with(&overrides.pairs()).output(gpu)
}

#[test]
fn averages() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_average::Variant::ALL {
        for (pool, count_padding) in
            POOLS.into_iter().chain([WIDER[1]]).flat_map(|pool| [(pool, 0), (pool, 1)])
        {
            for shape in shapes(pool, 8) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                let expected = kiln_reference::avg_pool2d(&x, pool, count_padding == 1);
                let bounds = SUM.bounds(&kiln_reference::avg_pool2d(&x.abs(), pool, count_padding == 1));
                let params = average_params(&shape, pool, &expected.shape);
                let overrides = pool2d_average::Overrides { count_padding, adaptive: 0 };
                let got = average(gpu, *variant, overrides, &numbers, params);
                assert_close(
                    format_args!("{shape:?}, {count_padding}, {pool:?}"),
                    &got,
                    &expected,
                    &finite(bounds),
                );
            }
        }
    }
}

/// Where the expectation is NaN, the bound has no part in the verdict.
fn finite(bounds: Vec<f64>) -> Vec<f64> {
    bounds.into_iter().map(|bound| if bound.is_finite() { bound } else { 0.0 }).collect()
}

#[test]
fn adaptive_windows() {
    let Some(gpu) = device::gpu() else { return };
    for [height, width, out_h, out_w] in
        sweep::shapes([&[1, 2, 7, 12], &[1, 5, 8, 13], &[1, 2, 3, 7, 12], &sweep::sizes(8)])
    {
        let shape = [2, 2, height, width];
        let numbers = planes(&shape);
        let x = Array::from_f32(&shape, &numbers);
        let what = format!("{shape:?} to {out_h}x{out_w}");
        // What the windows do not need is wrong on purpose.
        let unused = Pool { kernel: [9, 9], stride: [5, 5], padding: [[7, 7]; 2], dilation: [3, 3], ..PLAIN };
        for variant in pool2d_max::Variant::ALL {
            let expected = kiln_reference::adaptive_max_pool2d(&x, [out_h, out_w]);
            let params = max_params(&shape, unused, &expected.shape);
            let got = max(gpu, *variant, pool2d_max::Overrides { index: 0, adaptive: 1 }, &numbers, params);
            let got: Vec<f32> = got.into_iter().map(f32::from_bits).collect();
            assert_close(&what, &got, &expected, &EXACT.bounds(&expected));
        }
        for variant in pool2d_average::Variant::ALL {
            let expected = kiln_reference::adaptive_avg_pool2d(&x, [out_h, out_w]);
            let bounds = SUM.bounds(&kiln_reference::adaptive_avg_pool2d(&x.abs(), [out_h, out_w]));
            let params = average_params(&shape, unused, &expected.shape);
            let overrides = pool2d_average::Overrides { count_padding: 0, adaptive: 1 };
            let got = average(gpu, *variant, overrides, &numbers, params);
            assert_close(&what, &got, &expected, &finite(bounds));
        }
    }
}

#[test]
fn pairs() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_max_pairs::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let windows = variant.windows() as usize;
        for [planes_of, pairs, row_groups] in sweep::shapes([&[1, 2, 3], &[1, 2, 7], &sweep::sizes(8)]) {
            let shape = [planes_of, 2, 2 * pairs, 2 * windows * row_groups];
            let numbers = planes(&shape);
            let expected = kiln_reference::max_pool2d(&Array::from_f32(&shape, &numbers), PLAIN);
            let count = expected.data.len() / windows;
            let params = pool2d_max_pairs::Params { count: u(count), row_groups: u(row_groups) };
            let binds = vec![Bind::f32(&numbers), Bind::output(expected.data.len())];
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let what = format!("{} of {shape:?}", variant.kernel());
            assert_close(what, &got, &expected, &EXACT.bounds(&expected));
        }
    }
}

#[test]
fn rows() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_row::Variant::ALL {
        let outputs = variant.outputs() as usize;
        // As many columns as the registers hold, and a dilation down the columns, which the kernel does.
        let reach = variant.columns() as usize - (outputs - 1);
        let widest = Pool { kernel: [2, reach], stride: [1, 1], padding: [[1, 0], [reach / 2, 0]], ..PLAIN };
        let dilated =
            Pool { kernel: [3, 2], stride: [1, 1], dilation: [2, 1], padding: [[2, 2], [1, 0]], ..PLAIN };
        for pool in POOLS.into_iter().chain([widest, dilated]) {
            for shape in shapes(pool, outputs) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                for op in 0..4 {
                    if (op == 1 || op == 2) && pool.dilation != [1, 1] {
                        continue;
                    }
                    let expected = match op {
                        3 => kiln_reference::max_pool2d_indices(&x, pool),
                        0 => kiln_reference::max_pool2d(&x, pool),
                        _ => kiln_reference::avg_pool2d(&x, pool, op == 2),
                    };
                    let bounds = match op {
                        0 | 3 => EXACT.bounds(&expected),
                        _ => finite(SUM.bounds(&kiln_reference::avg_pool2d(&x.abs(), pool, op == 2))),
                    };
                    let output = &expected.shape;
                    let row_groups = output[3].div_ceil(outputs);
                    let count = output[..3].iter().product::<usize>() * row_groups;
                    let params = pool2d_row::Params {
                        count: u(count),
                        in_h: u(shape[2]),
                        in_w: u(shape[3]),
                        out_h: u(output[2]),
                        out_w: u(output[3]),
                        row_groups: u(row_groups),
                        kernel_h: u(pool.kernel[0]),
                        stride_h: u(pool.stride[0]),
                        dilation_h: u(pool.dilation[0]),
                        before_h: u(pool.padding[0][0]),
                        before_w: u(pool.padding[1][0]),
                        after_h: u(pool.padding[0][1]),
                        after_w: u(pool.padding[1][1]),
                        empty: if op == 0 || op == 3 { f32::NEG_INFINITY } else { 0.0 },
                    };
                    let overrides = pool2d_row::Overrides {
                        op,
                        kernel_w: u(pool.kernel[1]),
                        stride_w: u(pool.stride[1]),
                    };
                    let binds = vec![Bind::f32(&numbers), Bind::output(expected.data.len())];
                    let groups = count.div_ceil(variant.threads() as usize);
                    let run = Run::new(variant.kernel(), &params, binds, groups);
                    let got = run.with(&overrides.pairs()).words(gpu);
                    let what = format!("{} {op} of {shape:?}, {pool:?}", variant.kernel());
                    if op == 3 {
                        let places: Vec<u32> = expected.data.iter().map(|&place| place as u32).collect();
                        assert_same_bits(what, &got, &places, output);
                    } else {
                        let got: Vec<f32> = got.into_iter().map(f32::from_bits).collect();
                        assert_close(what, &got, &expected, &bounds);
                    }
                }
            }
        }
    }
}
