//! The gradient of `avg_pool2d`.

use kiln_engine::ops::{AveragePadding, AvgPool2dGrad, PoolOptions};
use kiln_engine::{Padding, Tensor};
use kiln_gpu::Gpu;
use kiln_tests::graph::{array, conforms, seeded};
use kiln_tests::tolerance::SUM;
use kiln_tests::{device, golden};

use crate::pool2d::{self, BOTH, TABLE, drawn, spelled};
use crate::pytorch::{assert_oracle, operands};

#[track_caller]
fn check(gpu: &Gpu, shape: &[usize], options: PoolOptions<2>) {
    let x = kiln_reference::Array::from_fn(shape, |_| 0.0);
    let pooled = kiln_reference::avg_pool2d(&x, spelled(options, &shape[2..]), true);
    for (padding, _) in BOTH {
        check_grad(gpu, shape, seeded("grad", &pooled.shape), options, padding);
    }
}

#[track_caller]
fn check_grad(gpu: &Gpu, shape: &[usize], grad: Tensor, options: PoolOptions<2>, padding: AveragePadding) {
    let operands = [grad];
    let (grad, pool) = (array(&operands[0]), spelled(options, &shape[2..]));
    let include = padding == AveragePadding::Include;
    let op = AvgPool2dGrad { padding, options, extents: [shape[2], shape[3]] };
    let expected = kiln_reference::avg_pool2d_grad(shape, &grad, pool, include);
    let bounds = SUM.bounds(&kiln_reference::avg_pool2d_grad(shape, &grad.abs(), pool, include));
    let what = format!("of {shape:?}, {padding:?}, {options:?}");
    conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected, &bounds);
}

#[test]
fn windows() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, kernel, stride, padding, dilation, ceil_mode) in TABLE {
        if dilation == [1, 1] {
            check(gpu, &shape, PoolOptions { kernel, stride, padding, dilation, ceil_mode });
        }
    }
}

#[test]
fn windows_drawn_at_random() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, options) in drawn(60) {
        check(gpu, &shape, PoolOptions { dilation: [1, 1], padding: Padding::Same, ..options });
        if options.dilation == [1, 1] {
            check(gpu, &shape, options);
        }
    }
}

/// Widths around the neighbours that an invocation makes, in vectors or one by one.
#[test]
fn widths() {
    let Some(gpu) = device::gpu() else { return };
    for width in [3, 4, 7, 8, 9, 12, 16, 17, 20, 29, 64] {
        check(gpu, &[2, 3, 5, width], PoolOptions::new([2, 2]));
        check(
            gpu,
            &[1, 2, 4, width],
            PoolOptions { stride: [1, 2], padding: Padding::all(1), ..PoolOptions::new([3, 3]) },
        );
    }
}

/// Windows far apart, a single one, and elements in so many of them that a software driver would cut short what is not
/// unrolled.
#[test]
fn far_and_wide() {
    let Some(gpu) = device::gpu() else { return };
    let shape = [1, 2, 40, 70];
    check(gpu, &shape, PoolOptions { stride: [13, 30], ..PoolOptions::new([5, 2]) });
    check(gpu, &shape, PoolOptions::new([40, 70]));
    let padding = Padding::axes([30, 37]);
    let wide = PoolOptions { stride: [1, 1], padding, ..PoolOptions::new([60, 75]) };
    check(gpu, &[1, 1, 70, 80], wide);
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("avg_pool2d_grad") {
        let (options, padding) = pool2d::options(&case);
        let (shape, include) = (&case.output.shape, padding == AveragePadding::Include);
        let pool = spelled(options, &shape[2..]);
        assert_oracle(&case, &kiln_reference::avg_pool2d_grad(shape, &case.inputs[0], pool, include));
        let Some(gpu) = device::gpu() else { continue };
        let [grad] = <[Tensor; 1]>::try_from(operands(&case)).expect("the gradient should be the only input");
        check_grad(gpu, shape, grad, options, padding);
    }
}
