//! Back-propagation that a course works out by hand, and xor in three relus: the numbers are theirs.

use std::collections::HashMap;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Value};
use kiln_tests::device;
use kiln_tests::graph::f32_tensor;

const WEIGHTS: [(&str, [usize; 2], &[f32]); 3] = [
    ("w1", [2, 3], &[2.0, -3.0, 0.0, -1.0, 1.0, 2.0]),
    ("w2", [2, 2], &[1.0, 2.0, 2.0, -2.0]),
    ("w3", [3, 2], &[-1.0, 2.0, 2.0, 1.0, 1.0, 2.0]),
];

/// Three layers without biases, a relu after each of the first two: the two hidden layers and the output.
fn layers(g: &mut GraphBuilder, x: Value, weights: &[Value]) -> Result<[Value; 3], EngineError> {
    let h1 = g.linear(x, weights[0], None)?;
    let h1 = g.relu(h1)?;
    let h2 = g.linear(h1, weights[1], None)?;
    let h2 = g.relu(h2)?;
    Ok([h1, h2, g.linear(h2, weights[2], None)?])
}

/// The values of the layers for an input, and the derivative of output `o1` by every weight and by the input.
struct Worked {
    layers: Vec<Vec<f32>>,
    derivatives: Vec<Vec<f32>>,
}

fn work_out(gpu: &kiln_gpu::Gpu, x: [f32; 3]) -> Result<Worked, EngineError> {
    let mut g = GraphBuilder::new("three_layers");
    let input = g.input("x", &[1, 3], DType::F32);
    let weights: Vec<Value> =
        WEIGHTS.iter().map(|(name, shape, _)| g.variable(name, shape, DType::F32)).collect();
    let values = layers(&mut g, input, &weights)?;
    let o1 = g.slice(values[2], 1, 0, 1)?;
    let wrt: Vec<Value> = weights.iter().copied().chain([input]).collect();
    let derivatives = g.gradients(o1, &wrt)?;
    for (prefix, values) in [("layer", &values[..]), ("derivative", &derivatives)] {
        for (index, value) in values.iter().enumerate() {
            g.output(&format!("{prefix}{index}"), *value);
        }
    }
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &HashMap::new())?;
    for (name, shape, data) in WEIGHTS {
        session.write_variable(name, &f32_tensor(&shape, data.to_vec()))?;
    }
    let outputs = session.run(plan, &[("x", &f32_tensor(&[1, 3], x.to_vec()))])?;
    let list = |prefix: &str, count: usize| {
        (0..count).map(|index| Ok(outputs[&*format!("{prefix}{index}")].as_f32()?.to_vec())).collect()
    };
    let (layers, derivatives): (Result<_, EngineError>, Result<_, EngineError>) =
        (list("layer", values.len()), list("derivative", derivatives.len()));
    Ok(Worked { layers: layers?, derivatives: derivatives? })
}

#[test]
fn three_layers_forward() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let worked = work_out(gpu, [1.0, 1.0, 1.0])?;
    assert_eq!(worked.layers, [vec![0.0, 2.0], vec![4.0, 0.0], vec![-4.0, 8.0, 4.0]]);
    Ok(())
}

/// Both hidden layers are active for this input, so the derivatives are products of the weights: that of o1 by the
/// first layer's is (3, -2) times the input.
#[test]
fn three_layers_backward() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let Worked { layers, derivatives } = work_out(gpu, [3.0, 1.0, 2.0])?;
    assert_eq!(layers, [vec![3.0, 2.0], vec![7.0, 2.0], vec![-3.0, 16.0, 11.0]]);
    let [w1, w2, w3, x] = &derivatives[..] else { panic!("four derivatives were asked for") };
    // Weight [2,2] of the first layer, counted from 1.
    assert_eq!(w1[4], -6.0);
    assert_eq!(*w1, [9.0, 3.0, 6.0, -18.0, -6.0, -12.0]);
    assert_eq!(*w2, [-3.0, -2.0, 6.0, 4.0]);
    assert_eq!(*w3, [7.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(*x, [12.0, -15.0, -12.0]);
    Ok(())
}

/// A relu that is not active lets nothing through: for (1, 1, 1) the second hidden unit of the second layer is off, and
/// so is the first of the first.
#[test]
fn an_inactive_unit_has_no_gradient() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let Worked { derivatives, .. } = work_out(gpu, [1.0, 1.0, 1.0])?;
    // o1 = -h2[1] = -2 h1[2], and h1[2] = w1[2] x.
    assert_eq!(derivatives[0], [0.0, 0.0, 0.0, -2.0, -2.0, -2.0]);
    assert_eq!(derivatives[1], [0.0, -2.0, 0.0, 0.0]);
    assert_eq!(derivatives[2], [4.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(derivatives[3], [2.0, -2.0, -4.0]);
    Ok(())
}

/// relu(x1 + x2), relu(x1 + x2 - 1), and of these relu(h1 - 2 h2).
#[test]
fn three_relus_compute_xor() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("xor");
    let x = g.input("x", &[4, 2], DType::F32);
    let (both, bias) = (g.literal(&[2, 2], &[1.0; 4])?, g.literal(&[2], &[0.0, -1.0])?);
    let hidden = g.linear(x, both, Some(bias))?;
    let hidden = g.relu(hidden)?;
    let last = g.literal(&[1, 2], &[1.0, -2.0])?;
    let y = g.linear(hidden, last, None)?;
    let y = g.relu(y)?;
    g.output("hidden", hidden);
    g.output("y", y);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &HashMap::new())?;
    let points = f32_tensor(&[4, 2], vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    let outputs = session.run(plan, &[("x", &points)])?;
    assert_eq!(outputs["hidden"].as_f32()?, [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 2.0, 1.0]);
    assert_eq!(outputs["y"].as_f32()?, [0.0, 1.0, 1.0, 0.0]);
    Ok(())
}
