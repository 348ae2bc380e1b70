//! Arithmetic of two tensors, broadcast.

use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::Array;
use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{data, device, gradient};

type Build = fn(&mut GraphBuilder, Value, Value) -> Result<Value, EngineError>;
type Oracle = fn(&Array, &Array) -> Array;

const OPERATIONS: [(&str, Build, Oracle); 6] = [
    ("add", |g, a, b| g.add(a, b), kiln_reference::add),
    ("sub", |g, a, b| g.sub(a, b), kiln_reference::sub),
    ("mul", |g, a, b| g.mul(a, b), kiln_reference::mul),
    ("div", |g, a, b| g.div(a, b), kiln_reference::div),
    ("maximum", |g, a, b| g.maximum(a, b), kiln_reference::maximum),
    ("minimum", |g, a, b| g.minimum(a, b), kiln_reference::minimum),
];

#[test]
fn each_operation_broadcasts() {
    let Some(gpu) = device::gpu() else { return };
    for (a, b) in [
        (&[][..], &[][..]),
        (&[], &[3, 5]),
        (&[7, 11], &[11]),
        (&[1, 11], &[7, 1]),
        (&[2, 1, 5, 3], &[4, 1, 3]),
    ] {
        for (name, build, oracle) in OPERATIONS {
            // A divisor keeps away from 0.
            let divisor =
                data::uniform("b", b.iter().product()).iter().map(|x| x + 1.0f32.copysign(*x)).collect();
            let operands = [seeded("a", a), f32_tensor(b, divisor)];
            let what = format!("{name} of {a:?} and {b:?}");
            gradient::conforms(gpu, what, &operands, |g, v| build(g, v[0], v[1]), |x| oracle(&x[0], &x[1]));
        }
    }
}

/// A value that is read twice takes both gradients.
#[test]
fn a_value_with_itself() {
    let Some(gpu) = device::gpu() else { return };
    let x = [seeded("x", &[5, 7])];
    for (name, build, oracle) in &OPERATIONS[..3] {
        gradient::conforms(gpu, name, &x, |g, v| build(g, v[0], v[0]), |x| oracle(&x[0], &x[0]));
    }
}

/// Equal sides of a maximum share the gradient, as in PyTorch.
#[test]
fn ties_are_shared() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for build in [GraphBuilder::maximum, GraphBuilder::minimum] {
        let mut g = GraphBuilder::new("ties");
        let (a, b) = (g.literal(&[2], &[3.0, 0.0])?, g.input("b", &[2], kiln_engine::DType::F32));
        let made = build(&mut g, a, b)?;
        let loss = g.sum(made, &[0], false)?;
        let gradients = g.gradients(loss, &[a, b])?;
        g.output("a", gradients[0]);
        g.output("b", gradients[1]);
        let mut session = kiln_engine::Session::new(gpu);
        let plan = session.load(&g.finish(), &std::collections::HashMap::new())?;
        let outputs = session.run(plan, &[("b", &f32_tensor(&[2], vec![3.0, 0.0]))])?;
        assert_eq!(outputs["a"].as_f32()?, [0.5, 0.5]);
        assert_eq!(outputs["b"].as_f32()?, [0.5, 0.5]);
    }
    Ok(())
}
