//! Gated linear units.

use kiln_engine::Activation;
use kiln_reference::Unary;
use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::{data, device, tolerance};

const FUNCTIONS: [(Activation, Unary); 6] = [
    (Activation::Relu, Unary::Relu),
    (Activation::Gelu, Unary::Gelu),
    (Activation::GeluTanh, Unary::GeluTanh),
    (Activation::Sigmoid, Unary::Sigmoid),
    (Activation::Tanh, Unary::Tanh),
    (Activation::Silu, Unary::Silu),
];

fn check(activation: Activation, function: Unary, shape: &[usize], x: Vec<f32>) {
    let Some(gpu) = device::gpu() else { return };
    let operands = [f32_tensor(shape, x)];
    let x = array(&operands[0]);
    let expected = kiln_reference::gated(function, &x);
    let bounds = tolerance::gated(function, &x);
    conforms(
        gpu,
        format_args!("{activation:?} of {shape:?}"),
        &operands,
        |g, v| g.gated(activation, v[0]),
        &expected,
        &bounds,
    );
}

fn spread(count: usize) -> Vec<f32> {
    data::uniform("x", count).iter().map(|x| 4.0 * x).collect()
}

#[test]
fn each_activation() {
    for (activation, function) in FUNCTIONS {
        check(activation, function, &[3, 34], spread(102));
    }
}

#[test]
fn shapes() {
    for shape in [&[2][..], &[40], &[1, 2048], &[5, 8], &[67, 6], &[2, 3, 130]] {
        check(Activation::GeluTanh, Unary::GeluTanh, shape, spread(shape.iter().product()));
    }
}

#[test]
fn nan_on_either_side() {
    let mut x = spread(3 * 16);
    (x[3], x[16 + 13]) = (f32::NAN, f32::NAN);
    for (activation, function) in FUNCTIONS {
        check(activation, function, &[3, 16], x.clone());
    }
}
