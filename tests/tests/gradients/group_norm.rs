//! Group and instance normalisation.

use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn every_input() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, groups) in [
        (&[3, 4][..], 2),
        (&[2, 6, 5], 3),
        (&[2, 6, 5], 1),
        (&[2, 3, 7], 3),
        (&[1, 4, 3, 4], 2),
        (&[2, 2, 2, 3, 2], 1),
    ] {
        let operands = [seeded("x", shape), seeded("weight", &[shape[1]]), seeded("bias", &[shape[1]])];
        gradient::conforms(
            gpu,
            format!("{shape:?} in {groups} groups"),
            &operands,
            |g, v| g.group_norm(v[0], groups, v[1], v[2], 1e-3),
            |x| kiln_reference::group_norm(&x[0], groups, &x[1], &x[2], f64::from(1e-3f32)),
        );
    }
}

#[test]
fn by_instance_without_weight_or_bias() {
    let Some(gpu) = device::gpu() else { return };
    gradient::conforms(
        gpu,
        "instance norm",
        &[seeded("x", &[2, 3, 3, 5])],
        |g, v| g.instance_norm(v[0], None, None, 1e-3),
        |x| {
            let ones = kiln_reference::Array::new(&[3], vec![1.0; 3]);
            kiln_reference::group_norm(&x[0], 3, &ones, &ones.map(|_| 0.0), f64::from(1e-3f32))
        },
    );
}
