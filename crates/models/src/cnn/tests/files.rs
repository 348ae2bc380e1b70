//! Files: what is read, what is written, and what is said of those that are wrong.

use super::*;

#[test]
fn texts_come_back() {
    for name in Architecture::names() {
        let network = named(&name);
        let text = network.to_toml();
        assert_eq!(Architecture::parse(&text, "file.toml").unwrap(), network, "{text}");
        let json = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), network, "{json}");
        let toml = toml::to_string(&network).unwrap();
        assert_eq!(toml::from_str::<Architecture>(&toml).unwrap(), network, "{toml}");
    }
    assert_eq!(
        named("lenet").to_toml(),
        r#"name = "lenet"
input = [1, 28, 28]
objective = "classification"
layers = [
  { layer = "conv2d", out_channels = 6, kernel_size = 5, padding = 2 },
  "relu",
  { layer = "max_pool2d", kernel_size = 2 },
  { layer = "conv2d", out_channels = 16, kernel_size = 5 },
  "relu",
  { layer = "max_pool2d", kernel_size = 2 },
  "flatten",
  { layer = "linear", out_features = 120 },
  "relu",
  { layer = "linear", out_features = 84 },
  "relu",
  { layer = "linear", out_features = 10 },
]

[training]
optimizer = "adam"
lr = 0.002
momentum = 0.0
weight_decay = 0.0
schedule = "cosine"
"#
    );
    assert!(named("resnet8").to_toml().contains(
        r#"
  { layer = "residual", body = [
    { layer = "conv2d", out_channels = 32, kernel_size = 3, stride = 2, padding = 1, bias = false },
    "batch_norm2d",
    "relu",
    { layer = "conv2d", out_channels = 32, kernel_size = 3, padding = 1, bias = false },
    "batch_norm2d",
  ], shortcut = [
    { layer = "conv2d", out_channels = 32, kernel_size = 1, stride = 2, bias = false },
    "batch_norm2d",
  ] },
"#
    ));
}

/// A file with every word and every option, which the tests of whole models hold against PyTorch.
const EVERYTHING: &str = include_str!("../../../../../assets/goldens/cnn/everything.toml");

