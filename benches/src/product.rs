//! Matrix products as a user gets them: a graph, whose constant right side is laid out at load.

use std::collections::HashMap;

use kiln_engine::ops::{Matmul, PANEL, RhsLayout};
use kiln_engine::{DType, Device, EngineError, GraphBuilder, Session, Tensor, Value};
use kiln_gpu::{BufferSlice, Command, Dispatch, Gpu, GpuError};
use kiln_kernels::matmul_naive;

use crate::Subject;

/// Numbers in [-1, 1) without a pattern that a kernel could profit from.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// `[m x k] x [k x n]` by a kernel with one invocation for each output, which loads all that it multiplies: the yardstick of
/// products. It has buffers of its own.
///
/// # Errors
/// Where the device has no room for them.
pub fn naive<'a>(gpu: &'a Gpu, [m, k, n]: [usize; 3]) -> Result<Subject<'a>, GpuError> {
    let lhs = gpu.create_buffer("lhs", (m * k * 4) as u64)?;
    let rhs = gpu.create_buffer("rhs", (k * n * 4) as u64)?;
    let output = gpu.create_buffer("output", (m * n * 4) as u64)?;
    for (buffer, count) in [(&lhs, m * k), (&rhs, k * n)] {
        let bytes: Vec<u8> = numbers(count).iter().flat_map(|number| number.to_le_bytes()).collect();
        gpu.write(buffer, 0, &bytes)?;
    }
    let params = matmul_naive::Params {
        rows: m as u32,
        cols: n as u32,
        depth: k as u32,
        batch: 1,
        lhs_row_stride: k as u32,
        lhs_k_stride: 1,
        rhs_k_stride: n as u32,
        rhs_col_stride: 1,
        piece_cols: n as u32,
        output_cols: n as u32,
        ..Default::default()
    };
    let variant = matmul_naive::Variant::Base;
    let slice = |buffer| BufferSlice { offset: 0, bytes: kiln_gpu::Buffer::bytes(buffer), buffer };
    let (lhs, rhs) = (slice(&lhs), slice(&rhs));
    let bindings =
        matmul_naive::Bindings { lhs, rhs, bias: lhs, residual: lhs, output: slice(&output) }.into_array();
    let recording = gpu.record(
        "naive",
        &[Command::Dispatch(Dispatch {
            label: "naive",
            kernel: variant.kernel(),
            overrides: &matmul_naive::Overrides::default().pairs(),
            params: bytemuck::bytes_of(&params),
            bindings: &bindings,
            workgroups: [((m * n) as u32).div_ceil(variant.threads()), 1, 1],
        })],
    )?;
    Ok(Subject {
        name: "naive kernel".to_owned(),
        flop: (2 * m * k * n) as f64,
        run: Box::new(move || {
            gpu.submit(&recording).expect("the naive kernel should run");
            gpu.wait().expect("the device should finish");
        }),
    })
}

/// `[m x k] x [k x n]` through the engine, named by the kernel that was chosen.
///
/// # Errors
/// Those of [`Session::load`] and [`Session::run`].
pub fn product(device: impl Into<Device>, [m, k, n]: [usize; 3]) -> Result<Subject<'static>, EngineError> {
    subject(device.into(), "", [m, k, n], &[k, n], |g, x, weight| g.matmul(x, weight))
}

/// A linear layer on `[m x k]` with a weight of `[n x k]`, in f32 or packed in halves: named by the type and the kernel that
/// was chosen. Its weight takes 4 or 2 bytes a number.
///
/// # Errors
/// Those of [`Session::load`] and [`Session::run`].
pub fn linear(gpu: &Gpu, [m, k, n]: [usize; 3], halves: bool) -> Result<Subject<'static>, EngineError> {
    let name = if halves { "f16 " } else { "f32 " };
    subject(gpu.into(), name, [m, k, n], &[n, k], |g, x, weight| {
        let weight = if halves { g.pack_half(weight)? } else { weight };
        g.linear(x, weight, None)
    })
}

/// The products `[m x k] x [k x n]` of a batch, as the convolutions by Winograd have them: constant left sides, and right
/// sides that come in panels; 8 divides n. Named by the kernel that was chosen.
///
/// # Errors
/// Those of [`Session::load`] and [`Session::run`].
pub fn batched(
    device: impl Into<Device>,
    batch: usize,
    [m, k, n]: [usize; 3],
) -> Result<Subject<'static>, EngineError> {
    let mut g = GraphBuilder::new("products");
    let weight = g.constant("weight", &[batch, m, k]);
    let panels = [batch, n / PANEL, k, PANEL];
    let x = g.input("x", &panels, DType::F32);
    let y = g.apply(Matmul::with_rhs(RhsLayout::Panels { cols: n }), &[weight, x])?;
    g.output("y", y);
    let mut session = Session::new(device);
    let weights = HashMap::from([("weight".to_owned(), Tensor::f32([batch, m, k], numbers(batch * m * k))?)]);
    let plan = session.load(&g.finish(), &weights)?;
    session.run(plan, &[("x", &Tensor::f32(panels, numbers(batch * k * n))?)])?;
    let kernel = session.plan(plan).dispatches().map(|dispatch| dispatch.kernel.to_string()).next();
    Ok(Subject {
        name: kernel.unwrap_or_default(),
        flop: (2 * batch * m * k * n) as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}

/// Loads a graph of one product and runs it once, to run it again as a subject, named by its kernel.
fn subject(
    device: Device,
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
    let mut session = Session::new(device);
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
