//! The kernels of pooling's gradients: patches that find their maxima, and such as gather from the windows over them.

use kiln_kernels::{
    pool2d_average_grad, pool2d_max_grad_gather, pool2d_max_grad_pairs, pool2d_max_grad_patch,
};
use kiln_reference::{Array, Pool};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{EXACT, SUM};
use kiln_tests::{data, device, sweep};

use crate::support::u;

const PLAIN: Pool<2> =
    Pool { kernel: [2, 2], stride: [2, 2], padding: [[0, 0]; 2], dilation: [1, 1], ceil_mode: false };

/// What no element is in twice.
const APART: [Pool<2>; 6] = [
    PLAIN,
    Pool { kernel: [1, 1], stride: [1, 1], ..PLAIN },
    Pool { ceil_mode: true, ..PLAIN },
    Pool { kernel: [2, 2], stride: [3, 4], ceil_mode: true, ..PLAIN },
    Pool { kernel: [3, 2], stride: [3, 2], padding: [[1, 0], [0, 1]], ceil_mode: true, ..PLAIN },
    Pool { kernel: [2, 4], stride: [2, 4], padding: [[1, 1], [2, 2]], ..PLAIN },
];

const OVERLAPPING: [Pool<2>; 4] = [
    Pool { kernel: [3, 3], padding: [[1, 1]; 2], ..PLAIN },
    Pool { kernel: [3, 3], stride: [1, 1], padding: [[1, 1]; 2], ..PLAIN },
    Pool { kernel: [4, 3], stride: [3, 2], padding: [[2, 0], [0, 1]], ceil_mode: true, ..PLAIN },
    Pool { kernel: [2, 5], stride: [1, 3], padding: [[0, 1], [2, 2]], ..PLAIN },
];

const DILATED: [Pool<2>; 2] = [
    Pool { kernel: [2, 3], stride: [1, 1], dilation: [2, 2], padding: [[1, 1]; 2], ..PLAIN },
    // Taps at -1 and at 3 of heights up to three.
    Pool { kernel: [2, 1], stride: [1, 1], dilation: [4, 1], padding: [[1, 2], [0, 0]], ..PLAIN },
];

/// Ties as relu makes them, NaN in the second plane.
fn planes(shape: &[usize]) -> Vec<f32> {
    let x = data::uniform("pool_grad.input", shape.iter().product());
    let mut x: Vec<f32> = x.into_iter().map(|x| if x < 0.2 { 0.0 } else { x }).collect();
    let plane = shape[2] * shape[3];
    if x.len() > plane {
        x[plane + plane / 2] = f32::NAN;
    }
    x
}

/// Shapes that hold a window, with widths around those of a patch.
fn shapes(pool: Pool<2>, widths: &[usize]) -> Vec<[usize; 4]> {
    let fits = |shape: &[usize; 4]| {
        (0..2).all(|axis| {
            let padding: usize = pool.padding[axis].iter().sum();
            shape[2 + axis] + padding > pool.dilation[axis] * (pool.kernel[axis] - 1)
        })
    };
    sweep::shapes([&[1, 2], &[1, 3], &[1, 2, 3, 7, 8], widths]).into_iter().filter(fits).collect()
}

fn seeded_grad(shape: &[usize]) -> Vec<f32> {
    data::uniform("pool_grad.grad", shape.iter().product())
}

#[test]
fn pairs() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_max_grad_pairs::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let width = 2 * variant.windows() as usize;
        let widths = widths(7, u(width));
        for pool in [PLAIN, Pool { ceil_mode: true, ..PLAIN }] {
            for shape in shapes(pool, &widths) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                let pooled = kiln_reference::max_pool2d(&x, pool).shape;
                let grad = seeded_grad(&pooled);
                let expected = kiln_reference::max_pool2d_grad(&x, &Array::from_f32(&pooled, &grad), pool);
                let even = shape[2].is_multiple_of(2);
                for even in if even { &[0, 1][..] } else { &[0] } {
                    let row_groups = shape[3] / width;
                    let count = shape[0] * shape[1] * shape[2].div_ceil(2) * row_groups;
                    let params = pool2d_max_grad_pairs::Params {
                        count: u(count),
                        row_groups: u(row_groups),
                        in_h: u(shape[2]),
                        out_h: u(pooled[2]),
                    };
                    let overrides = pool2d_max_grad_pairs::Overrides { even: *even };
                    let binds = vec![Bind::f32(&numbers), Bind::f32(&grad), Bind::output(numbers.len())];
                    let groups = count.div_ceil(variant.threads() as usize);
                    let run = Run::new(variant.kernel(), &params, binds, groups);
                    let got = run.with(&overrides.pairs()).output(gpu);
                    let what = format!("{} of {shape:?}, even {even}, {pool:?}", variant.kernel());
                    assert_close(what, &got, &expected, &EXACT.bounds(&expected));
                }
            }
        }
    }
}

