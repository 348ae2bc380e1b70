//! `kiln classify` and `kiln features` as a user meets them. Weights are made up and as few as the layers need.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{assert_refused, has_adapter, kiln, text};
use kiln::Tensor;
use kiln::engine::WeightSource;
use kiln::models::image::{Image, Picture, Show, write_png};
use kiln::models::vgg::{VggConfig, to_safetensors};
use kiln::models::weights::Weights;
use kiln_tests::data;
use serde_json::{Value, json};

/// A folder with files to work on.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().expect("a folder should be made"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the folder should have a plain name").to_owned()
    }

    /// Tensors of seeded numbers.
    fn tensors(&self, name: &str, tensors: &[(&str, &[usize])]) -> String {
        let tensors: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, shape)| ((*name).to_owned(), seeded(name, shape))).collect();
        let path = self.path(name);
        fs::write(&path, to_safetensors(&tensors).expect("f32 should be written"))
            .expect("there should be room");
        path
    }

    /// The weights of the first block of VGG-16 and nothing else.
    fn block(&self) -> String {
        self.tensors("block1.safetensors", &BLOCK)
    }

    /// An image, wider than high.
    fn image(&self) -> String {
        let path = self.path("image.png");
        let values: Vec<f32> =
            data::uniform("image", 3 * 40 * 60).iter().map(|x| (x + 1.0) * 127.0).collect();
        let picture = Picture::from_planes(&values, [3, 40, 60], Show::Clamp, 255.0);
        write_png(Path::new(&path), &picture.expect("it should be a picture")).expect("there should be room");
        path
    }

    fn succeeds(&self, args: &[&str]) -> String {
        let output = kiln(args).output().expect("the binary should start");
        assert!(output.status.success(), "kiln {}: {}", args.join(" "), text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    fn refused(&self, args: &[&str], named: &str) {
        let output = kiln(args).env("KILN_CACHE", self.0.path()).output().expect("the binary should start");
        assert_refused(&output, named, &format!("kiln {}", args.join(" ")));
    }
}

const BLOCK: [(&str, &[usize]); 4] = [
    ("features.0.weight", &[64, 3, 3, 3]),
    ("features.0.bias", &[64]),
    ("features.2.weight", &[64, 64, 3, 3]),
    ("features.2.bias", &[64]),
];

fn seeded(name: &str, shape: &[usize]) -> Tensor {
    Tensor::f32(shape, data::uniform(name, shape.iter().product())).expect("it should be filled")
}

fn read(path: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let weights = Weights::open(Path::new(path)).expect("a safetensors file should be written");
    assert_eq!(weights.shape(name), Some(shape), "{name} among {:?}", weights.names());
    let mut values = vec![0.0; shape.iter().product()];
    weights.read(name, 0..values.len(), &mut values).expect("it should be whole");
    values
}

/// conv1_1 without its activation, by the definition.
fn conv1_1(x: &[f32], [batch, height, width]: [usize; 3]) -> Vec<f64> {
    let (weight, bias) = (data::uniform(BLOCK[0].0, 64 * 27), data::uniform(BLOCK[1].0, 64));
    let mut out = Vec::with_capacity(batch * 64 * height * width);
    for (n, oc, y, col) in (0..batch).flat_map(|n| {
        (0..64).flat_map(move |oc| (0..height).flat_map(move |y| (0..width).map(move |col| (n, oc, y, col))))
    }) {
        let mut sum = f64::from(bias[oc]);
        for (ic, ky, kx) in (0..27).map(|tap| (tap / 9, tap / 3 % 3, tap % 3)) {
            let (Some(row), Some(column)) = ((y + ky).checked_sub(1), (col + kx).checked_sub(1)) else {
                continue;
            };
            if row < height && column < width {
                let value = x[((n * 3 + ic) * height + row) * width + column];
                sum += f64::from(value) * f64::from(weight[((oc * 3 + ic) * 3 + ky) * 3 + kx]);
            }
        }
        out.push(sum);
    }
    out
}

#[test]
fn features_of_a_tensor_are_those_of_the_definition() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let (weights, out) = (bench.block(), bench.path("out.safetensors"));
    let input = bench.tensors("x.safetensors", &[("input", &[2, 3, 5, 7])]);
    let layers = ["--layer", "conv1_1", "--layer", "pool1", "--layer", "conv1_1.pre", "--layer", "conv1_1"];
    let args = ["features", "--tensor", &input, "--weights", &weights, "-o", &out];
    let told = bench.succeeds(&[&args[..], &layers].concat());
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 5, "{told}");
    assert!(
        lines[1].starts_with("conv1_1      2x64x5x7  ") && lines[2].starts_with("pool1        2x64x2x3  "),
        "{told}"
    );
    assert!(lines[4].contains("out.safetensors by vgg16 on "), "{told}");

    let expected = conv1_1(&data::uniform("input", 2 * 3 * 5 * 7), [2, 5, 7]);
    let before = read(&out, "conv1_1.pre", &[2, 64, 5, 7]);
    let after = read(&out, "conv1_1", &[2, 64, 5, 7]);
    for ((before, after), expected) in before.iter().zip(&after).zip(&expected) {
        assert!((f64::from(*before) - expected).abs() <= 1e-5, "{before} for {expected}");
        assert!((f64::from(*after) - expected.max(0.0)).abs() <= 1e-5, "{after} for {expected}");
    }
    assert!(read(&out, "pool1", &[2, 64, 2, 3]).iter().any(|value| *value > 0.0));
    let names = Weights::open(Path::new(&out)).expect("it should be read").names();
    assert_eq!(names.len(), 3, "each layer once: {names:?}");
}

