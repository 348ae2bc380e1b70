//! A weight of 600 MB on a device with a 128 MiB binding and a 256 MiB buffer limit, for real.

use std::ops::Range;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor, TensorDesc, WeightError, WeightSource};
use kiln_gpu::{DeviceProfile, Limits};
use kiln_tests::{data, device};

const ROWS: usize = 6000;
const DEPTH: usize = 25_000;

/// Numbers made as they are asked for: no host copy of the whole exists.
struct Seeded;

impl WeightSource for Seeded {
    fn desc(&self, _: &str) -> Option<TensorDesc> {
        Some(TensorDesc::f32([ROWS, DEPTH]))
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        out.copy_from_slice(&data::uniform_from(name, elements.start, elements.len()));
        Ok(())
    }
}

#[test]
fn runs_in_pieces() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let own = gpu.profile().limits;
    let limits = Limits {
        max_binding: own.max_binding.min(128 << 20),
        max_buffer: own.max_buffer.min(256 << 20),
        ..own
    };
    let mut g = GraphBuilder::new("fc");
    let x = g.input("x", &[1, DEPTH], DType::F32);
    let weight = g.constant("weight", &[ROWS, DEPTH]);
    let y = g.linear(x, weight, None)?;
    g.output("y", y);
    assert_eq!(g.desc(weight).bytes(), 600_000_000);
    let mut session = Session::with_profile(gpu, DeviceProfile { limits, ..gpu.profile().clone() });
    let plan = session.load(&g.finish(), &Seeded)?;
    assert!(session.plan(plan).dispatches().count() >= 5, "{}", session.plan(plan));

    let x = data::uniform("x", DEPTH);
    let outputs = session.run(plan, &[("x", &Tensor::f32([1, DEPTH], x.clone())?)])?;
    let y = outputs["y"].as_f32()?;
    assert_eq!(y.len(), ROWS);
    // Rows on both sides of every cut, and some between: 1340 rows would fit a binding, 1280 are in a piece.
    for row in (0..ROWS).step_by(640).flat_map(|row| [row, row + 1, (row + ROWS - 1) % ROWS]) {
        let weights = data::uniform_from("weight", row * DEPTH, DEPTH);
        let terms = || weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
        let (expected, sum): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
        let bound = 64.0 * f64::from(f32::EPSILON) * sum;
        let difference = (f64::from(y[row]) - expected).abs();
        assert!(difference <= bound, "row {row}: got {}, expected {expected}, bound {bound}", y[row]);
    }
    Ok(())
}
