//! Batch normalisation by the batch's own statistics, through which the gradient goes as well.

use kiln_reference::{Array, batch_norm_training};
use kiln_tests::graph::{f32_tensor, seeded, u32_tensor};
use kiln_tests::{data, device, gradient};

const EPSILON: f32 = 1e-3;

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[2, 1][..], &[5, 3], &[7, 2, 3], &[2, 3, 4, 2], &[1, 2, 9, 8], &[3, 1, 2, 3, 5]] {
        let channels = shape[1];
        let operands = [seeded("x", shape), seeded("weight", &[channels]), seeded("bias", &[channels])];
        gradient::conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| Ok(g.batch_norm_training(v[0], v[1], v[2], EPSILON)?.output),
            |x| batch_norm_training(&x[0], &x[1], &x[2], f64::from(EPSILON)),
        );
    }
}

/// What is left after a mean of 100 is taken off has rounding errors of that size.
#[test]
fn far_from_zero() {
    let Some(gpu) = device::gpu() else { return };
    let shape = [3, 2, 4, 5];
    let x = data::uniform("x", 120).iter().map(|x| x + 100.0).collect();
    let operands = [f32_tensor(&shape, x), seeded("weight", &[2]), seeded("bias", &[2])];
    gradient::conforms(
        gpu,
        "far",
        &operands,
        |g, v| Ok(g.batch_norm_training(v[0], v[1], v[2], EPSILON)?.output),
        |x| batch_norm_training(&x[0], &x[1], &x[2], f64::from(EPSILON)),
    );
}

/// Several parts of a channel. Central differences by each of so many elements would take long: x is made of five numbers.
#[test]
fn many_parts() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [[300, 2, 4], [1, 2, 5000], [700, 3, 1]] {
        let count: usize = shape.iter().product();
        let spread = data::uniform("spread", count);
        let index: Vec<u32> = (0..count as u32).map(|i| i % 5).collect();
        let operands = [
            seeded("x", &[5]),
            seeded("weight", &[shape[1]]),
            seeded("bias", &[shape[1]]),
            u32_tensor(&[count], index),
        ];
        gradient::conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| {
                let x = g.index_select(v[0], 0, v[3])?;
                let x = g.reshape(x, &shape)?;
                let spread = g.literal(&shape, &spread)?;
                let x = g.add(x, spread)?;
                Ok(g.batch_norm_training(x, v[1], v[2], EPSILON)?.output)
            },
            |x| {
                let numbers = spread.iter().enumerate().map(|(i, &s)| x[0].data[i % 5] + f64::from(s));
                let x_made = Array::new(&shape, numbers.collect());
                batch_norm_training(&x_made, &x[1], &x[2], f64::from(EPSILON))
            },
        );
    }
}