#[test]
fn patches() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_max_grad_patch::Variant::ALL {
        for pool in APART {
            for shape in shapes(pool, &sweep::sizes(8)) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                let pooled = kiln_reference::max_pool2d(&x, pool).shape;
                let grad = seeded_grad(&pooled);
                let expected = kiln_reference::max_pool2d_grad(&x, &Array::from_f32(&pooled, &grad), pool);
                let cells =
                    [0, 1].map(|axis| (pool.padding[axis][0] + shape[2 + axis]).div_ceil(pool.stride[axis]));
                let count = shape[0] * shape[1] * cells[0] * cells[1];
                let params = pool2d_max_grad_patch::Params {
                    count: u(count),
                    cells_h: u(cells[0]),
                    cells_w: u(cells[1]),
                    in_h: u(shape[2]),
                    in_w: u(shape[3]),
                    out_h: u(pooled[2]),
                    out_w: u(pooled[3]),
                    kernel_h: u(pool.kernel[0]),
                    kernel_w: u(pool.kernel[1]),
                    stride_h: u(pool.stride[0]),
                    stride_w: u(pool.stride[1]),
                    before_h: u(pool.padding[0][0]),
                    before_w: u(pool.padding[1][0]),
                };
                let binds = vec![Bind::f32(&numbers), Bind::f32(&grad), Bind::output(numbers.len())];
                let groups = count.div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                assert_close(format_args!("{shape:?}, {pool:?}"), &got, &expected, &EXACT.bounds(&expected));
            }
        }
    }
}

/// Patches in a plane, and all of them.
fn cut(shape: &[usize], rows: u32, cols: u32) -> (usize, usize, usize) {
    let (col_groups, row_groups) = (shape[2].div_ceil(rows as usize), shape[3].div_ceil(cols as usize));
    (row_groups, col_groups, shape[0] * shape[1] * row_groups * col_groups)
}

/// Widths around a patch's, all of which its vectors divide.
fn widths(cells: u32, width: u32) -> Vec<usize> {
    sweep::sizes(cells as usize).into_iter().map(|cells| cells * width as usize).collect()
}

#[test]
fn gathered_maxima() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_max_grad_gather::Variant::ALL {
        for pool in APART.into_iter().chain(OVERLAPPING).chain(DILATED) {
            for shape in shapes(pool, &widths(variant.cells(), variant.width())) {
                let numbers = planes(&shape);
                let x = Array::from_f32(&shape, &numbers);
                let places = kiln_reference::max_pool2d_indices(&x, pool);
                let span = |axis: usize| pool.dilation[axis] * (pool.kernel[axis] - 1) + 1;
                let params = pool2d_max_grad_gather::Params {
                    span_h: u(span(0)),
                    span_w: u(span(1)),
                    stride_h: u(pool.stride[0]),
                    stride_w: u(pool.stride[1]),
                    before_h: u(pool.padding[0][0]),
                    before_w: u(pool.padding[1][0]),
                    ..Default::default()
                };
                let oracle = |grad: &Array| kiln_reference::max_pool2d_grad(&x, grad, pool);
                gather(gpu, *variant, 0, params, &shape, &places, oracle);
            }
        }
    }
}

