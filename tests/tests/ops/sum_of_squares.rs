//! Squares summed in parts, and the norm of many gradients.

use kiln_engine::ops::SumOfSquares;
use kiln_engine::{GraphBuilder, NoWeights, Session, Tensor};
use kiln_gpu::DeviceProfile;
use kiln_reference::Array;
use kiln_tests::graph::{array, conforms, seeded};
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device};

/// Shapes around a part's 4096 elements and around vectors of four.
const SHAPES: [&[usize]; 9] =
    [&[], &[1], &[10], &[500], &[4095], &[64, 64], &[4097], &[3, 2731], &[50, 20, 5, 5]];

fn norm_squared(arrays: &[Array]) -> Array {
    let all: Vec<&Array> = arrays.iter().collect();
    Array::new(&[], vec![kiln_reference::sum_of_squares(&all)])
}

#[test]
fn norms_of_one() {
    let Some(gpu) = device::gpu() else { return };
    for shape in SHAPES {
        let operands = [seeded("x", shape)];
        let expected = norm_squared(&[array(&operands[0])]);
        let bounds = SUM.bounds(&expected);
        conforms(gpu, format!("{shape:?}"), &operands, |g, v| g.global_norm_squared(v), &expected, &bounds);
    }
}

#[test]
fn norms_of_many() {
    let Some(gpu) = device::gpu() else { return };
    let operands: Vec<Tensor> = SHAPES.iter().map(|shape| seeded(&format!("{shape:?}"), shape)).collect();
    let expected = norm_squared(&operands.iter().map(array).collect::<Vec<_>>());
    let bounds = SUM.bounds(&expected);
    conforms(gpu, "all", &operands, |g, v| g.global_norm_squared(v), &expected, &bounds);
}

#[test]
fn each_part_is_the_sum_of_its_own() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("a", &[9001]), seeded("b", &[3]), seeded("c", &[2, 4096])];
    let sums = |operand: &Tensor| {
        let parts = array(operand).data;
        parts.chunks(4096).map(|part| part.iter().map(|x| x * x).sum()).collect::<Vec<f64>>()
    };
    let expected = Array::new(&[6], operands.iter().flat_map(sums).collect());
    let bounds = SUM.bounds(&expected);
    conforms(gpu, "parts", &operands, |g, v| g.apply(SumOfSquares, v), &expected, &bounds);
}

#[test]
fn nan_and_infinity_come_through() {
    let Some(gpu) = device::gpu() else { return };
    for (value, expected) in [(f32::NAN, f64::NAN), (f32::NEG_INFINITY, f64::INFINITY), (1e30, f64::INFINITY)]
    {
        let mut x = data::uniform("x", 5001);
        x[5000] = value;
        let operands = [Tensor::f32([5001], x).expect("5001 numbers")];
        let expected = Array::new(&[], vec![expected]);
        conforms(gpu, format!("{value}"), &operands, |g, v| g.global_norm_squared(v), &expected, &[0.0]);
    }
}

/// A gradient that the device cannot bind as a whole, whose pieces end within parts.
#[test]
fn pieces() -> Result<(), kiln_engine::EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for shape in [[700, 16], [700, 15], [513, 64]] {
        let mut limits = gpu.profile().limits;
        limits.max_binding = 9000;
        let profile = DeviceProfile { limits, ..gpu.profile().clone() };
        let mut g = GraphBuilder::new("pieces");
        let x = g.input("x", &shape, kiln_engine::DType::F32);
        let sum = g.global_norm_squared(&[x])?;
        g.output("sum", sum);
        let mut session = Session::with_profile(gpu, profile);
        let plan = session.load(&g.finish(), &NoWeights)?;
        assert!(session.plan(plan).slots.len() > 5, "{}", session.plan(plan));
        let x = seeded("x", &shape);
        let made = session.run(plan, &[("x", &x)])?;
        let expected = norm_squared(&[array(&x)]);
        let what = format!("{shape:?} in pieces");
        kiln_tests::compare::assert_close(what, made["sum"].as_f32()?, &expected, &SUM.bounds(&expected));
    }
    Ok(())
}
