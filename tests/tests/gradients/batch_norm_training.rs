//! Batch normalisation by the batch's own statistics, through which the gradient goes as well.

use kiln_engine::ops::ConvOptions;
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

/// The relu's gradient is made with the norm's own.
#[test]
fn with_a_relu_behind() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[5, 3][..], &[3, 2, 3], &[2, 3, 4, 2], &[1, 2, 9, 8]] {
        let channels = shape[1];
        let operands = [seeded("x", shape), seeded("weight", &[channels]), seeded("bias", &[channels])];
        gradient::conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| {
                let y = g.batch_norm_training(v[0], v[1], v[2], EPSILON)?.output;
                g.relu(y)
            },
            |x| {
                let y = batch_norm_training(&x[0], &x[1], &x[2], f64::from(EPSILON));
                y.map(|y| if y < 0.0 { 0.0 } else { y })
            },
        );
    }
}

/// What is added to all of a channel the norm takes away: the gradient is 0, and nothing is summed.
#[test]
fn of_a_bias_in_front() {
    let Some(gpu) = device::gpu() else { return };
    let shape = [3, 4, 5, 8];
    let operands = [seeded("x", &shape), seeded("filter", &[4, 4, 1, 1]), seeded("offset", &[4])];
    gradient::conforms(
        gpu,
        "bias",
        &operands,
        |g, v| {
            let y = g.conv2d(v[0], v[1], Some(v[2]), ConvOptions::default())?;
            let y = g.batch_norm_training(y, None, None, EPSILON)?.output;
            g.relu(y)
        },
        |x| {
            let y = Array::from_fn(&shape, |i| {
                let products = (0..4).map(|c| x[1].at(&[i[1], c, 0, 0]) * x[0].at(&[i[0], c, i[2], i[3]]));
                products.sum::<f64>() + x[2].data[i[1]]
            });
            let (ones, zeros) = (Array::new(&[4], vec![1.0; 4]), Array::new(&[4], vec![0.0; 4]));
            let y = batch_norm_training(&y, &ones, &zeros, f64::from(EPSILON));
            y.map(|y| if y < 0.0 { 0.0 } else { y })
        },
    );
}
