//! Arithmetic of two tensors, broadcast.

use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::Array;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::{DIV, EXACT, ROUNDED, Tolerance};

type Build = fn(&mut GraphBuilder, Value, Value) -> Result<Value, EngineError>;
type Oracle = fn(&Array, &Array) -> Array;

const OPERATIONS: [(&str, Build, Oracle, Tolerance); 8] = [
    ("add", |g, a, b| g.add(a, b), kiln_reference::add, ROUNDED),
    ("sub", |g, a, b| g.sub(a, b), kiln_reference::sub, ROUNDED),
    ("mul", |g, a, b| g.mul(a, b), kiln_reference::mul, ROUNDED),
    ("div", |g, a, b| g.div(a, b), kiln_reference::div, DIV),
    ("maximum", |g, a, b| g.maximum(a, b), kiln_reference::maximum, EXACT),
    ("minimum", |g, a, b| g.minimum(a, b), kiln_reference::minimum, EXACT),
    ("greater", |g, a, b| g.greater(a, b), kiln_reference::greater, EXACT),
    ("equal", |g, a, b| g.equal(a, b), kiln_reference::equal, EXACT),
];

const SHAPES: [(&[usize], &[usize]); 12] = [
    (&[], &[]),
    (&[65], &[65]),
    (&[7, 12], &[7, 12]),
    (&[7, 12], &[1]),
    (&[], &[260]),
    (&[], &[3, 5]),
    (&[7, 11], &[11]),
    (&[7, 1], &[11]),
    (&[1, 11], &[7, 1]),
    (&[2, 1, 5, 3], &[4, 1, 3]),
    (&[3, 1, 1], &[1, 5, 7]),
    (&[2, 1, 2, 1, 2, 1, 2, 3], &[1, 2, 1, 3, 1, 2, 2, 1]),
];

#[test]
fn each_operation_broadcasts() {
    let Some(gpu) = device::gpu() else { return };
    for (a, b) in SHAPES {
        for (name, build, oracle, tolerance) in OPERATIONS {
            let operands = [seeded("a", a), seeded("b", b)];
            let expected = oracle(&array(&operands[0]), &array(&operands[1]));
            let what = format!("{name} of {a:?} and {b:?}");
            let bounds = tolerance.bounds(&expected);
            conforms(gpu, what, &operands, |g, v| build(g, v[0], v[1]), &expected, &bounds);
        }
    }
}

/// Both operands may be one value.
#[test]
fn a_value_with_itself() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[5, 7])];
    let x = array(&operands[0]);
    for (name, build, oracle, tolerance) in OPERATIONS {
        let expected = oracle(&x, &x);
        conforms(gpu, name, &operands, |g, v| build(g, v[0], v[0]), &expected, &tolerance.bounds(&expected));
    }
}

#[test]
fn nan_on_either_side_wins() {
    let Some(gpu) = device::gpu() else { return };
    let left = f32_tensor(&[4], vec![f32::NAN, 1.0, f32::NAN, f32::INFINITY]);
    let right = f32_tensor(&[4], vec![1.0, f32::NAN, f32::NAN, 2.0]);
    let operands = [left, right];
    for (name, build, oracle, _) in OPERATIONS {
        let expected = oracle(&array(&operands[0]), &array(&operands[1]));
        conforms(gpu, name, &operands, |g, v| build(g, v[0], v[1]), &expected, &[0.0; 4]);
    }
}
