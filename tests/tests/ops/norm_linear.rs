//! The norm, linear layer and activation or gate of a single row, which a software adapter runs as one kernel.

use kiln_engine::Activation;
use kiln_reference::Unary;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::{LINEAR, RMS_NORM};
use kiln_tests::{data, device, tolerance};

const EPSILON: f32 = 1e-6;

/// What becomes of the product.
#[derive(Clone, Copy, Debug)]
enum End {
    Plain,
    Relu,
    Gate,
}

fn check(depth: usize, cols: usize, end: End, half: bool, x: Vec<f32>) {
    let Some(gpu) = device::gpu() else { return };
    let weight = seeded("weight", &[cols, depth]);
    // What halves hold exactly.
    let weight = match half {
        true => f32_tensor(
            &[cols, depth],
            weight.as_f32().unwrap().iter().map(|x| (x * 64.0).round() / 64.0).collect(),
        ),
        false => weight,
    };
    let operands = [f32_tensor(&[1, depth], x), seeded("norm", &[depth]), weight];
    let [x, norm, matrix] = [0, 1, 2].map(|i| array(&operands[i]));
    let normed = kiln_reference::rms_norm(&x, &norm, f64::from(EPSILON));
    let product = kiln_reference::linear(&normed, &matrix, None);
    let terms = kiln_reference::linear(&normed.abs(), &matrix.abs(), None);
    // Each number of the row carries the norm's error into all its products.
    let errors: Vec<f64> = LINEAR
        .bounds(&terms)
        .iter()
        .zip(RMS_NORM.bounds(&terms))
        .map(|(product, norm)| product + norm)
        .collect();
    let (expected, bounds) = match end {
        End::Plain => (product, errors),
        End::Relu => (product.map(|x| Unary::Relu.apply(x)), errors),
        End::Gate => {
            let (made, rounding) = (
                kiln_reference::gated(Unary::GeluTanh, &product),
                tolerance::gated(Unary::GeluTanh, &product),
            );
            let width = cols / 2;
            // No slope of gelu is steeper than 1.13.
            let bound = |col: usize| {
                let open = Unary::GeluTanh.apply(product.data[col]);
                rounding[col]
                    + 1.13 * errors[col] * product.data[width + col].abs()
                    + open.abs() * errors[width + col]
            };
            (made, (0..width).map(bound).collect())
        }
    };
    conforms(
        gpu,
        format_args!("{depth} to {cols}, {end:?}, half {half}"),
        &operands,
        |g, v| {
            let normed = g.rms_norm(v[0], v[1], EPSILON)?;
            let matrix = if half { g.pack_half(v[2])? } else { v[2] };
            let product = g.linear(normed, matrix, None)?;
            match end {
                End::Plain => Ok(product),
                End::Relu => g.relu(product),
                End::Gate => g.gated(Activation::GeluTanh, product),
            }
        },
        &expected,
        &bounds,
    );
}

/// Sizes that are fused, with panels for less than a workgroup, for one and for more; and sizes that are not.
#[test]
fn sizes() {
    for (depth, cols) in [(32, 16), (64, 144), (512, 128), (96, 1040), (40, 16), (32, 12), (6, 10)] {
        for end in [End::Plain, End::Relu, End::Gate] {
            for half in [false, true] {
                check(depth, cols, end, half, data::uniform("x", depth));
            }
        }
    }
}

/// A row of zeros, one whose norm is its epsilon's affair, and one that overflows nothing but its square's precision.
#[test]
fn rows_of_other_sizes() {
    for scale in [0.0, 1e-4, 1e6] {
        check(64, 64, End::Plain, false, data::uniform("x", 64).iter().map(|x| scale * x).collect());
    }
}

#[test]
fn nan_reaches_every_column() {
    let mut x = data::uniform("x", 64);
    x[37] = f32::NAN;
    for end in [End::Plain, End::Relu, End::Gate] {
        check(64, 80, end, false, x.clone());
    }
}
