//! Each pass leaves results unchanged: the same graph with and without it, on the device.

use std::collections::HashMap;

use kiln_engine::ops::ConvOptions;
use kiln_engine::passes::{
    conv_as_linear, drop_dead, fold_batch_norm, fuse_epilogue, hoist_constants, pack_weights, split_depth,
};
use kiln_engine::{DType, EngineError, Graph, GraphBuilder, Padding, Session, Tensor};
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

/// A residual block of convolutions with batch norms, and a fully connected layer written as a convolution.
fn image_block() -> Result<(Graph, HashMap<String, Tensor>), EngineError> {
    let mut g = GraphBuilder::new("block");
    let mut weights = HashMap::new();
    let mut weight = |g: &mut GraphBuilder, name: &str, shape: &[usize], offset: f32| {
        let numbers = data::uniform(name, shape.iter().product()).iter().map(|x| x + offset).collect();
        weights.insert(name.to_owned(), Tensor::f32(shape, numbers)?);
        Ok::<_, EngineError>(g.constant(name, shape))
    };
    let x = g.input("x", &[2, 6, 7, 5], DType::F32);
    let mut y = x;
    for (layer, biased) in [("first", true), ("second", false)] {
        let filter = weight(&mut g, &format!("{layer}.weight"), &[6, 3, 3, 3], 0.0)?;
        let bias = if biased { Some(weight(&mut g, &format!("{layer}.bias"), &[6], 0.0)?) } else { None };
        let options = ConvOptions { padding: Padding::all(1), groups: 2, ..Default::default() };
        y = g.scope(layer, |g| g.conv2d(y, filter, bias, options))?;
        let [mean, variance, scale, shift] =
            [("mean", 0.1), ("variance", 1.5), ("scale", 0.5), ("shift", 0.0)]
                .map(|(name, offset)| weight(&mut g, &format!("{layer}.norm.{name}"), &[6], offset));
        y = g.scope(layer, |g| g.batch_norm(y, mean?, variance?, scale?, shift?, 1e-5))?;
        y = g.relu(y)?;
    }
    let hidden = g.add(y, x)?;
    let (filter, bias) =
        (weight(&mut g, "fc.weight", &[4, 6, 7, 5], 0.0)?, weight(&mut g, "fc.bias", &[4], 0.0)?);
    let scores = g.conv2d(hidden, filter, Some(bias), ConvOptions::default())?;
    g.output("scores", scores);
    g.output("hidden", hidden);
    Ok((g.finish(), weights))
}

#[test]
fn no_pass_changes_a_convolution() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let (graph, weights) = image_block()?;
    let x = Tensor::f32([2, 6, 7, 5], data::uniform("x", 2 * 6 * 7 * 5))?;
    let run = |graph: &Graph| -> Result<Vec<Vec<f32>>, EngineError> {
        let mut session = Session::new(gpu);
        let plan = session.load(graph, &weights)?;
        let outputs = session.run(plan, &[("x", &x)])?;
        ["scores", "hidden"].into_iter().map(|name| Ok(outputs[name].as_f32()?.to_vec())).collect()
    };
    let mut plain = graph.clone();
    plain.keep_all_values();
    let expected = run(&plain)?;
    let names = |graph: &Graph| graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>();

    let folded = fold_batch_norm(&graph)?;
    assert!(!names(&folded).contains(&"batch_norm"), "{folded}");
    assert_near("fold_batch_norm", &run(&folded)?, &expected);

    let fused = fuse_epilogue(&folded)?;
    assert!(fused.to_string().contains("bias+Relu+residual"), "{fused}");
    assert_near("fuse_epilogue", &run(&fused)?, &expected);

    let linear = conv_as_linear(&graph)?;
    assert!(names(&linear).contains(&"matmul"), "{linear}");
    assert_near("conv_as_linear", &run(&linear)?, &expected);

    assert_near("pack_weights", &run(&pack_weights(&graph, gpu.profile())?)?, &expected);
    assert_near("all of them", &run(&graph)?, &expected);
    Ok(())
}

/// A fully connected layer gives the same bits however it is written.
#[test]
fn fully_connected_as_convolution_is_linear() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let x = Tensor::f32([3, 5, 7, 6], data::uniform("x", 3 * 5 * 7 * 6))?;
    let numbers = data::uniform("weight", 11 * 5 * 7 * 6);
    let run = |as_conv: bool| {
        let mut g = GraphBuilder::new("fc");
        let input = g.input("x", &[3, 5, 7, 6], DType::F32);
        let bias = g.constant("bias", &[11]);
        let y = if as_conv {
            let weight = g.constant("weight", &[11, 5, 7, 6]);
            g.conv2d(input, weight, Some(bias), ConvOptions::default())?
        } else {
            let (rows, weight) = (g.reshape(input, &[3, 210])?, g.constant("weight", &[11, 210]));
            g.linear(rows, weight, Some(bias))?
        };
        g.output("y", y);
        let shape: &[usize] = if as_conv { &[11, 5, 7, 6] } else { &[11, 210] };
        let weights = HashMap::from([
            ("weight".to_owned(), Tensor::f32(shape, numbers.clone())?),
            ("bias".to_owned(), Tensor::f32([11], data::uniform("bias", 11))?),
        ]);
        let mut session = Session::new(gpu);
        let plan = session.load(&g.finish(), &weights)?;
        let bits: Vec<u32> =
            session.run(plan, &[("x", &x)])?["y"].as_f32()?.iter().map(|x| x.to_bits()).collect();
        Ok::<_, EngineError>(bits)
    };
    assert_eq!(run(true)?, run(false)?);
    Ok(())
}
