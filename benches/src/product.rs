//! A matrix product as a user gets it: a graph, whose constant right side is laid out at load.

use std::collections::HashMap;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor};
use kiln_gpu::Gpu;

use crate::Subject;

/// Numbers in [-1, 1) without a pattern that a kernel could profit from.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// `[m x k] x [k x n]` through the engine, named by the kernel that was chosen.
///
/// # Errors
/// Those of [`Session::load`] and [`Session::run`].
pub fn product(gpu: &Gpu, [m, k, n]: [usize; 3]) -> Result<Subject<'static>, EngineError> {
    let mut g = GraphBuilder::new("product");
    let x = g.input("x", &[m, k], DType::F32);
    let weight = g.constant("weight", &[k, n]);
    let y = g.matmul(x, weight)?;
    g.output("y", y);
    let mut session = Session::new(gpu);
    let weights = HashMap::from([("weight".to_owned(), Tensor::f32([k, n], numbers(k * n))?)]);
    let plan = session.load(&g.finish(), &weights)?;
    session.run(plan, &[("x", &Tensor::f32([m, k], numbers(m * k))?)])?;
    let kernel = session.plan(plan).dispatches().map(|dispatch| dispatch.kernel.to_string()).next();
    Ok(Subject {
        name: kernel.unwrap_or_default(),
        flop: (2 * m * k * n) as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}
