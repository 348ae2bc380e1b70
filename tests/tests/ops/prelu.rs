//! The rectifier with a learned slope.

use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::ROUNDED;
use kiln_tests::{data, device, golden};

use crate::pytorch::{assert_oracle, operands};

fn check(shape: &[usize], slopes: usize) {
    let Some(gpu) = device::gpu() else { return };
    let mut x = data::uniform("x", shape.iter().product());
    for (place, odd) in x.iter_mut().skip(1).zip([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1e30]) {
        *place = odd;
    }
    let operands = [f32_tensor(shape, x), seeded("weight", &[slopes])];
    let [x, weight] = operands.each_ref().map(array);
    let expected = kiln_reference::prelu(&x, &weight);
    let bounds = ROUNDED.bounds(&expected);
    let what = format!("{slopes} slopes for {shape:?}");
    conforms(gpu, what, &operands, |g, v| g.prelu(v[0], v[1]), &expected, &bounds);
}

#[test]
fn a_slope_for_each_channel() {
    for shape in [
        &[5, 67][..],
        &[3, 7, 31],
        &[2, 3, 33],
        &[2, 5, 7, 7],
        &[1, 3, 17, 31],
        &[1, 2, 27, 19],
        &[2, 3, 4, 5, 29],
        &[70, 3, 4],
    ] {
        check(shape, shape[1]);
    }
}

#[test]
fn one_slope_for_all() {
    for shape in [&[][..], &[1], &[67], &[5, 1], &[5, 67], &[2, 5, 7, 7], &[1, 3, 17, 31]] {
        check(shape, 1);
    }
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("prelu") {
        assert_oracle(&case, &kiln_reference::prelu(&case.inputs[0], &case.inputs[1]));
        let Some(gpu) = device::gpu() else { continue };
        let bounds = ROUNDED.bounds(&case.output);
        conforms(gpu, &case.name, &operands(&case), |g, v| g.prelu(v[0], v[1]), &case.output, &bounds);
    }
}