#[test]
fn every_word_and_option_is_read_built_and_written() {
    let network = Architecture::parse(EVERYTHING, "some/every-thing.toml").unwrap();
    assert_eq!(network.name(), "every-thing");
    assert_eq!(network.outputs(), 3);
    let text = network.to_toml();
    assert_eq!(Architecture::parse(&text, "again").unwrap(), network, "{text}");
    for word in LayerKind::WORDS {
        assert!(EVERYTHING.contains(&format!("\"{word}\"")), "{word} should be in the text");
    }
    let mut lister = Lister::default();
    LayerKind::WORDS.iter().for_each(|word| LayerKind::blank(word).unwrap().fields(&mut lister));
    for option in &lister.0 {
        let name = option.split('`').nth(1).unwrap();
        assert!(EVERYTHING.contains(&format!("{name} = ")), "{name} should be in the text");
    }
    let names: Vec<String> = network.tensors().into_iter().map(|tensor| tensor.name).collect();
    for name in
        ["stem-1.weight", "conv1.weight", "conv2.bias", "prelu2.weight", "norm2.weight", "deconv1.weight"]
    {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
}

#[test]
fn a_wrong_layer_is_named_with_what_was_expected_and_what_came() {
    let conv = r#"{ layer = "conv2d", out_channels = 4, kernel_size = 3 }"#;
    let head = r#""flatten", { layer = "linear", out_features = 10 }"#;
    let table = [
        // Words.
        (format!(r#"{conv}, {{ layer = "conv3d" }}"#), r#"layer 2: unknown layer "conv3d", did you mean conv2d?"#),
        (r#""batchnorm2d""#.into(), r#"layer 1: unknown layer "batchnorm2d", did you mean batch_norm2d?"#),
        (r#""ReLU""#.into(), r#"layer 1: unknown layer "ReLU", did you mean relu?"#),
        (r#""maxpool2d""#.into(), r#"layer 1: unknown layer "maxpool2d", did you mean max_pool2d?"#),
        (
            r#"{ layer = "lstm", name = "memory" }"#.into(),
            "layer 1 (\"memory\"): unknown layer \"lstm\", expected one of conv2d, conv_transpose2d, linear, \
             batch_norm2d, batch_norm1d, group_norm, instance_norm2d, layer_norm, local_response_norm, relu, relu6, \
             sigmoid, tanh, silu, gelu, leaky_relu, elu, prelu, softplus, hardtanh, log_sigmoid, softshrink, \
             max_pool2d, avg_pool2d, adaptive_avg_pool2d, adaptive_max_pool2d, dropout, flatten, unflatten, upsample, \
             zero_pad2d, reflection_pad2d, replication_pad2d, channel_shuffle, sequential, residual",
        ),
        ("3".into(), "layer 1: expected a word or a table, got 3"),
        (r#"{ layer = 3 }"#.into(), "layer 1: layer: expected a word, got 3"),
        (r#"{ kernel_size = 3 }"#.into(), "layer 1: layer is missing: expected a word such as \"conv2d\""),
        (
            r#"{ layer = "relu", name = 3 }"#.into(),
            "layer 1 (relu): name: expected a text, got 3",
        ),
        // Options.
        (
            r#"{ layer = "conv2d", name = "stem", out_channels = 4, kernal_size = 3 }"#.into(),
            "layer 1 (conv2d \"stem\"): unknown option kernal_size, did you mean kernel_size?",
        ),
        (
            r#"{ layer = "conv2d", kernel_size = 3 }"#.into(),
            "layer 1 (conv2d): out_channels is missing: expected a whole number from 1 to 65536",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 0, kernel_size = 3 }"#.into(),
            "layer 1 (conv2d): out_channels: expected a whole number from 1 to 65536, got 0",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 4, kernel_size = "three" }"#.into(),
            "layer 1 (conv2d): kernel_size: expected a whole number from 1 to 65536, or [height, width], got \"three\"",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 4, kernel_size = [3, 3, 3] }"#.into(),
            "layer 1 (conv2d): kernel_size: expected a whole number from 1 to 65536, or [height, width], got [3, 3, 3]",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 4, kernel_size = 3, padding = "full" }"#.into(),
            "layer 1 (conv2d): padding: expected a whole number from 0 to 65536, [height, width], \"same\" or \
             \"valid\", got \"full\"",
        ),
        (
            r#"{ layer = "relu", inplace = true }"#.into(),
            "layer 1 (relu): unknown option inplace, there are none",
        ),
        (
            r#"{ layer = "dropout", p = 1.0 }"#.into(),
            "layer 1 (dropout): p: expected a number from 0, below 1, got 1.0",
        ),
        (
            r#"{ layer = "batch_norm2d", eps = nan }"#.into(),
            "layer 1 (batch_norm2d): eps: expected a number from 0, got nan",
        ),
        (
            r#"{ layer = "residual" }"#.into(),
            "layer 1 (residual): body is missing: expected a list of layers",
        ),
        (
            r#"{ layer = "residual", body = "relu" }"#.into(),
            "layer 1 (residual): body: expected a list of layers, got \"relu\"",
        ),
        (
            r#"{ layer = "residual", name = "skip", body = ["relu", { layer = "conv2d", out_channels = 1 }] }"#.into(),
            "layer 1 (residual \"skip\"): body layer 2 (conv2d): kernel_size is missing: expected a whole number from \
             1 to 65536, or [height, width]",
        ),
        // Names.
        (
            r#""relu", { layer = "relu", name = "a.b" }"#.into(),
            "layer 2 (relu): name: expected letters, digits, _ and -, got \"a.b\"",
        ),
        (
            r#"{ layer = "relu", name = "a" }, "tanh", { layer = "relu", name = "a" }"#.into(),
            "layer 3 (relu): name: \"a\" is taken by layer 1",
        ),
        (
            r#"{ layer = "residual", body = [{ layer = "relu", name = "shortcut" }] }"#.into(),
            "layer 1 (residual \"block1\") on [N, 1, 8, 8]: a layer of the body is called \"shortcut\", as the other \
             way is",
        ),
        // Shapes.
        (
            format!(r#"{conv}, {{ layer = "conv2d", name = "wide", out_channels = 4, kernel_size = 7 }}, {head}"#),
            "layer 2 (conv2d \"wide\") on [N, 4, 6, 6]: kernel height: expected at most the input's 6, got 7",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 4, kernel_size = 3, in_channels = 3 }"#.into(),
            "layer 1 (conv2d \"conv1\") on [N, 1, 8, 8]: in_channels: expected 1, as the input has, got 3",
        ),
        (
            format!(r#"{conv}, {{ layer = "conv2d", out_channels = 4, kernel_size = 3, groups = 3 }}"#),
            "layer 2 (conv2d \"conv2\") on [N, 4, 6, 6]: groups: expected a divisor of the input's 4 channels, got 3",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 4, kernel_size = 3, stride = 2, padding = "same" }"#.into(),
            "layer 1 (conv2d \"conv1\") on [N, 1, 8, 8]: padding \"same\": expected a stride of 1, got [2, 2]",
        ),
        (
            r#"{ layer = "conv_transpose2d", out_channels = 4, kernel_size = 3, groups = 3 }"#.into(),
            "layer 1 (conv_transpose2d \"deconv1\") on [N, 1, 8, 8]: groups: expected a divisor of the 4 \
             out_channels, got 3",
        ),
        (
            r#"{ layer = "linear", out_features = 10 }"#.into(),
            "layer 1 (linear \"fc1\") on [N, 1, 8, 8]: input: expected [N, features], which a flatten in front makes \
             of it",
        ),
        (
            format!(r#"{conv}, "flatten", {{ layer = "linear", out_features = 10, in_features = 400 }}"#),
            "layer 3 (linear \"fc1\") on [N, 144]: in_features: expected 144, as the input has, got 400",
        ),
        (
            format!(r#"{head}, {conv}"#),
            "layer 3 (conv2d \"conv1\") on [N, 10]: input: expected images, [N, channels, height, width]",
        ),
        (
            format!(r#"{conv}, {{ layer = "residual", body = [{conv}] }}, {head}"#),
            "layer 2 (residual \"block1\") on [N, 4, 6, 6]: body and shortcut: expected the same shape of both, got \
             [N, 4, 4, 4] of the body and [N, 4, 6, 6] of the shortcut",
        ),
        (
            format!(r#"{{ layer = "sequential", name = "stem", body = ["relu", "flatten", {conv}] }}"#),
            "layer 1 (sequential \"stem\") on [N, 1, 8, 8]: body layer 3 (conv2d \"conv1\") on [N, 64]: input: \
             expected images, [N, channels, height, width]",
        ),
        (
            r#""flatten", { layer = "unflatten", unflattened_size = [1, 7, 9] }"#.into(),
            "layer 2 (unflatten \"unflatten1\") on [N, 64]: unflattened_size: expected extents of 64 elements \
             together, got [1, 7, 9], which are 63",
        ),
        (
            r#"{ layer = "upsample" }"#.into(),
            "layer 1 (upsample \"upsample1\") on [N, 1, 8, 8]: expected size or scale_factor, got neither",
        ),
        (
            r#"{ layer = "upsample", size = 4, scale_factor = 2 }"#.into(),
            "layer 1 (upsample \"upsample1\") on [N, 1, 8, 8]: expected either size or scale_factor, got both",
        ),
        (
            r#"{ layer = "group_norm", num_groups = 2 }"#.into(),
            "layer 1 (group_norm \"norm1\") on [N, 1, 8, 8]: groups: expected a divisor of the 1 channels of \
             f32[1, 1, 8, 8], got 2",
        ),
        (
            r#"{ layer = "layer_norm", normalized_shape = [8, 7] }"#.into(),
            "layer 1 (layer_norm \"norm1\") on [N, 1, 8, 8]: normalized_shape: expected the last extents of \
             [1, 8, 8], got [8, 7]",
        ),
        (
            format!(r#"{conv}, {{ layer = "prelu", num_parameters = 3 }}"#),
            "layer 2 (prelu \"prelu1\") on [N, 4, 6, 6]: num_parameters: expected 1 or the input's 4 channels, got 3",
        ),
        (
            r#"{ layer = "conv2d", out_channels = 65536, kernel_size = 8, padding = 65536 }"#.into(),
            "layer 1 (conv2d \"conv1\") on [N, 1, 8, 8]: size: expected a tensor that a device can hold, got f32[1, \
             65536, 131073, 131073]",
        ),
        (
            r#""flatten", { layer = "linear", out_features = 65536 }, { layer = "linear", out_features = 65536 }"#.into(),
            "layer 3 (linear \"fc2\") on [N, 65536]: weight: expected 1 to 2147483648 elements, got a shape of [65536, \
             65536]",
        ),
        // The output.
        (
            conv.into(),
            "objective classification: the last layer: expected [N, classes] with at least 2 classes, got [N, 4, 6, 6]",
        ),
    ];
    for (layers, expected) in table {
        let error = Architecture::parse(&little(&layers), "net.toml").unwrap_err();
        assert!(error.is_input_error(), "{error}");
        assert_eq!(error.to_string(), format!("net.toml: {expected}"), "of {layers}");
    }
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong() {
    let layers = r#"layers = ["flatten", { layer = "linear", out_features = 10 }]"#;
    let input = "input = [1, 8, 8]";
    let table = [
        ("input = [1, 8\nlayers".into(), "line 2, column 1: not TOML: "),
        (
            layers.into(),
            "input is missing: expected [channels, height, width], each a whole number from 1 to 65536",
        ),
        (input.into(), "layers is missing: expected a list of layers"),
        (
            format!("input = [28, 28]\n{layers}"),
            "input: expected [channels, height, width], each a whole number from 1 to 65536, got [28, 28]",
        ),
        (format!("{input}\nlayers = 3"), "layers: expected a list of layers, got 3"),
        (format!("{input}\nlayer = []"), "unknown key layer, did you mean layers?"),
        (
            format!("{input}\n{layers}\n\"batch size\" = 3"),
            "unknown key \"batch size\", expected one of name, input, objective, training, layers",
        ),
        (
            format!("name = \"a/b\"\n{input}\n{layers}"),
            "name: expected letters, digits, _, - and ., got \"a/b\"",
        ),
        (
            format!("objective = \"clasification\"\n{input}\n{layers}"),
            "unknown objective \"clasification\", did you mean classification?",
        ),
        (
            format!("objective = 3\n{input}\n{layers}"),
            "objective: expected a word such as \"classification\", got 3",
        ),
        (
            format!("objective = \"binary\"\n{input}\n{layers}"),
            "objective binary: the last layer: expected [N, 1], got [N, 10]",
        ),
        (
            format!("objective = \"reconstruction\"\n{input}\n{layers}"),
            "objective reconstruction: the last layer: expected the input's shape, [N, 1, 8, 8], got [N, 10]",
        ),
        (format!("training = 3\n{input}\n{layers}"), "training: expected a table, got 3"),
        (
            format!("{input}\n{layers}\n[training]\nlearning_rate = 0.1"),
            "training: unknown option learning_rate, expected one of optimizer, lr, momentum, weight_decay, schedule",
        ),
        (
            format!("{input}\n{layers}\n[training]\noptimizer = \"sdg\""),
            "training: optimizer: expected \"sgd\", \"adam\", \"adamw\" or \"rmsprop\", got \"sdg\"",
        ),
        (format!("{input}\n{layers}\n[training]\nlr = 0"), "training: lr: expected a number above 0, got 0"),
        (
            format!("{input}\n{layers}\n[training]\nmomentum = 1"),
            "training: momentum: expected a number from 0, below 1, got 1",
        ),
    ];
    for (text, expected) in table {
        let text: String = text;
        let error = Architecture::parse(&text, "net.toml").unwrap_err().to_string();
        let expected = format!("net.toml: {expected}");
        // The rest is the parser's own.
        let is_same = if expected.ends_with(": ") { error.starts_with(&expected) } else { error == expected };
        assert!(is_same, "got      {error}\nexpected {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(
        Architecture::new("a b", [1, 8, 8], Objective::Binary, TrainingDefaults::default(), vec![]).is_err()
    );
}

#[test]
fn what_is_not_said_of_training_follows_from_the_optimizer() {
    for optimizer in OPTIMIZERS {
        let text = little(r#""flatten""#) + &format!("\n[training]\noptimizer = {optimizer:?}\nlr = 0.5");
        let network = Architecture::parse(&text, "net.toml").unwrap();
        let expected = TrainingDefaults { lr: 0.5, ..TrainingDefaults::of(optimizer).unwrap() };
        assert_eq!(*network.training(), expected);
        assert_eq!(expected.optimizer, optimizer);
        assert_eq!(Architecture::parse(&network.to_toml(), "again").unwrap().training(), &expected);
    }
    assert_eq!(TrainingDefaults::of("sdg"), None);
}

#[test]
fn weights_of_a_file_are_held_against_the_network() {
    use safetensors::tensor::{Dtype, TensorView};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let network = named("bn");
    let write = |more: &[(&str, Dtype, usize)], less: Option<&str>| {
        let tensors = network.tensors().into_iter().filter(|tensor| less != Some(tensor.name.as_str()));
        let own = tensors.map(|tensor| (tensor.name, Dtype::F32, tensor.shape));
        let more = more.iter().map(|(name, dtype, length)| ((*name).to_owned(), *dtype, vec![*length]));
        let all: Vec<(String, Dtype, Vec<usize>)> = own.chain(more).collect();
        let bytes = vec![0; 8 * 500 * 800];
        let views = all.iter().map(|(name, dtype, shape)| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (name, TensorView::new(*dtype, shape.clone(), &bytes[..size]).unwrap())
        });
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    };
    let message = || network.open_weights(&path).map(drop).map_err(|error| error.to_string());
    write(&[], None);
    assert!(message().is_ok());
    write(
        &[
            ("bn2.num_batches_tracked", Dtype::I64, 1),
            ("optimizer.momentum_buffer.conv1.weight", Dtype::F32, 500),
        ],
        None,
    );
    assert!(message().is_ok());
    write(&[("conv9.weight", Dtype::F32, 5)], Some("bn3.running_var"));
    let error = message().unwrap_err();
    assert!(error.ends_with("missing bn3.running_var; not known to the model conv9.weight"), "{error}");
}

#[test]
fn files_are_opened_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("small net.toml"), "input = [1, 2, 2]\nlayers = [\"flatten\"]").unwrap();
    let network = Architecture::load(path("small net.toml").to_str().unwrap()).unwrap();
    assert_eq!((network.name(), network.outputs()), ("small-net", 4));
    assert_eq!(*network.training(), TrainingDefaults::default());
    assert_eq!(Architecture::load("xor").unwrap(), named("xor"));

    let message = |path: &Path| {
        let error = Architecture::open(path).unwrap_err();
        assert!(error.is_input_error(), "{error}");
        error.to_string().replace(&path.display().to_string(), "FILE")
    };
    assert!(message(&path("absent.toml")).starts_with("FILE: No such file"));
    std::fs::write(path("bytes.toml"), [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(
        message(&path("bytes.toml")),
        "FILE: not a network: expected TOML, got bytes that are not UTF-8"
    );
    std::fs::write(path("large.toml"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_eq!(message(&path("large.toml")), "FILE: not a network: expected TOML of at most 1 MiB, got more");
    std::fs::write(path("deep.toml"), "layers = ".to_owned() + &"[".repeat(100_000)).unwrap();
    assert!(message(&path("deep.toml")).contains("not TOML"));
}

#[test]
fn the_examples_are_networks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/networks");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files += 1;
            let network = Architecture::open(&path).unwrap();
            assert_eq!(Some(network.name()), path.file_stem().and_then(|stem| stem.to_str()));
            network.graph(2).unwrap().check().unwrap();
        }
    }
    assert!(files >= 3, "{}: {files} examples", folder.display());
}