#[test]
fn features_of_an_image_make_a_contact_sheet() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let (weights, image, out) = (bench.block(), bench.image(), bench.path("maps.png"));
    let told = bench.succeeds(&[
        "features",
        &image,
        "--model",
        "vgg16",
        "--layer",
        "conv1_1",
        "--weights",
        &weights,
        "-o",
        &out,
    ]);
    assert!(told.contains("conv1_1  1x64x224x224"), "{told}");
    let sheet = Image::open(Path::new(&out)).expect("it should be a picture");
    // 64 maps of 224x224 with a line between them and around.
    assert_eq!((sheet.width(), sheet.height()), (8 * 225 + 1, 8 * 225 + 1));
    let entries = fs::read_dir(bench.0.path()).expect("the folder should be read").count();
    assert_eq!(entries, 3, "nothing else should be left");
}

#[test]
fn what_cannot_be_is_refused() {
    let bench = Bench::new();
    let (weights, image) = (bench.block(), bench.image());
    let (tensors, sheet) = (bench.path("out.safetensors"), bench.path("out.png"));
    let features = |layer: &str, more: &[&str], named: &str| {
        let args = ["features", &image, "--layer", layer, "--weights", &weights];
        bench.refused(&[&args[..], more].concat(), named);
    };
    features(
        "conv1_3",
        &["-o", &tensors],
        "vgg16 has no layer \"conv1_3\"; the nearest are conv1_1, conv1_2 and ",
    );
    features("block5_conv3", &["-o", &tensors], "no layer \"block5_conv3\"; the nearest are ");
    features("pool1.pre", &["-o", &tensors], "no layer \"pool1.pre\"; the nearest are pool1, ");
    features(
        "conv1_1",
        &["-o", &bench.path("out.jpg")],
        "out.jpg: expected a name that ends in .safetensors or .png",
    );
    features("conv1_1", &["-o", &bench.path("no/out.png")], "cannot be written: no folder");
    features(
        "conv1_1",
        &["-o", &tensors, "--model", "alexnet"],
        "unknown network \"alexnet\": expected vgg11, ",
    );
    features("conv1_1", &[], "--output");
    bench.refused(&["features", &image, "-o", &sheet], "--layer");
    bench.refused(&["features", "--layer", "conv1_1", "-o", &sheet], "IMAGE");

    let words = bench.path("words.jpg");
    fs::write(&words, "not a picture at all\n").expect("there should be room");
    for args in [
        &["features", &words, "--layer", "conv1_1", "--weights", &weights, "-o", &sheet][..],
        &["classify", &image, &words],
    ] {
        bench.refused(args, "words.jpg: not an image (it holds text); expected JPEG, PNG or WebP");
    }
    bench.refused(&["classify", &bench.path("none.png")], "none.png: ");
    bench.refused(&["classify"], "<IMAGE>");
    bench.refused(&["classify", &image, "--top", "0"], "expected a whole number, 1 or more");
    bench.refused(&["classify", &image, "--model", "vgg16_nb"], "unknown network \"vgg16_nb\"");
    bench.refused(
        &["classify", &image, "--model", "vgg19"],
        "vgg19: the model store has no weights for it; name a file",
    );
    bench.refused(&["classify", &image], "model vgg16.tv_in1k not found: tried ");
    bench.refused(&["classify", &image, "--weights", &image], "image.png: not a safetensors file: ");
    bench.refused(&["classify", &image, "--weights", &bench.path("none")], "none: ");

    let with_input = |shape: &[usize], layer: &str, named: &str| {
        let input = bench.tensors("x.safetensors", &[("input", shape)]);
        let args = ["features", "--tensor", &input, "--weights", &weights, "--layer", layer, "-o", &tensors];
        bench.refused(&args, named);
    };
    with_input(
        &[3, 8, 8],
        "conv1_1",
        "x.safetensors: tensor \"input\": expected [N, C, H, W], got [3, 8, 8]",
    );
    let other = bench.tensors("y.safetensors", &[("image", &[1, 3, 8, 8])]);
    bench.refused(
        &["features", "--tensor", &other, "--weights", &weights, "--layer", "conv1_1", "-o", &tensors],
        "y.safetensors: expected a tensor \"input\" of [N, C, H, W], got image",
    );
    let left: Vec<PathBuf> = fs::read_dir(bench.0.path())
        .expect("the folder should be read")
        .map(|entry| entry.expect("it should be read").path())
        .filter(|path| path.to_string_lossy().contains("out.") || path.to_string_lossy().ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Before a model is fetched for them: there is none.
#[test]
fn what_the_network_cannot_read_is_refused_at_once() {
    let bench = Bench::new();
    let out = bench.path("out.png");
    let channels = "x.safetensors: vgg16 reads images of f32[N, 3, height, width], got f32[1, 4, 8, 8]";
    let width = "\"vgg16/pool1\": kernel width: expected at most the input's 1, got 2";
    for (shape, layer, named) in [(&[1, 4, 8, 8], "conv1_1", channels), (&[1, 3, 8, 1], "pool1", width)] {
        let input = bench.tensors("x.safetensors", &[("input", shape)]);
        bench.refused(&["features", "--tensor", &input, "--layer", layer, "-o", &out], named);
    }
    let strip = bench.path("strip.png");
    let picture =
        Picture::from(Image::from_rgb8("strip", 1, 20_000, vec![9; 60_000]).expect("it should be an image"));
    write_png(Path::new(&strip), &picture).expect("there should be room");
    let named = "strip.png: 1x20000 resized to 256x5120000 is 1310720000 pixels, over the limit";
    bench.refused(&["features", &strip, "--layer", "conv1_1", "-o", &out], named);
    bench.refused(&["classify", &bench.image(), &strip], named);
}

#[test]
fn a_layer_without_numbers_says_so() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let (weights, input, out) = (bench.block(), bench.path("nan.safetensors"), bench.path("out.safetensors"));
    let nan = Tensor::f32([1, 3, 4, 4], vec![f32::NAN; 48]).expect("it should be filled");
    let bytes = to_safetensors(&[("input".to_owned(), nan)]).expect("f32 should be written");
    fs::write(&input, bytes).expect("there should be room");
    let args = ["features", "--tensor", &input, "--weights", &weights, "--layer", "conv1_1", "-o", &out];
    let told = bench.succeeds(&args);
    assert_eq!(
        told.lines().nth(1).map(|line| line.split_whitespace().collect::<Vec<_>>()),
        Some(vec!["conv1_1", "1x64x4x4", "NaN", "NaN", "NaN"]),
        "{told}"
    );
}

/// Stderr of a command that names the differences of a weights file.
fn differences(args: &[&str]) -> Vec<String> {
    let output = kiln(args).output().expect("the binary should start");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    let lines: Vec<String> = stderr.lines().map(str::to_owned).collect();
    assert!(lines.len() <= 10 && lines[0].starts_with("error: "), "{stderr}");
    lines
}

#[test]
fn weights_of_another_network_are_named_in_ten_lines() {
    let bench = Bench::new();
    let (image, block) = (bench.image(), bench.block());
    let lines = differences(&["classify", &image, "--weights", &block]);
    assert!(
        lines[0].ends_with("block1.safetensors: wrong tensors for this model: 28 differences"),
        "{lines:?}"
    );
    assert_eq!(lines[1..3], ["  features.5.weight is missing", "  features.5.bias is missing"]);
    assert_eq!((lines.len(), lines[9].as_str()), (10, "  and 20 more"));

    let bert = bench.tensors(
        "bert.safetensors",
        &[
            ("embeddings.word_embeddings.weight", &[5, 4]),
            ("features.0.bias", &[3]),
            ("pooler.dense.bias", &[4]),
        ],
    );
    let lines = differences(&[
        "features",
        &image,
        "--layer",
        "conv1_1",
        "--weights",
        &bert,
        "-o",
        &bench.path("o.png"),
    ]);
    assert_eq!(
        lines[1..],
        [
            "  features.0.bias has shape [3], expected [64]",
            "  features.0.weight is missing",
            "  embeddings.word_embeddings.weight is not known to the model",
            "  pooler.dense.bias is not known to the model",
        ]
    );
}

/// The weights of a whole network, all zero but for the last bias: the file has a hole where they are. What comes out
/// is that bias.
fn network_of_zeros(path: &str, config: &VggConfig, bias: &[f32]) {
    let mut header = serde_json::Map::new();
    let (mut end, mut bias_at) = (0, 0);
    for (name, shape) in config.tensors().expect("the network should build") {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        if name == "classifier.6.bias" {
            bias_at = start;
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = Value::from(header).to_string();
    let mut file = fs::File::create(path).expect("the file should be made");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("there should be room");
    file.write_all(header.as_bytes()).expect("there should be room");
    let data = 8 + header.len() as u64;
    file.set_len(data + end as u64).expect("a hole needs no room");
    let bytes: Vec<u8> = bias.iter().flat_map(|value| value.to_le_bytes()).collect();
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(data + bias_at as u64)).expect("the file should be that long");
    file.write_all(&bytes).expect("there should be room");
}

/// What is said of an image whose name is no Unicode.
#[cfg(target_os = "linux")]
fn report_of_an_odd_name(bench: &Bench, image: &str, weights: &str) -> Value {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"odd\xff.png");
    fs::copy(image, bench.0.path().join(name)).expect("there should be room");
    let mut command = kiln(&["classify", "--model", "vgg11", "--weights", weights, "--json"]);
    let output = command.arg(name).current_dir(bench.0.path()).output().expect("the binary should start");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

#[test]
fn images_are_classified_in_a_batch() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let (image, weights) = (bench.image(), bench.path("zeros.safetensors"));
    let mut bias = vec![0.0; 1000];
    (bias[281], bias[207], bias[3]) = (8.0, 7.0, 6.0);
    let sum: f64 = bias.iter().map(|bias: &f32| f64::from(*bias).exp()).sum();
    network_of_zeros(&weights, &VggConfig::by_name("vgg11").expect("the name is known"), &bias);

    let args = ["classify", &image, &image, "--model", "vgg11", "--weights", &weights, "--top", "3"];
    let out = bench.path("classes.json");
    assert_eq!(bench.succeeds(&[&args[..], &["--json", "-o", &out]].concat()), "");
    let report: Value =
        serde_json::from_slice(&fs::read(&out).expect("it should be written")).expect("it is JSON");
    assert_eq!(report["model"], "vgg11");
    assert!(report["adapter"].as_str().is_some_and(|name| !name.is_empty()), "{report}");
    assert!(report["load_ms"].as_f64() > Some(0.0) && report["run_ms"].as_f64() > Some(0.0), "{report}");
    let images = report["images"].as_array().expect("there should be images");
    assert_eq!(images.len(), 2);
    #[cfg(target_os = "linux")]
    assert_eq!(report_of_an_odd_name(&bench, &image, &weights)["images"][0]["image"], "odd\u{fffd}.png");
    for row in images {
        assert_eq!(row["image"], image.as_str());
        let classes = row["classes"].as_array().expect("there should be classes");
        let expected = [(281, "tabby", 8.0), (207, "golden retriever", 7.0), (3, "tiger shark", 6.0f64)];
        assert_eq!(classes.len(), 3);
        for (class, (index, label, bias)) in classes.iter().zip(expected) {
            assert_eq!((&class["class"], &class["label"]), (&index.into(), &label.into()));
            let probability = class["probability"].as_f64().expect("it should be a number");
            assert!((probability - bias.exp() / sum).abs() <= 1e-5, "{class}");
        }
    }
}
