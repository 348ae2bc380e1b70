//! What the tests against PyTorch's goldens share.

use kiln_engine::Tensor;
use kiln_reference::Array;
use kiln_tests::golden::OpCase;
use kiln_tests::graph::f32_tensor;

/// The oracle against PyTorch, both of which compute in double precision, in some order.
#[track_caller]
pub(crate) fn assert_oracle(case: &OpCase, made: &Array) {
    assert_eq!(made.shape, case.output.shape, "{}: the oracle's shape", case.name);
    for (i, (&made, &expected)) in made.data.iter().zip(&case.output.data).enumerate() {
        let alike = made == expected || (made.is_nan() && expected.is_nan());
        let close = (made - expected).abs() <= 1e-12 * (1e-3 + expected.abs());
        assert!(alike || close, "{}: the oracle's element {i} is {made:e}, not {expected:e}", case.name);
    }
}

/// The inputs for the engine.
pub(crate) fn operands(case: &OpCase) -> Vec<Tensor> {
    let tensor =
        |input: &Array| f32_tensor(&input.shape, input.data.iter().map(|&x| x as f32).collect::<Vec<f32>>());
    case.inputs.iter().map(tensor).collect()
}

/// What a correct result in `f32` is nearest to: a number beyond its range is infinite.
pub(crate) fn in_range(output: &Array) -> Array {
    output.map(|y| if y.abs() > f64::from(f32::MAX) { y.signum() * f64::INFINITY } else { y })
}

/// An option as PyTorch was given it: the decimal number, not its rounding to `f32`.
pub(crate) fn decimal(option: f32) -> f64 {
    option.to_string().parse().expect("a number should read as it is written")
}
