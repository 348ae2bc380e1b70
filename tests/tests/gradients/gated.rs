//! Gated linear units.

use kiln_engine::Activation;
use kiln_reference::Unary;
use kiln_tests::graph::f32_tensor;
use kiln_tests::{data, device, gradient};

#[test]
fn gate_and_values() {
    let Some(gpu) = device::gpu() else { return };
    for (activation, function) in [
        (Activation::Relu, Unary::Relu),
        (Activation::GeluTanh, Unary::GeluTanh),
        (Activation::Sigmoid, Unary::Sigmoid),
        (Activation::Silu, Unary::Silu),
    ] {
        for shape in [&[6][..], &[5, 8], &[2, 3, 10]] {
            // Away from the corner of relu.
            let count = shape.iter().product();
            let x = data::uniform("x", count).iter().map(|x| 2.0 * x + 0.01f32.copysign(*x)).collect();
            gradient::conforms(
                gpu,
                format!("{activation:?} of {shape:?}"),
                &[f32_tensor(shape, x)],
                |g, v| g.gated(activation, v[0]),
                |x| kiln_reference::gated(function, &x[0]),
            );
        }
    }
}
