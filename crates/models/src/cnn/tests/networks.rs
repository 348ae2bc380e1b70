//! Networks: names, tensors, modes, and other data.

use std::collections::HashSet;

use kiln_engine::Origin;
use kiln_engine::ops::Op;

use super::*;

/// From `sum(p.numel() for p in net.parameters())` of the same modules in PyTorch.
#[test]
fn parameters_are_as_many_as_pytorch_counts() {
    for (name, expected) in [
        ("base", 431_080),
        ("bn", 432_220),
        ("base-dropout", 431_080),
        ("sk", 442_210),
        ("sk-0.2", 18_834),
        ("sk-1.5", 989_635),
        ("convnet", 50_774),
        ("lenet", 61_706),
        ("resnet8", 78_042),
        ("mobilenet-tiny", 37_162),
        ("autoencoder", 13_557),
        ("xor", 33),
    ] {
        assert_eq!(parameters(&named(name)), expected, "{name}");
    }
}

#[test]
fn every_network_is_built_in_every_mode() {
    for name in Architecture::names() {
        let network = named(&name);
        let tensors = network.tensors();
        let names: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names.len(), tensors.len(), "{name}");
        let learned: Vec<&str> =
            tensors.iter().filter(|tensor| tensor.trainable).map(|tensor| tensor.name.as_str()).collect();

        let graph = network.graph(3).unwrap();
        graph.check().unwrap();
        assert_eq!(graph.desc(graph.outputs()[0].1).row_elements(), network.outputs(), "{name}");
        let constants = crate::weights::constants(&graph);
        let mut read: Vec<&str> = constants.iter().map(|(name, _)| name.as_str()).collect();
        let mut all: Vec<&str> = names.iter().copied().collect();
        read.sort_unstable();
        all.sort_unstable();
        assert_eq!(read, all, "{name}");

        for training in [false, true] {
            let mut g = GraphBuilder::new(&name);
            let x = network.declare(&mut g, 5);
            let random = g.input("random", &[4], DType::U32);
            let mode = if training { Mode::Training { random } } else { Mode::Variables };
            let built = network.build(&mut g, x, mode).unwrap();
            let given: Vec<&str> = built.parameters.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(given, learned, "{name}");
            let measured = if training { tensors.len() - learned.len() } else { 0 };
            assert_eq!(2 * built.statistics.len(), measured, "{name}");
            g.output("y", built.output);
            let graph = g.finish();
            graph.check().unwrap();
            let is_variable = |value: Value| matches!(graph.origin(value), Origin::Variable(_));
            assert!(built.parameters.iter().all(|(_, value)| is_variable(*value)));
            assert!(
                built.statistics.iter().all(|statistics| statistics.variables.into_iter().all(is_variable))
            );
        }
    }
}

#[test]
fn tensors_are_named_and_filled_as_in_pytorch() {
    let of =
        |name: &str| -> Vec<String> { named(name).tensors().into_iter().map(|tensor| tensor.name).collect() };
    assert_eq!(
        of("bn").join(" "),
        "conv1.weight conv1.bias bn1.weight bn1.bias bn1.running_mean bn1.running_var conv2.weight conv2.bias \
         bn2.weight bn2.bias bn2.running_mean bn2.running_var conv3.weight conv3.bias bn3.weight bn3.bias \
         bn3.running_mean bn3.running_var conv4.weight conv4.bias"
    );
    let resnet8 = of("resnet8");
    for name in
        ["block1.conv2.weight", "block3.shortcut.conv1.weight", "block3.shortcut.bn1.running_var", "fc1.bias"]
    {
        assert!(resnet8.iter().any(|known| known == name), "{name}: {resnet8:?}");
    }
    assert!(of("mobilenet-tiny").contains(&"block5.bn2.weight".to_owned()));
    assert_eq!(of("xor"), ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);

    let tensor = |network: &str, name: &str| {
        let tensor = named(network).tensors().into_iter().find(|tensor| tensor.name == name).unwrap();
        (tensor.shape, tensor.init, tensor.trainable)
    };
    let uniform = |fan_in: f64| Init::Uniform((1.0 / fan_in.sqrt()) as f32);
    assert_eq!(tensor("base", "conv2.weight"), (vec![50, 20, 5, 5], uniform(500.0), true));
    assert_eq!(tensor("base", "conv2.bias"), (vec![50], uniform(500.0), true));
    assert_eq!(tensor("convnet", "fc1.weight"), (vec![120, 400], uniform(400.0), true));
    assert_eq!(tensor("bn", "bn1.weight"), (vec![20], Init::Ones, true));
    assert_eq!(tensor("bn", "bn1.bias"), (vec![20], Init::Zeros, true));
    assert_eq!(tensor("bn", "bn1.running_mean"), (vec![20], Init::Zeros, false));
    assert_eq!(tensor("bn", "bn1.running_var"), (vec![20], Init::Ones, false));
    // A depthwise window, and a transposed one, of which PyTorch counts the outputs.
    assert_eq!(tensor("mobilenet-tiny", "block2.conv1.weight"), (vec![32, 1, 3, 3], uniform(9.0), true));
    assert_eq!(tensor("autoencoder", "deconv2.weight"), (vec![32, 16, 4, 4], uniform(256.0), true));
    assert_eq!(tensor("autoencoder", "deconv2.bias"), (vec![16], uniform(256.0), true));
}

