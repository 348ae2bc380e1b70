//! Generated configurations of convolution, transposed convolution and pooling, against `reference`: all options
//! together, prime extents, batches of one to three. A failure is shrunk to the smallest configuration that fails.
//!
//! The configurations are a fixed sequence. Each test runs the first of them; `KILN_SWEEP` says how many in all, so
//! `KILN_SWEEP=2000 cargo xtask test` runs two thousand.

mod axis;
mod conv;
mod pool;

use std::fmt;

use kiln_engine::{EngineError, GraphBuilder, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::Array;
use kiln_tests::graph::{Source, f32_tensor, profiles, run_op};
use kiln_tests::{compare, data, device};
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// How many configurations the tests share where `KILN_SWEEP` does not say.
const COUNT: u32 = 120;

/// The families that share them.
const FAMILIES: u32 = 3;

#[test]
fn convolutions() {
    sweep(conv::convolutions(), conv::Convolution::check);
}

#[test]
fn transposed_convolutions() {
    sweep(conv::transposed(), conv::Transposed::check);
}

#[test]
fn poolings() {
    sweep(pool::poolings(), pool::Pooled::check);
}

/// Runs this family's share of the configurations.
#[track_caller]
fn sweep<C: fmt::Debug + Clone>(
    configurations: impl Strategy<Value = C>,
    check: fn(&C, &Gpu) -> Result<(), String>,
) {
    let Some(gpu) = device::gpu() else { return };
    let count = count(std::env::var("KILN_SWEEP").ok().as_deref()).div_ceil(FAMILIES);
    if let Err(failure) = smallest_failure(count, configurations, |configuration| check(configuration, gpu)) {
        panic!("{failure}");
    }
}

fn count(variable: Option<&str>) -> u32 {
    let Some(text) = variable else { return COUNT };
    text.parse()
        .unwrap_or_else(|e| panic!("KILN_SWEEP is {text:?}, expected a number of configurations: {e}"))
}

/// Checks the first `count` configurations of the sequence; of a failure, what it says and the smallest configuration
/// that still fails.
fn smallest_failure<C: fmt::Debug + Clone>(
    count: u32,
    configurations: impl Strategy<Value = C>,
    check: impl Fn(&C) -> Result<(), String>,
) -> Result<(), String> {
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let run = runner.run(&configurations, |configuration| check(&configuration).map_err(TestCaseError::fail));
    run.map_err(|error| match error {
        TestError::Fail(why, smallest) => {
            format!("{}\nthe smallest that fails: {smallest:#?}", why.message())
        }
        TestError::Abort(why) => format!("no configurations could be made: {}", why.message()),
    })
}

/// Where the operands come from.
fn sources() -> impl Strategy<Value = Source> {
    select(Source::ALL.to_vec())
}

/// A seeded image, with a NaN in its middle if asked for: it reaches what sees it and nothing else.
fn image(shape: &[usize], nan: bool) -> Tensor {
    let mut numbers = data::uniform("x", shape.iter().product());
    if nan {
        let middle = numbers.len() / 2;
        numbers[middle] = f32::NAN;
    }
    f32_tensor(shape, numbers)
}

/// The size of numbers, where NaN has that of the largest.
fn sizes(x: &Array) -> Array {
    x.map(|x| if x.is_nan() { 1.0 } else { x.abs() })
}

/// What an op makes of its operands, planned for this device and for one of the other sort.
fn conforms(
    gpu: &Gpu,
    source: Source,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    expected: &Array,
    bounds: &[f64],
) -> Result<(), String> {
    for profile in profiles(gpu) {
        let planned = format!("planned for a {} device", profile.kind);
        let made = run_op(gpu, &profile, source, operands, &build).map_err(|e| format!("{planned}: {e}"))?;
        if made.shape() != expected.shape {
            return Err(format!("{planned}: shape {:?}, expected {:?}", made.shape(), expected.shape));
        }
        let agrees = match made.as_u32() {
            // Places in a plane.
            Ok(places) => {
                let expected_places: Vec<u32> = expected.data.iter().map(|&place| place as u32).collect();
                compare::same_bits(places, &expected_places, &expected.shape)
            }
            Err(_) => {
                let numbers = made.as_f32().map_err(|e| e.to_string())?;
                compare::close(numbers, expected, bounds).map(drop)
            }
        };
        agrees.map_err(|mismatch| format!("{planned}: {mismatch}"))?;
    }
    Ok(())
}

/// The sweep itself must be able to fail, and to say where.
#[test]
fn a_failure_is_shrunk_to_the_smallest_configuration() {
    let wrong_where_dilated = |configuration: &conv::Convolution| {
        let dilated = configuration.axes[1].dilation > 1 && configuration.axes[1].kernel > 2;
        if dilated { Err("the width is dilated".to_owned()) } else { Ok(()) }
    };
    let failure = smallest_failure(200, conv::convolutions(), wrong_where_dilated)
        .expect_err("some of 200 configurations are dilated");
    assert!(failure.starts_with("the width is dilated\nthe smallest that fails: Convolution {"), "{failure}");
    let words: Vec<&str> = failure.split_whitespace().collect();
    let said = words.join(" ");
    for part in [
        "batch: 1, groups: 1, group_in: 1, group_out: 1,",
        "nan: false, bias: false, relu: false, residual: false,",
        "Axis { input: 1, kernel: 1, stride: 1, dilation: 1, padding: [ 0, 0, ], }, Axis { input: 5, kernel: 3, stride: 1, dilation: 2, padding: [ 0, 0, ], }",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn the_number_of_configurations_is_said_by_the_variable() {
    assert_eq!(count(None), COUNT);
    assert_eq!(count(Some("2000")), 2000);
}
