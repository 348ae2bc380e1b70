//! The gradient of `max_pool2d`, from the pooled tensor and from indices.

use kiln_engine::ops::{MaxPool2dGrad, PoolOptions};
use kiln_engine::{GraphBuilder, Padding, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::{EXACT, SUM};
use kiln_tests::{data, device, golden};

use crate::pool2d::{self, TABLE, drawn, spelled};
use crate::pytorch::{assert_oracle, operands};

fn overlaps(options: PoolOptions<2>) -> bool {
    (0..2).any(|axis| {
        options.kernel[axis] > options.stride[axis]
            || (options.dilation[axis] > 1 && options.kernel[axis] > 1)
    })
}

#[track_caller]
fn check(gpu: &Gpu, x: &Tensor, options: PoolOptions<2>) {
    let pooled = kiln_reference::max_pool2d(&array(x), spelled(options, &x.shape()[2..]));
    check_both(gpu, &[x.clone(), seeded("grad", &pooled.shape)], options);
}

#[track_caller]
fn check_both(gpu: &Gpu, operands: &[Tensor], options: PoolOptions<2>) {
    let [x, grad] = [array(&operands[0]), array(&operands[1])];
    let shape = &x.shape;
    let pool = spelled(options, &shape[2..]);
    let op = MaxPool2dGrad { options, extents: [shape[2], shape[3]] };
    let what = format!("of {shape:?}, {options:?}");
    let expected = kiln_reference::max_pool2d_grad(&x, &grad, pool);
    // Where no element is in two windows nothing is added.
    let apart = !overlaps(options);
    let bounds = match apart {
        true => EXACT.bounds(&expected),
        false => SUM.bounds(&kiln_reference::max_pool2d_grad(&x, &grad.abs(), pool)),
    };
    let by_indices = |g: &mut GraphBuilder, v: &[Value]| {
        let indices = g.max_pool2d_indices(v[0], options)?;
        g.apply(op, &[indices, v[1]])
    };
    conforms(gpu, format!("by indices {what}"), operands, by_indices, &expected, &bounds);
    if apart {
        conforms(gpu, &what, operands, |g, v| g.apply(op, v), &expected, &bounds);
    }
}

#[test]
fn windows() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, kernel, stride, padding, dilation, ceil_mode) in TABLE {
        let options = PoolOptions { kernel, stride, padding, dilation, ceil_mode };
        check(gpu, &seeded("x", &shape), options);
    }
}

#[test]
fn windows_drawn_at_random() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, options) in drawn(60) {
        let ties =
            data::uniform("x", shape.iter().product()).into_iter().map(|x| (4.0 * x).floor()).collect();
        check(gpu, &f32_tensor(&shape, ties), options);
    }
}

/// The windows of most small networks, on widths that take every kernel for them, and heights with and without a rest.
#[test]
fn pairs_of_pairs() {
    let Some(gpu) = device::gpu() else { return };
    let plain = PoolOptions::new([2, 2]);
    for shape in [
        [1, 1, 2, 2],
        [2, 3, 4, 4],
        [3, 2, 5, 12],
        [1, 2, 7, 6],
        [2, 5, 24, 24],
        [2, 1, 14, 14],
        [1, 3, 3, 130],
    ] {
        for ceil_mode in [false, true] {
            check(gpu, &seeded("x", &shape), PoolOptions { ceil_mode, ..plain });
        }
        check(gpu, &seeded("x", &shape), PoolOptions { padding: Padding::Same, ..plain });
        check(gpu, &seeded("x", &shape), PoolOptions { padding: Padding::Sides([[0, 1], [0, 1]]), ..plain });
    }
}

/// The first of equals, as relu's zeros make them, the last NaN, and planes that are minus infinity throughout.
#[test]
fn ties_nan_and_infinities() {
    let Some(gpu) = device::gpu() else { return };
    for [height, width] in [[9, 12], [10, 10], [8, 11]] {
        let plane = height * width;
        let mut x: Vec<f32> = data::uniform("x", 4 * plane).iter().map(|x| (3.0 * x).floor()).collect();
        for (place, value) in [(0, f32::NAN), (14, f32::NAN), (26, f32::NAN), (50, f32::INFINITY)] {
            x[place] = value;
        }
        x[plane..2 * plane].fill(f32::NEG_INFINITY);
        x[3 * plane..].fill(0.0);
        let x = f32_tensor(&[1, 4, height, width], x);
        for options in [
            PoolOptions::new([2, 2]),
            PoolOptions { ceil_mode: true, ..PoolOptions::new([2, 2]) },
            PoolOptions::new([3, 4]),
            PoolOptions { stride: [1, 1], padding: Padding::all(1), ..PoolOptions::new([3, 3]) },
            PoolOptions { stride: [2, 2], padding: Padding::Same, ..PoolOptions::new([2, 5]) },
            PoolOptions { dilation: [3, 2], stride: [1, 1], ..PoolOptions::new([2, 3]) },
        ] {
            check(gpu, &x, options);
        }
    }
}

/// The worked values: a zero that is first among zeros takes it all, and what overlapping windows give adds up.
#[test]
fn the_documented_rule() {
    let Some(gpu) = device::gpu() else { return };
    let x = f32_tensor(&[1, 1, 2, 4], vec![0.0, 0.0, 3.0, 3.0, 0.0, 0.0, 3.0, 5.0]);
    let gradient = |options: PoolOptions<2>, grad: Vec<f32>, expected: [f64; 8]| {
        let width = grad.len();
        let op = MaxPool2dGrad { options, extents: [2, 4] };
        let expected = kiln_reference::Array::new(&[1, 1, 2, 4], expected.to_vec());
        let operands = [x.clone(), f32_tensor(&[1, 1, 1, width], grad)];
        let build = |g: &mut GraphBuilder, v: &[Value]| {
            let indices = g.max_pool2d_indices(v[0], options)?;
            g.apply(op, &[indices, v[1]])
        };
        conforms(gpu, "the rule", &operands, build, &expected, &[0.0; 8]);
    };
    let plain = PoolOptions::new([2, 2]);
    gradient(plain, vec![2.0, 3.0], [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0]);
    gradient(
        PoolOptions { stride: [1, 1], ..plain },
        vec![2.0, 3.0, 4.0],
        [2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 4.0],
    );
    let threes = PoolOptions { stride: [1, 1], ..PoolOptions::new([2, 3]) };
    gradient(threes, vec![2.0, 3.0], [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0]);
}

/// Windows further apart than an invocation may write, a single one, and elements in so many of them that a software driver
/// would cut short what is not unrolled.
#[test]
fn far_and_wide() {
    let Some(gpu) = device::gpu() else { return };
    let x = seeded("x", &[1, 2, 40, 70]);
    check(gpu, &x, PoolOptions { stride: [13, 30], ..PoolOptions::new([5, 2]) });
    check(gpu, &x, PoolOptions::new([40, 70]));
    let padding = Padding::axes([30, 37]);
    let wide = PoolOptions { stride: [1, 1], padding, ..PoolOptions::new([60, 75]) };
    check(gpu, &seeded("x", &[1, 1, 70, 80]), wide);
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("max_pool2d_grad") {
        let (options, _) = pool2d::options(&case);
        let (x, grad) = (&case.inputs[0], &case.inputs[1]);
        assert_oracle(&case, &kiln_reference::max_pool2d_grad(x, grad, spelled(options, &x.shape[2..])));
        let Some(gpu) = device::gpu() else { continue };
        check_both(gpu, &operands(&case), options);
    }
}