/// One kernel of maxima, by indices, with parameters whose extents are filled in here.
fn gather(
    gpu: &kiln_gpu::Gpu,
    variant: pool2d_max_grad_gather::Variant,
    adaptive: u32,
    params: pool2d_max_grad_gather::Params,
    shape: &[usize; 4],
    places: &Array,
    oracle: impl Fn(&Array) -> Array,
) {
    let grad = seeded_grad(&places.shape);
    let grads = Array::from_f32(&places.shape, &grad);
    let (expected, terms) = (oracle(&grads), oracle(&grads.abs()));
    let indices: Vec<u32> = places.data.iter().map(|&place| place as u32).collect();
    let (row_groups, col_groups, count) = cut(shape, variant.rows(), variant.cells() * variant.width());
    let params = pool2d_max_grad_gather::Params {
        count: u(count),
        row_groups: u(row_groups),
        col_groups: u(col_groups),
        in_h: u(shape[2]),
        in_w: u(shape[3]),
        out_h: u(places.shape[2]),
        out_w: u(places.shape[3]),
        ..params
    };
    let overrides = pool2d_max_grad_gather::Overrides { adaptive };
    let binds = vec![Bind::u32(&indices), Bind::f32(&grad), Bind::output(expected.data.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu);
    let what = format!("{} of {shape:?} from {:?}, {params:?}", variant.kernel(), places.shape);
    assert_close(what, &got, &expected, &SUM.bounds(&terms));
}

#[test]
fn averages() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pool2d_average_grad::Variant::ALL {
        for pool in APART.into_iter().chain(OVERLAPPING) {
            for shape in shapes(pool, &widths(variant.cells(), variant.width())) {
                for count_padding in [0, 1] {
                    let zero = Array::from_fn(&shape, |_| 0.0);
                    let pooled = kiln_reference::avg_pool2d(&zero, pool, false).shape;
                    let params = pool2d_average_grad::Params {
                        kernel_h: u(pool.kernel[0]),
                        kernel_w: u(pool.kernel[1]),
                        stride_h: u(pool.stride[0]),
                        stride_w: u(pool.stride[1]),
                        before_h: u(pool.padding[0][0]),
                        before_w: u(pool.padding[1][0]),
                        after_h: u(pool.padding[0][1]),
                        after_w: u(pool.padding[1][1]),
                        ..Default::default()
                    };
                    let overrides = pool2d_average_grad::Overrides { count_padding, adaptive: 0 };
                    average(gpu, *variant, overrides, params, &shape, &pooled, |grad| {
                        kiln_reference::avg_pool2d_grad(&shape, grad, pool, count_padding == 1)
                    });
                }
            }
        }
    }
}

/// One kernel of means, with parameters whose extents are filled in here.
fn average(
    gpu: &kiln_gpu::Gpu,
    variant: pool2d_average_grad::Variant,
    overrides: pool2d_average_grad::Overrides,
    params: pool2d_average_grad::Params,
    shape: &[usize; 4],
    pooled: &[usize],
    oracle: impl Fn(&Array) -> Array,
) {
    let grad = seeded_grad(pooled);
    let grads = Array::from_f32(pooled, &grad);
    let (expected, terms) = (oracle(&grads), oracle(&grads.abs()));
    let (row_groups, col_groups, count) = cut(shape, variant.rows(), variant.cells() * variant.width());
    let params = pool2d_average_grad::Params {
        count: u(count),
        row_groups: u(row_groups),
        col_groups: u(col_groups),
        in_h: u(shape[2]),
        in_w: u(shape[3]),
        out_h: u(pooled[2]),
        out_w: u(pooled[3]),
        ..params
    };
    let binds = vec![Bind::f32(&grad), Bind::output(expected.data.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu);
    let what = format!("{} of {shape:?} from {pooled:?}, {overrides:?}, {params:?}", variant.kernel());
    assert_close(what, &got, &expected, &SUM.bounds(&terms));
}

#[test]
fn adaptive_windows() {
    let Some(gpu) = device::gpu() else { return };
    // What the windows do not need is wrong on purpose.
    for variant in pool2d_max_grad_gather::Variant::ALL {
        let widths = widths(variant.cells(), variant.width());
        for [height, width, out_h, out_w] in
            sweep::shapes([&[1, 2, 7, 12], &widths, &[1, 2, 3, 7, 12], &sweep::sizes(8)])
        {
            let shape = [2, 2, height, width];
            let x = Array::from_f32(&shape, &planes(&shape));
            let places = kiln_reference::adaptive_max_pool2d_indices(&x, [out_h, out_w]);
            let params =
                pool2d_max_grad_gather::Params { span_h: 9, stride_w: 5, before_h: 7, ..Default::default() };
            let oracle = |grad: &Array| kiln_reference::adaptive_max_pool2d_grad(&x, grad);
            gather(gpu, *variant, 1, params, &shape, &places, oracle);
        }
    }
    for variant in pool2d_average_grad::Variant::ALL {
        let widths = widths(variant.cells(), variant.width());
        for [height, width, out_h, out_w] in
            sweep::shapes([&[1, 2, 7, 12], &widths, &[1, 2, 3, 7, 12], &sweep::sizes(8)])
        {
            let shape = [2, 2, height, width];
            let params =
                pool2d_average_grad::Params { kernel_h: 9, stride_w: 5, before_h: 7, ..Default::default() };
            let overrides = pool2d_average_grad::Overrides { count_padding: 0, adaptive: 1 };
            let oracle = |grad: &Array| kiln_reference::adaptive_avg_pool2d_grad(&shape, grad);
            average(gpu, *variant, overrides, params, &shape, &[2, 2, out_h, out_w], oracle);
        }
    }
}
