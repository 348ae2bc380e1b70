//! Softmax and its logarithm, with and without a mask.

use kiln_engine::ops::Softmax;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn over_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dim) in [(&[5][..], 0), (&[3, 7], 0), (&[3, 7], 1), (&[2, 5, 3], 1)] {
        for mask in [None, Some(&shape[shape.len() - 1..]), Some(shape)] {
            for log in [false, true] {
                let operands: Vec<_> = std::iter::once(seeded("x", shape))
                    .chain(mask.map(|mask| seeded("mask", mask)))
                    .collect();
                let oracle = if log { kiln_reference::log_softmax } else { kiln_reference::softmax };
                gradient::conforms(
                    gpu,
                    format!("softmax (log: {log}) over {dim} of {shape:?}, mask {mask:?}"),
                    &operands,
                    |g, v| g.apply(Softmax { dim, log }, v),
                    |x| oracle(&x[0], x.get(1), dim),
                );
            }
        }
    }
}
