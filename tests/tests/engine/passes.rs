//! Each pass leaves results unchanged: the same graph with and without it, on the device.

use std::collections::HashMap;

use kiln_engine::passes::{drop_dead, fuse_epilogue, hoist_constants, pack_weights, split_depth};
use kiln_engine::{DType, EngineError, Graph, GraphBuilder, Session, Tensor};
use kiln_gpu::{DeviceKind, DeviceProfile};
use kiln_tests::{data, device};

/// A block with everything that a pass looks for: an epilogue of all three parts, a constant expression, dead
/// nodes, and a product whose right side is no constant.
fn block() -> Result<(Graph, HashMap<String, Tensor>), EngineError> {
    let mut g = GraphBuilder::new("block");
    let x = g.input("x", &[13, 24], DType::F32);
    let (weight, bias) = (g.constant("weight", &[24, 24]), g.constant("bias", &[24]));
    let scale = g.constant("scale", &[24, 1]);
    let scaled = g.mul(weight, scale)?;
    let hidden = g.scope("mlp", |g| {
        let hidden = g.linear(x, scaled, Some(bias))?;
        let hidden = g.gelu(hidden)?;
        g.add(hidden, x)
    })?;
    g.exp(hidden)?;
    let scores = g.matmul_nt(hidden, x)?;
    let scores = g.softmax(scores, None, 1)?;
    g.output("scores", scores);
    g.output("hidden", hidden);
    let tensor = |name: &str, shape: &[usize]| -> Result<_, EngineError> {
        Ok((name.to_owned(), Tensor::f32(shape, data::uniform(name, shape.iter().product()))?))
    };
    let weights = [tensor("weight", &[24, 24])?, tensor("bias", &[24])?, tensor("scale", &[24, 1])?];
    Ok((g.finish(), HashMap::from(weights)))
}

fn run(graph: &Graph, weights: &HashMap<String, Tensor>) -> Result<Vec<Vec<f32>>, EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(vec![]) };
    let mut session = Session::new(gpu);
    let plan = session.load(graph, weights)?;
    let x = Tensor::f32([13, 24], data::uniform("x", 13 * 24))?;
    let outputs = session.run(plan, &[("x", &x)])?;
    ["scores", "hidden"].into_iter().map(|name| Ok(outputs[name].as_f32()?.to_vec())).collect()
}

fn assert_near(what: &str, got: &[Vec<f32>], expected: &[Vec<f32>]) {
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(got.len(), expected.len(), "{what}");
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let difference = (got - expected).abs();
            assert!(difference <= 1e-5, "{what}: element {index} is {got}, was {expected}");
        }
    }
}

#[test]
fn no_pass_changes_a_result() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let (graph, weights) = block()?;
    // A graph that no pass can touch, to compare with: every intermediate value is an output as well.
    let mut plain = graph.clone();
    plain.keep_all_values();
    let expected = run(&plain, &weights)?;
    assert!(expected[0].iter().any(|&number| number != 0.0));

    let fused = fuse_epilogue(&graph)?;
    assert!(fused.nodes().len() < graph.nodes().len());
    assert_near("fuse_epilogue", &run(&fused, &weights)?, &expected);

    let alive = drop_dead(&graph)?;
    assert_eq!(alive.nodes().len() + 1, graph.nodes().len());
    assert_near("drop_dead", &run(&alive, &weights)?, &expected);

    let packed = pack_weights(&graph, gpu.profile())?;
    assert_near("pack_weights", &run(&packed, &weights)?, &expected);

    let shallow = split_depth(&graph, gpu.profile())?;
    assert_eq!(shallow.nodes().len(), graph.nodes().len(), "nothing here is deep");

    let hoisted = hoist_constants(&graph)?;
    assert_eq!(hoisted.prepare.outputs().len(), 1);
    assert_near("all of them", &run(&graph, &weights)?, &expected);
    Ok(())
}

/// The epilogue of a product that is cut by its depth comes once, after the last part.
#[test]
fn a_deep_product_is_cut_and_its_epilogue_is_not() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let depth = 70_000;
    let mut g = GraphBuilder::new("deep");
    let x = g.input("x", &[2, depth], DType::F32);
    let (weight, bias) = (g.constant("weight", &[3, depth]), g.constant("bias", &[3]));
    let y = g.linear(x, weight, Some(bias))?;
    let y = g.relu(y)?;
    g.output("y", y);
    // Small integers, so that any order of additions gives the same sum, which the bias then makes negative.
    let ones = vec![1.0; 3 * depth];
    let weights = HashMap::from([
        ("weight".to_owned(), Tensor::f32([3, depth], ones.clone())?),
        ("bias".to_owned(), Tensor::f32([3], vec![1.0, -69_999.0, -70_001.0])?),
    ]);
    let profile = DeviceProfile { kind: DeviceKind::Cpu, ..gpu.profile().clone() };
    let mut session = Session::with_profile(gpu, profile);
    let plan = session.load(&g.finish(), &weights)?;
    let x = Tensor::f32([2, depth], ones[..2 * depth].to_vec())?;
    let outputs = session.run(plan, &[("x", &x)])?;
    assert_eq!(outputs["y"].as_f32()?, [70_001.0, 1.0, 0.0, 70_001.0, 1.0, 0.0]);
    Ok(())
}
