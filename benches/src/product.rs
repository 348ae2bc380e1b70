//! Matrix products as a user gets them: a graph, whose constant right side is laid out at load.

use std::collections::HashMap;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor, Value};
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
    subject(gpu, "", [m, k, n], &[k, n], |g, x, weight| g.matmul(x, weight))
}

/// A linear layer on `[m x k]` with a weight of `[n x k]`, in f32 or packed in halves: named by the type and the kernel that
/// was chosen. Its weight takes 4 or 2 bytes a number.
///
/// # Errors
/// Those of [`Session::load`] and [`Session::run`].
pub fn linear(gpu: &Gpu, [m, k, n]: [usize; 3], halves: bool) -> Result<Subject<'static>, EngineError> {
    let name = if halves { "f16 " } else { "f32 " };
    subject(gpu, name, [m, k, n], &[n, k], |g, x, weight| {
        let weight = if halves { g.pack_half(weight)? } else { weight };
        g.linear(x, weight, None)
    })
}

/// Loads a graph of one product and runs it once, to run it again as a subject, named by its kernel.
fn subject(
    gpu: &Gpu,
    name: &str,
    [m, k, n]: [usize; 3],
    right: &[usize; 2],
    product: impl FnOnce(&mut GraphBuilder, Value, Value) -> Result<Value, EngineError>,
) -> Result<Subject<'static>, EngineError> {
    let mut g = GraphBuilder::new("product");
    let x = g.input("x", &[m, k], DType::F32);
    let weight = g.constant("weight", right);
    let y = product(&mut g, x, weight)?;
    g.output("y", y);
    let mut session = Session::new(gpu);
    let tensor = |shape: [usize; 2]| Tensor::f32(shape, numbers(shape[0] * shape[1]));
    let weights = HashMap::from([("weight".to_owned(), tensor(*right)?)]);
    let plan = session.load(&g.finish(), &weights)?;
    session.run(plan, &[("x", &tensor([m, k])?)])?;
    let kernel = session.plan(plan).dispatches().map(|dispatch| dispatch.kernel.to_string()).next();
    Ok(Subject {
        name: format!("{name}{}", kernel.unwrap_or_default()),
        flop: (2 * m * k * n) as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}
