//! The gradient of resizing.

use kiln_engine::Tensor;
use kiln_engine::ops::{Upsample2dGrad, Upsampling};
use kiln_gpu::Gpu;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::{SUM, UPSAMPLE};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, operands};

#[track_caller]
fn check(gpu: &Gpu, shape: &[usize], output: [usize; 2]) {
    let grad = seeded("grad", &[shape[0], shape[1], output[0], output[1]]);
    check_nearest(gpu, shape, &grad);
    for corners in [false, true] {
        check_bilinear(gpu, shape, &grad, corners);
    }
}

#[track_caller]
fn check_nearest(gpu: &Gpu, shape: &[usize], grad: &Tensor) {
    let operands = [grad.clone()];
    let grad = array(grad);
    let op = Upsample2dGrad { extents: [shape[2], shape[3]], mode: Upsampling::Nearest };
    let expected = kiln_reference::upsample_nearest2d_grad(shape, &grad);
    let bounds = SUM.bounds(&kiln_reference::upsample_nearest2d_grad(shape, &grad.abs()));
    let what = format!("nearest of {shape:?} to {:?}", grad.shape);
    conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected, &bounds);
}

#[track_caller]
fn check_bilinear(gpu: &Gpu, shape: &[usize], grad: &Tensor, align_corners: bool) {
    let operands = [grad.clone()];
    let grad = array(grad);
    let op = Upsample2dGrad { extents: [shape[2], shape[3]], mode: Upsampling::Bilinear { align_corners } };
    let expected = kiln_reference::upsample_bilinear2d_grad(shape, &grad, align_corners);
    let terms = kiln_reference::upsample_bilinear2d_grad(shape, &grad.abs(), align_corners);
    let what = format!("bilinear of {shape:?} to {:?}, align_corners {align_corners}", grad.shape);
    conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected, &UPSAMPLE.bounds(&terms));
}

#[test]
fn larger_and_smaller() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([1, 1, 1, 1], [1, 1]),
        ([1, 1, 1, 1], [5, 3]),
        ([2, 3, 4, 5], [8, 10]),
        ([1, 2, 7, 9], [14, 27]),
        ([1, 2, 7, 9], [7, 9]),
        ([1, 2, 7, 9], [7, 11]),
        ([3, 2, 5, 4], [7, 9]),
        ([1, 2, 16, 17], [5, 3]),
        ([1, 2, 16, 17], [1, 1]),
        ([1, 1, 27, 40], [61, 79]),
        ([1, 3, 3, 64], [2, 65]),
        ([1, 1, 2, 1], [3, 67]),
    ] {
        check(gpu, &shape, output);
    }
}

/// Ratios that single precision rounds to the other side of a whole number, where the neighbour takes the place.
#[test]
fn nearest_rounds_as_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    for (input, output) in [(2, 82), (2, 94), (3, 123), (10, 410), (7, 287), (1000, 41_000)] {
        check_nearest(gpu, &[1, 1, 1, input], &seeded("grad", &[1, 1, 1, output]));
        check_nearest(gpu, &[1, 1, input, 1], &seeded("grad", &[1, 1, output, 1]));
    }
}

#[test]
fn nan_and_infinity_reach_what_they_were_made_of() {
    let Some(gpu) = device::gpu() else { return };
    for output in [[10, 12], [5, 11], [9, 6], [5, 6], [3, 4]] {
        let mut grad = data::uniform("grad", output[0] * output[1]);
        grad[3] = f32::NAN;
        let infinite = grad.len() - 4;
        grad[infinite] = f32::INFINITY;
        let grad = f32_tensor(&[1, 1, output[0], output[1]], grad);
        check_nearest(gpu, &[1, 1, 5, 6], &grad);
        for corners in [false, true] {
            check_bilinear(gpu, &[1, 1, 5, 6], &grad, corners);
        }
    }
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    align_corners: bool,
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("upsample_nearest2d_grad") {
        let shape = &case.output.shape;
        assert_oracle(&case, &kiln_reference::upsample_nearest2d_grad(shape, &case.inputs[0]));
        let Some(gpu) = device::gpu() else { continue };
        check_nearest(gpu, shape, &operands(&case)[0]);
    }
    for case in golden::op_cases("upsample_bilinear2d_grad") {
        let Attributes { align_corners } = case.attributes();
        let shape = &case.output.shape;
        assert_oracle(
            &case,
            &kiln_reference::upsample_bilinear2d_grad(shape, &case.inputs[0], align_corners),
        );
        let Some(gpu) = device::gpu() else { continue };
        check_bilinear(gpu, shape, &operands(&case)[0], align_corners);
    }
}
