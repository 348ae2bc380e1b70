//! The gradients of functions of one element.

use kiln_kernels::unary_grad;
use kiln_reference::{Array, Unary};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::{data, device, sweep, tolerance};

use crate::support::u;

/// The shader's numbers for the functions, and for their options, and whether it reads the function's result.
const FUNCTIONS: [(u32, [f32; 2], Unary, bool); 28] = [
    (1, [0.0; 2], Unary::Relu, true),
    (2, [0.0; 2], Unary::Gelu, false),
    (3, [0.0; 2], Unary::GeluTanh, false),
    (4, [0.0; 2], Unary::Sigmoid, true),
    (5, [0.0; 2], Unary::Tanh, true),
    (6, [0.0; 2], Unary::Silu, false),
    (7, [0.0; 2], Unary::Neg, true),
    (8, [0.0; 2], Unary::Exp, true),
    (9, [0.0; 2], Unary::Log, false),
    (10, [0.0; 2], Unary::Sqrt, true),
    (11, [0.0; 2], Unary::Rsqrt, true),
    (12, [0.0; 2], Unary::Abs, false),
    (13, [0.01, 0.0], Unary::LeakyRelu { slope: 0.01f32 as f64 }, true),
    (13, [0.0, 0.0], Unary::LeakyRelu { slope: 0.0 }, true),
    (13, [-2.5, 0.0], Unary::LeakyRelu { slope: -2.5 }, false),
    (14, [1.0, 0.0], Unary::Elu { alpha: 1.0 }, false),
    (14, [-1.75, 0.0], Unary::Elu { alpha: -1.75 }, false),
    (15, [1.0, 20.0], Unary::Softplus { beta: 1.0, threshold: 20.0 }, false),
    (15, [-3.0, 5.0], Unary::Softplus { beta: -3.0, threshold: 5.0 }, false),
    (16, [-1.0, 1.0], Unary::Hardtanh { min: -1.0, max: 1.0 }, true),
    (16, [0.0, 6.0], Unary::Hardtanh { min: 0.0, max: 6.0 }, true),
    (16, [2.0, 2.0], Unary::Hardtanh { min: 2.0, max: 2.0 }, true),
    (17, [0.0; 2], Unary::LogSigmoid, false),
    (18, [0.5, 0.0], Unary::Softshrink { lambda: 0.5 }, true),
    (18, [0.0, 0.0], Unary::Softshrink { lambda: 0.0 }, true),
    (19, [1.0, 0.0], Unary::SmoothL1 { beta: 1.0 }, false),
    (19, [4.0, 0.0], Unary::SmoothL1 { beta: 4.0 }, false),
    (19, [0.0, 0.0], Unary::SmoothL1 { beta: 0.0 }, false),
];

/// Numbers over the range where a function bends, its kinks, and some from far out.
fn arguments(function: Unary, count: usize) -> Vec<f32> {
    let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
    let mut x: Vec<f32> = data::uniform("unary_grad", count).iter().map(|x| 8.0 * x).collect();
    for (i, x) in x.iter_mut().enumerate() {
        if i % 3 == 0 {
            *x /= 50.0; // around zero as well
        }
        if positive {
            *x = x.abs() + 1e-3;
        }
    }
    let edges: &[f32] = match function {
        Unary::Log | Unary::Sqrt | Unary::Rsqrt => &[f32::NAN, 1.0, 1e-12, 1e12],
        Unary::Exp => &[f32::NAN, 0.0, -80.0, 80.0],
        _ => &[f32::NAN, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 6.0, -40.0, 40.0, -1e4, 1e4, -1e30, 1e30],
    };
    let edges = &edges[..edges.len().min(count)];
    x[count - edges.len()..].copy_from_slice(edges);
    x
}

#[test]
fn unary_gradients() {
    let Some(gpu) = device::gpu() else { return };
    for variant in unary_grad::Variant::ALL {
        let numbers = if *variant == unary_grad::Variant::Quad { 4 } else { 1 };
        for (op, [a, b], function, of_result) in FUNCTIONS {
            for count in sweep::sizes(variant.threads() as usize).iter().map(|count| numbers * count) {
                let x = arguments(function, count);
                let grad: Vec<f32> =
                    data::uniform("unary_grad.grad", count).iter().map(|x| 3.0 * x).collect();
                let reads: Vec<f32> = match of_result {
                    true => x.iter().map(|&x| function.apply(f64::from(x)) as f32).collect(),
                    false => x.clone(),
                };
                let params = unary_grad::Params { begin: 0, end: u(count / numbers), a, b };
                let overrides = unary_grad::Overrides { op }.pairs();
                let binds = vec![Bind::f32(&reads), Bind::f32(&grad), Bind::output(count)];
                let groups = (count / numbers).div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let (x, grad) = (Array::from_f32(&[count], &x), Array::from_f32(&[count], &grad));
                let expected = kiln_reference::unary_grad(function, &x, &grad);
                let bounds: Vec<f64> = bounds(function, &x, &grad);
                assert_close(format_args!("{function:?}' of {count}, {variant:?}"), &got, &expected, &bounds);
            }
        }
    }
}

/// Where the expectation is not finite either, the bound has no part in the verdict.
fn bounds(function: Unary, x: &Array, grad: &Array) -> Vec<f64> {
    let bound = |(&x, grad): (&f64, &f64)| tolerance::unary_grad(function, x) * grad.abs();
    x.data
        .iter()
        .zip(&grad.data)
        .map(bound)
        .map(|bound| if bound.is_finite() { bound } else { 0.0 })
        .collect()
}

/// The tail behind the last whole four: what lies before it is left alone.
#[test]
fn a_part_of_a_tensor() {
    let Some(gpu) = device::gpu() else { return };
    let variant = unary_grad::Variant::Single;
    let reads = data::uniform("unary_grad.reads", 11);
    let grad = data::uniform("unary_grad.grad", 11);
    let params = unary_grad::Params { begin: 8, end: 11, a: 0.0, b: 0.0 };
    let overrides = unary_grad::Overrides { op: 8 }.pairs();
    let binds = vec![Bind::f32(&reads), Bind::f32(&grad), Bind::update(&[7.5; 11])];
    let got = Run::new(variant.kernel(), &params, binds, 1).with(&overrides).output(gpu);
    let expected: Vec<f32> = (0..11).map(|i| if i < 8 { 7.5 } else { reads[i] * grad[i] }).collect();
    assert_eq!(got, expected);
}
