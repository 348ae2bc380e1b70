//! Batch normalisation by statistics that are given: all five inputs have a gradient.

use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{data, device, gradient};

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[1, 1][..], &[5, 3], &[2, 3, 7], &[2, 3, 4, 2], &[3, 1, 2, 3, 5]] {
        let channels = shape[1];
        let variance = data::uniform("variance", channels).iter().map(|v| v * v + 0.1).collect();
        let operands = [
            seeded("x", shape),
            seeded("mean", &[channels]),
            f32_tensor(&[channels], variance),
            seeded("weight", &[channels]),
            seeded("bias", &[channels]),
        ];
        gradient::conforms(
            gpu,
            format!("{shape:?}"),
            &operands,
            |g, v| g.batch_norm(v[0], v[1], v[2], v[3], v[4], 0.125),
            |x| kiln_reference::batch_norm(&x[0], &x[1], &x[2], &x[3], &x[4], 0.125),
        );
    }
}

#[test]
fn without_weight_or_bias() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[2, 3, 5]), seeded("mean", &[3]), f32_tensor(&[3], vec![0.5, 1.0, 2.0])];
    gradient::conforms(
        gpu,
        "not affine",
        &operands,
        |g, v| g.batch_norm(v[0], v[1], v[2], None, None, 1e-5),
        |x| {
            let (ones, zeros) = (x[1].map(|_| 1.0), x[1].map(|_| 0.0));
            kiln_reference::batch_norm(&x[0], &x[1], &x[2], &ones, &zeros, f64::from(1e-5f32))
        },
    );
}
