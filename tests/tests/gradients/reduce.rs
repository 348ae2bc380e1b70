//! Sums, means and maxima.

use kiln_engine::ops::Reduction;
use kiln_engine::{DType, EngineError, GraphBuilder, Session};
use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{device, gradient};

#[test]
fn over_any_dimensions() {
    let Some(gpu) = device::gpu() else { return };
    let shape = [3, 4, 5];
    for dims in [&[0][..], &[1], &[2], &[0, 2], &[1, 2], &[0, 1, 2]] {
        for keep_dim in [false, true] {
            for (reduction, oracle) in [
                (Reduction::Sum, kiln_reference::sum as fn(&kiln_reference::Array, &[usize], bool) -> _),
                (Reduction::Mean, kiln_reference::mean),
                (Reduction::Max, kiln_reference::max),
            ] {
                gradient::conforms(
                    gpu,
                    format!("{reduction:?} over {dims:?}, keep_dim {keep_dim}"),
                    &[seeded("x", &shape)],
                    |g, v| g.reduce(reduction, v[0], dims, keep_dim),
                    |x| oracle(&x[0], dims, keep_dim),
                );
            }
        }
    }
}

/// As `torch.amax` does.
#[test]
fn equal_maxima_share() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("ties");
    let x = g.input("x", &[4], DType::F32);
    let loss = g.max(x, &[0], false)?;
    let gradient = g.gradients(loss, &[x])?[0];
    g.output("gradient", gradient);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &std::collections::HashMap::new())?;
    let outputs = session.run(plan, &[("x", &f32_tensor(&[4], vec![1.0, 7.0, 7.0, -2.0]))])?;
    assert_eq!(outputs["gradient"].as_f32()?, [0.0, 0.5, 0.5, 0.0]);
    Ok(())
}
