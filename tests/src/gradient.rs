//! Gradients of one op, through the whole engine, against finite differences of the oracle.
//!
//! The loss is the sum of the op's result, each element times a fixed number of its own, so that no two derivatives may
//! be taken for each other. The oracle computes in `f64`, where a central difference with a step of 1e-5 is right to
//! about ten digits: far better than what `f32` is held to. Data must keep away from kinks and ties by more than that.

use std::collections::HashMap;
use std::fmt;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::Array;

use crate::compare::assert_close;
use crate::data;
use crate::graph::{array, profiles};

/// The step of a central difference.
const STEP: f64 = 1e-5;

/// Errors in units of the machine epsilon and the sum of the absolute terms of a derivative, for ops whose gradient adds
/// up a handful of such sums.
const FACTOR: f64 = 32.0;

/// What a finite difference itself may be off by, relative to the largest derivative.
const DIFFERENCE_ERROR: f64 = 1e-8;

/// Checks the derivatives by every f32 operand, planned for this device and for one of the other sort. `build` makes the
/// op's result from the operands; `oracle` computes it from the f32 operands alone, in their order.
///
/// # Panics
/// Where the engine reports an error, or a derivative is out of bounds.
#[track_caller]
pub fn conforms(
    gpu: &Gpu,
    what: impl fmt::Display,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    oracle: impl Fn(&[Array]) -> Array,
) {
    conforms_within(gpu, FACTOR, what, operands, build, oracle);
}

/// [`conforms`] with another factor, for ops whose gradient is a longer computation.
///
/// # Panics
/// As there.
#[track_caller]
pub fn conforms_within(
    gpu: &Gpu,
    factor: f64,
    what: impl fmt::Display,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    oracle: impl Fn(&[Array]) -> Array,
) {
    let is_number = |operand: &&Tensor| operand.desc().dtype == DType::F32;
    let points: Vec<Array> = operands.iter().filter(is_number).map(array).collect();
    let factors = factors(oracle(&points).data.len());
    let expected: Vec<Differences> =
        (0..points.len()).map(|index| differences(&points, index, &factors, &oracle)).collect();
    // Derivatives that cancel to nothing are as far off as those that do not.
    let largest = expected.iter().flat_map(|one| &one.terms).copied().fold(0.0, f64::max);
    for profile in profiles(gpu) {
        let made = run(gpu, &profile, operands, &factors, &build)
            .unwrap_or_else(|e| panic!("{what}, planned for a {} device: {e}", profile.kind));
        for (index, (made, Differences { gradient, terms })) in made.iter().zip(&expected).enumerate() {
            assert_eq!(made.shape(), gradient.shape, "{what}: the shape of gradient {index}");
            let unit = factor * f64::from(f32::EPSILON);
            let bounds: Vec<f64> =
                terms.iter().map(|sum| unit * (sum + largest) + DIFFERENCE_ERROR * largest).collect();
            let got = made.as_f32().expect("a gradient should be f32");
            let label =
                format!("{what}: the gradient of operand {index}, planned for a {} device", profile.kind);
            assert_close(label, got, gradient, &bounds);
        }
    }
}

/// What each element of the result counts in the loss.
fn factors(count: usize) -> Vec<f32> {
    data::uniform("gradient", count).iter().map(|x| x + 1.5f32.copysign(*x)).collect()
}

struct Differences {
    gradient: Array,
    /// The sum of the absolute values of what each derivative adds up.
    terms: Vec<f64>,
}

/// The loss's derivatives by one of the operands.
fn differences(
    points: &[Array],
    operand: usize,
    factors: &[f32],
    oracle: &impl Fn(&[Array]) -> Array,
) -> Differences {
    let mut points = points.to_vec();
    let (mut gradient, mut terms) = (points[operand].clone(), vec![]);
    for element in 0..gradient.data.len() {
        let at = points[operand].data[element];
        let mut side = |offset: f64| {
            points[operand].data[element] = at + offset;
            oracle(&points).data
        };
        let (above, below) = (side(STEP), side(-STEP));
        points[operand].data[element] = at;
        let parts = above.iter().zip(&below).zip(factors);
        let parts = parts.map(|((above, below), &factor)| f64::from(factor) * (above - below) / (2.0 * STEP));
        gradient.data[element] = parts.clone().sum();
        terms.push(parts.map(f64::abs).sum());
    }
    Differences { gradient, terms }
}

/// The gradients by the f32 operands, in their order.
fn run(
    gpu: &Gpu,
    profile: &kiln_gpu::DeviceProfile,
    operands: &[Tensor],
    factors: &[f32],
    build: &impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
) -> Result<Vec<Tensor>, EngineError> {
    let mut g = GraphBuilder::new("test");
    let names: Vec<String> = (0..operands.len()).map(|position| format!("operand{position}")).collect();
    let values: Vec<Value> = names
        .iter()
        .zip(operands)
        .map(|(name, operand)| g.input(name, operand.shape(), operand.desc().dtype))
        .collect();
    let made = build(&mut g, &values)?;
    let shape = g.desc(made).shape.clone();
    let factors = g.literal(&shape, factors)?;
    let weighed = g.mul(made, factors)?;
    let flat = g.reshape(weighed, &[shape.iter().product()])?;
    let loss = g.sum(flat, &[0], false)?;
    let wrt: Vec<Value> = values.iter().copied().filter(|&value| g.desc(value).dtype == DType::F32).collect();
    let gradients = g.gradients(loss, &wrt)?;
    for (index, gradient) in gradients.iter().enumerate() {
        g.output(&index.to_string(), *gradient);
    }
    let mut session = Session::with_profile(gpu, profile.clone());
    let plan = session.load(&g.finish(), &HashMap::new())?;
    let inputs: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(operands).collect();
    let mut outputs = session.run(plan, &inputs)?;
    Ok((0..gradients.len()).filter_map(|index| outputs.take(&index.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_right_to_eight_digits() {
        let points =
            [Array::from_fn(&[3], |at| 0.5 + at[0] as f64), Array::from_fn(&[3], |at| 1.5 - at[0] as f64)];
        let product =
            |points: &[Array]| Array::from_fn(&[3], |at| points[0].at(at).powi(3) * points[1].at(at));
        let factors = [1.0, -2.0, 3.0];
        let Differences { gradient, terms } = differences(&points, 0, &factors, &product);
        for (index, factor) in factors.iter().enumerate() {
            let (a, b) = (points[0].data[index], points[1].data[index]);
            let exact = f64::from(*factor) * 3.0 * a * a * b;
            assert!((gradient.data[index] - exact).abs() <= 1e-8 * exact.abs(), "{gradient:?}");
            assert!((terms[index] - exact.abs()).abs() <= 1e-8 * exact.abs(), "{terms:?}");
        }
    }

    /// A harness that takes anything for a gradient would prove nothing.
    #[test]
    #[should_panic(expected = "the gradient of operand 0")]
    fn a_wrong_gradient_is_caught() {
        let Some(gpu) = crate::device::gpu() else { panic!("the gradient of operand 0: no device") };
        let x = crate::graph::seeded("x", &[5]);
        // The oracle's derivative is 2.001 where the op's is 2.
        let oracle = |points: &[Array]| points[0].map(|x| 2.001 * x);
        conforms(gpu, "twice", &[x], |g, v| g.add(v[0], v[0]), oracle);
    }
}
