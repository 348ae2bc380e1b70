//! Division by the Euclidean norm over the last dimension.

use kiln_tests::graph::{array, conforms, f32_tensor};
use kiln_tests::tolerance::L2_NORMALIZE;
use kiln_tests::{data, device};

fn check(shape: &[usize], x: Vec<f32>, epsilon: f32) {
    let Some(gpu) = device::gpu() else { return };
    let operands = [f32_tensor(shape, x)];
    let x = array(&operands[0]);
    let expected = kiln_reference::l2_normalize(&x, f64::from(epsilon));
    let bounds = L2_NORMALIZE.bounds(&kiln_reference::l2_normalize_terms(&x, f64::from(epsilon)));
    conforms(
        gpu,
        format_args!("{shape:?}"),
        &operands,
        |g, v| g.l2_normalize(v[0], epsilon),
        &expected,
        &bounds,
    );
}

#[test]
fn rows() {
    for shape in [&[1][..], &[7], &[5, 384], &[9, 31], &[3, 4, 129]] {
        check(shape, data::uniform("x", shape.iter().product()), 1e-12);
    }
}

#[test]
fn a_row_of_zeros_and_a_row_with_nan() {
    let mut x = data::uniform("x", 4 * 40);
    x[..40].fill(0.0);
    x[45] = f32::NAN;
    check(&[4, 40], x, 1e-12);
}

/// Where the norm is below epsilon, epsilon divides.
#[test]
fn epsilon_bounds_the_divisor() {
    check(&[3, 5], data::uniform("x", 15), 10.0);
}
