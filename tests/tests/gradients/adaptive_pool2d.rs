//! Pooling to a given size, and to one number a plane.

use kiln_engine::{DType, EngineError, GraphBuilder, Session};
use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{device, gradient};

use crate::pool2d::apart;

#[test]
fn windows_that_share_the_plane() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([2, 3, 6, 8], [3, 4]),
        ([1, 2, 7, 10], [3, 4]),
        ([1, 2, 3, 4], [5, 7]),
        ([2, 2, 5, 7], [1, 3]),
        ([2, 3, 5, 6], [1, 1]),
    ] {
        gradient::conforms(
            gpu,
            format!("max of {shape:?} to {output:?}"),
            &[apart(&shape)],
            |g, v| g.adaptive_max_pool2d(v[0], output),
            |x| kiln_reference::adaptive_max_pool2d(&x[0], output),
        );
        gradient::conforms(
            gpu,
            format!("mean of {shape:?} to {output:?}"),
            &[seeded("x", &shape)],
            |g, v| g.adaptive_avg_pool2d(v[0], output),
            |x| kiln_reference::adaptive_avg_pool2d(&x[0], output),
        );
    }
}

/// Of equals the first takes it all, also where one window is the whole plane.
#[test]
fn the_first_of_equals() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let x = f32_tensor(&[1, 1, 2, 4], vec![0.0, 2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
    for (output, expected) in [
        ([1, 1], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ([1, 2], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ([2, 1], [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ] {
        let mut g = GraphBuilder::new("ties");
        let input = g.input("x", &[1, 1, 2, 4], DType::F32);
        let pooled = g.adaptive_max_pool2d(input, output)?;
        let loss = g.sum(pooled, &[0, 1, 2, 3], false)?;
        let gradient = g.gradients(loss, &[input])?[0];
        g.output("gradient", gradient);
        let mut session = Session::new(gpu);
        let plan = session.load(&g.finish(), &kiln_engine::NoWeights)?;
        let outputs = session.run(plan, &[("x", &x)])?;
        assert_eq!(outputs["gradient"].as_f32()?, expected, "to {output:?}");
    }
    Ok(())
}