#[test]
fn the_networks_are_the_issues() {
    assert_eq!(
        outline(&named("base")),
        [
            "conv1 conv2d [20, 24, 24]",
            "pool1 max_pool2d [20, 12, 12]",
            "conv2 conv2d [50, 8, 8]",
            "pool2 max_pool2d [50, 4, 4]",
            "conv3 conv2d [500, 1, 1]",
            "relu1 relu [500, 1, 1]",
            "conv4 conv2d [10, 1, 1]",
        ]
    );
    let kinds = |name: &str| -> String {
        let network = named(name);
        network.layers().iter().map(|layer| layer.kind.word()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        kinds("bn-dropout"),
        "conv2d batch_norm2d max_pool2d conv2d batch_norm2d max_pool2d conv2d batch_norm2d relu dropout conv2d \
         dropout flatten"
    );
    assert_eq!(
        outline(&named("sk-0.5")),
        [
            "conv1 conv2d [10, 26, 26]",
            "bn1 batch_norm [10, 26, 26]",
            "relu1 relu [10, 26, 26]",
            "conv2 conv2d [10, 24, 24]",
            "bn2 batch_norm [10, 24, 24]",
            "relu2 relu [10, 24, 24]",
            "pool1 max_pool2d [10, 12, 12]",
            "conv3 conv2d [25, 10, 10]",
            "bn3 batch_norm [25, 10, 10]",
            "relu3 relu [25, 10, 10]",
            "conv4 conv2d [25, 8, 8]",
            "bn4 batch_norm [25, 8, 8]",
            "relu4 relu [25, 8, 8]",
            "pool2 max_pool2d [25, 4, 4]",
            "conv5 conv2d [250, 1, 1]",
            "bn5 batch_norm [250, 1, 1]",
            "relu5 relu [250, 1, 1]",
            "conv6 conv2d [10, 1, 1]",
        ]
    );
    assert_eq!(
        outline(&named("convnet")),
        [
            "conv1 conv2d [3, 28, 28]",
            "relu1 relu [3, 28, 28]",
            "pool1 max_pool2d [3, 14, 14]",
            "conv2 conv2d [16, 10, 10]",
            "relu2 relu [16, 10, 10]",
            "pool2 avg_pool2d [16, 5, 5]",
            "fc1 linear [120]",
            "relu3 relu [120]",
            "fc2 linear [10]",
        ]
    );
    let resnet8 = outline(&named("resnet8")).join("; ");
    let second = "block2/conv1 conv2d [32, 16, 16]; block2/bn1 batch_norm [32, 16, 16]; block2/relu1 relu [32, 16, 16]; \
                  block2/conv2 conv2d [32, 16, 16]; block2/bn2 batch_norm [32, 16, 16]; \
                  block2/shortcut/conv1 conv2d [32, 16, 16]; block2/shortcut/bn1 batch_norm [32, 16, 16]; \
                  block2 add [32, 16, 16]; relu3 relu [32, 16, 16]";
    assert!(resnet8.contains(second), "{resnet8}");
    assert_eq!(outline(&named("xor")), ["fc1 linear [8]", "tanh1 tanh [8]", "fc2 linear [1]"]);
    assert_eq!(outline(&named("autoencoder")).last().unwrap(), "deconv3 conv_transpose2d [1, 28, 28]");
}

#[test]
fn any_scale_has_a_name() {
    let channels = |name: &str| -> Vec<usize> {
        let tensors = named(name).tensors().into_iter();
        tensors.filter(|tensor| tensor.shape.len() == 4).map(|tensor| tensor.shape[0]).collect()
    };
    assert_eq!(channels("sk"), [20, 20, 50, 50, 500, 10]);
    assert_eq!(channels("sk-0.2"), [4, 4, 10, 10, 100, 10]);
    assert_eq!(channels("sk-1.5"), [30, 30, 75, 75, 750, 10]);
    assert_eq!(channels("sk-0.33"), [7, 7, 17, 17, 165, 10]);
    assert_eq!(channels("sk-0.001"), [1, 1, 1, 1, 1, 10]);
    assert_eq!(named("sk-1.25").name(), "sk-1.25");
    for scale in ["", "0", "-1", "17", "nan", "inf", "1e1", "+2", "two", "."] {
        assert_eq!(
            Architecture::by_name(&format!("sk-{scale}")).unwrap_err().to_string(),
            format!("sk-{scale}: scale: expected a number above 0, at most 16, got {scale:?}")
        );
    }
    let unknown = Architecture::by_name("vgg16").unwrap_err();
    assert!(unknown.is_input_error());
    assert!(unknown.to_string().starts_with("unknown network \"vgg16\": expected base, bn, "), "{unknown}");
}

/// The network in training over a batch.
fn in_training(network: &Architecture, batch: usize) -> Result<(Graph, Built), ModelError> {
    let mut g = GraphBuilder::new(network.name());
    let x = network.declare(&mut g, batch);
    let random = g.input("random", &[4], DType::U32);
    let built = network.build(&mut g, x, Mode::Training { random })?;
    g.output("y", built.output);
    Ok((g.finish(), built))
}

#[test]
fn a_batch_moves_the_running_statistics() {
    let (graph, built) = in_training(&named("bn"), 100).unwrap();
    let factors: Vec<f32> = built.statistics.iter().flat_map(|statistics| statistics.factors).collect();
    let unbiased = |numbers: f64| (numbers / (numbers - 1.0)) as f32;
    assert_eq!(factors, [1.0, unbiased(57_600.0), 1.0, unbiased(6_400.0), 1.0, unbiased(100.0)]);
    assert!(built.statistics.iter().all(|statistics| statistics.momentum == 0.1));
    let name = |variable: Value| match graph.origin(variable) {
        Origin::Variable(name) => name.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(built.statistics[2].variables.map(name), ["bn3.running_mean", "bn3.running_var"]);

    let error = in_training(&named("bn"), 1).unwrap_err();
    assert!(error.is_input_error());
    assert_eq!(
        error.to_string(),
        "bn: layer 8 (batch_norm2d \"bn3\") on [N, 500, 1, 1]: batch: expected more than one value a channel in \
         training, got f32[1, 500, 1, 1]"
    );
}

#[test]
fn dropouts_are_numbered_and_stand_in_training_alone() {
    let text = little(
        r#""dropout", { layer = "dropout", p = 0 }, { layer = "residual", body = [{ layer = "dropout", p = 0.25 }] },
           "flatten", { layer = "dropout", p = 0.1 }"#,
    );
    let network = Architecture::parse(&text, "net.toml").unwrap();
    let dropouts = |graph: &Graph| -> Vec<(String, f32, u32)> {
        let nodes = graph.nodes().iter();
        let dropouts = nodes.filter_map(|node| match &node.op {
            Op::Dropout(op) => Some((node.path.clone(), op.p.get(), op.stream)),
            _ => None,
        });
        dropouts.collect()
    };
    let (graph, _) = in_training(&network, 2).unwrap();
    // One that drops nothing has its number all the same: the others draw what they would draw beside it.
    let expected = [("net/drop1", 0.5, 0), ("net/block1/drop1", 0.25, 2), ("net/drop3", 0.1, 3)];
    assert_eq!(dropouts(&graph), expected.map(|(path, p, stream)| (path.to_owned(), p, stream)));
    assert!(dropouts(&network.graph(2).unwrap()).is_empty());
}

#[test]
fn an_input_of_another_form_is_refused() {
    let network = named("lenet");
    let mut g = GraphBuilder::new("lenet");
    let x = g.input("x", &[2, 3, 28, 28], DType::F32);
    let error = network.build(&mut g, x, Mode::Constants).unwrap_err();
    assert_eq!(error.to_string(), "lenet: input: expected f32[N, 1, 28, 28], got f32[2, 3, 28, 28]");
    assert!(error.is_input_error());
    let x = g.input("u", &[2, 1, 28, 28], DType::U32);
    assert!(network.build(&mut g, x, Mode::Constants).is_err());
    let x = g.input("s", &[], DType::F32);
    assert!(network.build(&mut g, x, Mode::Constants).is_err());
}

#[test]
fn activations_take_the_place_of_every_relu() {
    let words = |network: &Architecture| outline(network).join("; ");
    for word in Activation::words() {
        let activation: Activation = word.parse().unwrap();
        let network = named("resnet8").with_activation(&activation);
        assert_eq!(words(&network).contains("relu1 relu"), word == "relu", "{word}");
        assert_eq!(parameters(&network), 78_042, "{word}");
        assert_eq!(Architecture::parse(&network.to_toml(), "again").unwrap(), network, "{word}");
    }
    let sigmoid = named("sk").with_activation(&"sigmoid".parse().unwrap());
    assert!(words(&sigmoid).contains("bn5 batch_norm [500, 1, 1]; sigmoid5 sigmoid"));
    assert_eq!(sigmoid.name(), "sk");
    let error = "sigmod".parse::<Activation>().unwrap_err();
    assert_eq!(error.to_string(), "activation: unknown word \"sigmod\", did you mean sigmoid?");
    assert!("conv2d".parse::<Activation>().is_err() && "prelu".parse::<Activation>().is_err());
}

#[test]
fn networks_are_adapted_to_other_data() {
    let adapt = |name: &str, input: [usize; 3], classes: usize| {
        let network = named(name).for_input(input, classes).map_err(|error| {
            assert!(error.is_input_error());
            error.to_string()
        })?;
        assert_eq!(network.input(), input);
        Ok::<_, String>(network)
    };
    for name in Architecture::names() {
        let network = named(&name);
        let classes = if name == "xor" { 2 } else { network.outputs() };
        assert_eq!(adapt(&name, network.input(), classes).unwrap(), network, "{name}");
    }
    for (name, input, classes) in [
        ("base", [3, 28, 28], 7),
        ("lenet", [3, 32, 32], 100),
        ("convnet", [1, 28, 28], 10),
        ("resnet8", [1, 28, 28], 10),
        ("mobilenet-tiny", [4, 64, 48], 2),
    ] {
        assert_eq!(adapt(name, input, classes).unwrap().outputs(), classes, "{name}");
    }
    assert_eq!(adapt("autoencoder", [3, 32, 32], 10).unwrap().outputs(), 3 * 32 * 32);
    assert!(adapt("xor", [5, 1, 1], 2).is_ok());

    assert_eq!(
        adapt("base", [3, 32, 32], 10).unwrap_err(),
        "base: input 3x32x32: expected an output for each of 10 classes, got 40, since the network is made for 1x28x28"
    );
    assert_eq!(
        adapt("base", [1, 20, 20], 10).unwrap_err(),
        "base for input 1x20x20: layer 5 (conv2d \"conv3\") on [N, 50, 2, 2]: kernel height: expected at most the \
         input's 2, got 4"
    );
    assert_eq!(
        adapt("autoencoder", [1, 30, 30], 10).unwrap_err(),
        "autoencoder for input 1x30x30: objective reconstruction: the last layer: expected the input's shape, \
         [N, 1, 30, 30], got [N, 1, 32, 32]"
    );
    assert_eq!(
        adapt("xor", [2, 1, 1], 3).unwrap_err(),
        "xor: objective binary: expected data of 2 classes, got 3"
    );
    assert!(adapt("lenet", [1, 28, 28], 1).unwrap_err().contains("at least 2 classes"));
    assert!(adapt("lenet", [1, 28, 28], 0).is_err());
    assert!(adapt("lenet", [0, 28, 28], 10).is_err());
    assert!(adapt("lenet", [usize::MAX; 3], 10).is_err());
}

#[test]
fn a_dense_autoencoder_is_adapted_too() {
    let text = r#"
        name = "dense"
        input = [1, 8, 8]
        objective = "reconstruction"
        layers = [
          "flatten", { layer = "linear", out_features = 5 }, "tanh", { layer = "linear", out_features = 64 },
          { layer = "unflatten", unflattened_size = [1, 8, 8] },
        ]
    "#;
    let network = Architecture::parse(text, "dense.toml").unwrap().for_input([2, 4, 3], 10).unwrap();
    assert_eq!(network.tensors()[2].shape, [24, 5]);
}
