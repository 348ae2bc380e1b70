//! The functions of one element.

use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::Unary;
use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::{data, device, tolerance};

type Build = fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>;

const FUNCTIONS: [(Unary, Build); 12] = [
    (Unary::Neg, |g, x| g.neg(x)),
    (Unary::Exp, |g, x| g.exp(x)),
    (Unary::Log, |g, x| g.log(x)),
    (Unary::Sqrt, |g, x| g.sqrt(x)),
    (Unary::Rsqrt, |g, x| g.rsqrt(x)),
    (Unary::Abs, |g, x| g.abs(x)),
    (Unary::Relu, |g, x| g.relu(x)),
    (Unary::Gelu, |g, x| g.gelu(x)),
    (Unary::GeluTanh, |g, x| g.gelu_tanh(x)),
    (Unary::Sigmoid, |g, x| g.sigmoid(x)),
    (Unary::Tanh, |g, x| g.tanh(x)),
    (Unary::Silu, |g, x| g.silu(x)),
];

#[test]
fn each_function() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[][..], &[63], &[5, 13], &[3, 2, 7, 11]] {
        for (function, build) in FUNCTIONS {
            let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
            let mut x: Vec<f32> =
                data::uniform("x", shape.iter().product()).iter().map(|x| 8.0 * x).collect();
            if positive {
                x.iter_mut().for_each(|x| *x = x.abs() + 1e-3);
            }
            if x.len() > 2 {
                x[1] = f32::NAN;
            }
            let operands = [f32_tensor(shape, x)];
            let x = array(&operands[0]);
            let expected = kiln_reference::unary(function, &x);
            let bounds: Vec<f64> = x.data.iter().map(|&x| tolerance::unary(function, x)).collect();
            let what = format!("{function:?} of {shape:?}");
            conforms(gpu, what, &operands, |g, v| build(g, v[0]), &expected, &bounds);
        }
    }
}
