//! The gradient of pooling to a given size.

use kiln_engine::ops::{AdaptivePool2d, AdaptivePool2dGrad, AdaptivePooling};
use kiln_engine::{GraphBuilder, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::Array;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device, golden};

use crate::pytorch::{assert_oracle, operands};

#[track_caller]
fn check(gpu: &Gpu, x: &Tensor, output: [usize; 2]) {
    let shape = x.shape();
    let grad = seeded("grad", &[shape[0], shape[1], output[0], output[1]]);
    check_max(gpu, x, &grad);
    check_average(gpu, shape, &grad);
}

#[track_caller]
fn check_max(gpu: &Gpu, x: &Tensor, grad: &Tensor) {
    let operands = [x.clone(), grad.clone()];
    let [x, grad] = [array(x), array(grad)];
    let output = [grad.shape[2], grad.shape[3]];
    let op = AdaptivePool2dGrad { pooling: AdaptivePooling::Max, extents: [x.shape[2], x.shape[3]] };
    let build = |g: &mut GraphBuilder, v: &[Value]| {
        let indices = g.apply(AdaptivePool2d { pooling: AdaptivePooling::MaxIndex, output }, &v[..1])?;
        g.apply(op, &[indices, v[1]])
    };
    let expected = kiln_reference::adaptive_max_pool2d_grad(&x, &grad);
    let bounds = SUM.bounds(&kiln_reference::adaptive_max_pool2d_grad(&x, &grad.abs()));
    let what = format!("max of {:?} to {output:?}", x.shape);
    conforms(gpu, what, &operands, build, &expected, &bounds);
}

#[track_caller]
fn check_average(gpu: &Gpu, shape: &[usize], grad: &Tensor) {
    let operands = [grad.clone()];
    let grad = array(grad);
    let op = AdaptivePool2dGrad { pooling: AdaptivePooling::Average, extents: [shape[2], shape[3]] };
    let expected = kiln_reference::adaptive_avg_pool2d_grad(shape, &grad);
    let bounds = SUM.bounds(&kiln_reference::adaptive_avg_pool2d_grad(shape, &grad.abs()));
    let what = format!("mean of {shape:?} to {:?}", grad.shape);
    conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected, &bounds);
}

#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 3, 7, 7], [7, 7]),
        ([2, 3, 7, 7], [1, 1]),
        ([1, 5, 14, 15], [7, 7]),
        ([1, 5, 14, 16], [7, 7]),
        ([1, 2, 13, 11], [7, 5]),
        ([3, 2, 5, 4], [7, 9]),
        ([3, 2, 5, 8], [2, 23]),
        ([1, 67, 6, 6], [6, 1]),
        ([1, 1, 1, 63], [1, 64]),
        ([1, 1, 65, 3], [2, 3]),
    ] {
        check(gpu, &seeded("x", &shape), output);
    }
}

/// The first of equals, the last NaN, and a plane that is minus infinity throughout.
#[test]
fn ties_nan_and_infinities() {
    let Some(gpu) = device::gpu() else { return };
    let mut x: Vec<f32> = data::uniform("x", 3 * 6 * 8).iter().map(|x| (2.0 * x).floor()).collect();
    for place in [3, 9, 10] {
        x[place] = f32::NAN;
    }
    x[48..96].fill(f32::NEG_INFINITY);
    x[96..].fill(0.0);
    let x = f32_tensor(&[1, 3, 6, 8], x);
    for output in [[1, 1], [2, 3], [4, 4], [9, 7]] {
        check(gpu, &x, output);
    }
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("adaptive_max_pool2d_grad") {
        assert_oracle(&case, &kiln_reference::adaptive_max_pool2d_grad(&case.inputs[0], &case.inputs[1]));
        let Some(gpu) = device::gpu() else { continue };
        let operands = operands(&case);
        check_max(gpu, &operands[0], &operands[1]);
    }
    for case in golden::op_cases("adaptive_avg_pool2d_grad") {
        let shape = &case.output.shape;
        assert_oracle(&case, &kiln_reference::adaptive_avg_pool2d_grad(shape, &case.inputs[0]));
        let Some(gpu) = device::gpu() else { continue };
        check_average(gpu, shape, &operands(&case)[0]);
    }
}

/// The indices by themselves, as u32: of one window, of several, and of more than there are elements.
#[test]
fn indices() {
    let Some(gpu) = device::gpu() else { return };
    let x = seeded("x", &[2, 3, 5, 7]);
    for output in [[1, 1], [2, 3], [8, 9]] {
        let places: Array = kiln_reference::adaptive_max_pool2d_indices(&array(&x), output);
        let expected: Vec<u32> = places.data.iter().map(|&place| place as u32).collect();
        let op = AdaptivePool2d { pooling: AdaptivePooling::MaxIndex, output };
        let build = |g: &mut GraphBuilder, v: &[Value]| g.apply(op, v);
        kiln_tests::graph::every_source(gpu, std::slice::from_ref(&x), build, |source, made| {
            let got = made.as_u32().expect("indices should be u32");
            assert_eq!(got, expected, "indices of {output:?} {source}");
        });
    }
}
