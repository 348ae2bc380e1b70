//! `kiln train`, `eval`, `classify --checkpoint`, `sweep` and `bench train` as a user meets them: a network of 100 weights,
//! on images of 6x6 pixels that the tests write. A test that needs an adapter where there is none reports itself as
//! skipped.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{assert_refused, has_adapter, kiln, text};
use kiln::Tensor;
use kiln::engine::WeightSource;
use kiln::models::image::{Image, Picture, Show, write_png};
use kiln::models::vgg::to_safetensors;
use kiln::models::weights::Weights;
use serde_json::Value;

const SIDE: usize = 6;
const CLASSES: [&str; 3] = ["left", "middle", "right side"];

const NETWORK: &str = r#"
name = "tiny"
input = [1, 6, 6]
layers = [
  { layer = "conv2d", out_channels = 4, kernel_size = 3 },
  "batch_norm2d",
  "relu",
  { layer = "max_pool2d", kernel_size = 2 },
  "flatten",
  { layer = "linear", out_features = 3 },
]
[training]
optimizer = "sgd"
lr = 0.05
momentum = 0.9
schedule = "cosine"
"#;

/// A folder to work in, with data and a network.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().expect("a folder should be made"));
        bench.write("tiny.toml", NETWORK);
        bench.idx("data", 90, 30);
        bench
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("it should be in a folder"))
            .expect("a folder should be made");
        fs::write(path, bytes).expect("there should be room");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    /// A data set of images with a bright column, whose place is the class.
    fn idx(&self, folder: &str, train: usize, test: usize) {
        for (part, count) in [("train", train), ("t10k", test)] {
            let label = |example: usize| (example * 7 + example / 5) % CLASSES.len();
            let pixels = (0..count).flat_map(|example| image(label(example), example));
            let header = |numbers: &[usize]| numbers.iter().flat_map(|n| (*n as u32).to_be_bytes()).collect();
            let mut images: Vec<u8> = header(&[0x803, count, SIDE, SIDE]);
            images.extend(pixels);
            let mut labels: Vec<u8> = header(&[0x801, count]);
            labels.extend((0..count).map(|example| label(example) as u8));
            self.write(&format!("{folder}/{part}-images-idx3-ubyte"), images);
            self.write(&format!("{folder}/{part}-labels-idx1-ubyte"), labels);
        }
        self.write(&format!("{folder}/classes.txt"), CLASSES.join("\n"));
    }

    /// One of its images as a PNG.
    fn png(&self, name: &str, class: usize) {
        let values: Vec<f32> = image(class, 3).map(f32::from).collect();
        let picture = Picture::from_planes(&values, [1, SIDE, SIDE], Show::Clamp, 255.0);
        let path = self.0.path().join(name);
        write_png(&path, &picture.expect("it should be a picture")).expect("there should be room");
    }

    /// The binary at work in the folder.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = kiln(args);
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary should start")
    }

    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "kiln {}: {}", args.join(" "), text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    #[track_caller]
    fn refused(&self, args: &[&str], named: &str) {
        assert_refused(&self.run(args), named, &format!("kiln {}", args.join(" ")));
    }

    /// Trains the network, with a few more options.
    #[track_caller]
    fn trains(&self, run: &str, more: &[&str]) -> String {
        self.succeeds(&[&["train", "-q", "--arch", "tiny.toml", "--data", "data", "-o", run], more].concat())
    }

    /// Expects two runs to have come to the same.
    #[track_caller]
    fn same(&self, one: &str, other: &str) {
        let files = ["last.safetensors", "best.safetensors", "config.toml", "curves.svg", "confusion.png"];
        for file in files {
            let (one, other) = (format!("{one}/{file}"), format!("{other}/{file}"));
            assert!(self.read(&one) == self.read(&other), "{one} and {other} differ");
        }
    }
}

/// An image with a bright column and some noise.
fn image(class: usize, example: usize) -> impl Iterator<Item = u8> {
    (0..SIDE * SIDE).map(move |pixel| {
        let noise = (pixel * 31 + example * 17 + pixel * example) % 50;
        (noise + if pixel % SIDE / 2 == class { 170 } else { 20 }) as u8
    })
}

/// Every line as JSON.
fn lines(jsonl: &str) -> Vec<Value> {
    jsonl.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn events(jsonl: &str) -> Vec<String> {
    let name = |line: &Value| line["event"].as_str().expect("an event should have a name").to_owned();
    lines(jsonl).iter().map(name).collect()
}

/// So many epochs that a process can be stopped in the middle.
const LONG: [&str; 4] = ["--epochs", "80", "--batch-size", "16"];

/// A process that trains and has so many epochs behind it.
fn started(bench: &Bench, args: &[&str], epochs: usize) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = bench.command(args);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary should start");
    let mut out = BufReader::new(child.stdout.take().expect("stdout should be piped"));
    let (mut seen, mut line) = (0, String::new());
    while seen < epochs {
        line.clear();
        assert!(out.read_line(&mut line).expect("stdout should be read") > 0, "it should get that far");
        seen += usize::from(line.contains("epoch "));
    }
    (child, out)
}

#[test]
fn a_run_leaves_all_that_it_came_to() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let args = ["train", "--arch", "tiny.toml", "--data", "data", "--epochs", "11", "--batch-size", "16"];
    let more = ["--validation", "0.2", "--augment", "crop1", "--optimizer", "adam", "--lr", "0.02"];
    let output = bench.run(&[&args[..], &more].concat());
    let (told, noted) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{noted}");
    // no progress where nobody watches, and notes beside the results
    assert!(noted.lines().all(|line| line.starts_with("note: ")) && !noted.contains('\r'), "{noted}");
    let first =
        "tiny: 99 parameters; 72 examples to train, 18 to validate, 30 to test; the run is in runs/tiny-0";
    assert_eq!(told.lines().next(), Some(first), "{told}");
    let epochs: Vec<&str> = told.lines().filter(|line| line.starts_with("epoch ")).collect();
    assert!(epochs.len() == 11 && epochs[0].starts_with("epoch  1/11  loss "), "{told}");
    let seconds = |line: &&str| line.find(" s").map(|end| &line[..end]).map(str::len);
    assert!(epochs.iter().all(|line| seconds(line) == seconds(&epochs[0])), "columns stand in line:\n{told}");
    let files = ["metrics.jsonl", "curves.svg", "confusion.png", "config.toml", "last.safetensors"];
    assert!(files.iter().all(|file| bench.has(&format!("runs/tiny-0/{file}"))));
    assert_eq!(fs::read_dir(bench.0.path().join("runs/tiny-0")).expect("it should be read").count(), 6);
    let metrics = lines(text(&bench.read("runs/tiny-0/metrics.jsonl")));
    assert_eq!(metrics.len(), 12);
    assert!(metrics[4]["validation"]["accuracy"].is_f64() && metrics[4]["lr"].is_f64());
    let picture = Image::decode(Path::new("confusion.png"), &bench.read("runs/tiny-0/confusion.png"));
    assert!(picture.expect("it should be a picture").width() > 100);

    // the last lines: what was found on the test part, and where the network is
    let error = metrics[11]["error"].as_f64().expect("the test should have an error");
    let tested = told.lines().find(|line| line.starts_with("test error ")).expect("the error should be told");
    assert!(tested.starts_with(&format!("test error {:.2} %, loss ", error * 100.0)), "{tested}");
    let last = told.lines().last().expect("there should be lines");
    assert!(last.starts_with("11 epochs, 55 steps; the network of epoch "), "{last}");
    assert!(last.ends_with(" is in runs/tiny-0/best.safetensors"), "{last}");

    // `kiln eval` comes to the same
    let eval =
        ["eval", "--checkpoint", "runs/tiny-0/best.safetensors", "--data", "data", "--batch-size", "16"];
    let report = bench.succeeds(&[&eval[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&report).expect("it should be JSON");
    assert_eq!(report["test_error"].as_f64(), Some(error));
    assert_eq!(report["loss"], metrics[11]["test"]["loss"]);
    let confusion: u64 = report["confusion"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|row| row.as_array().into_iter().flatten().filter_map(Value::as_u64))
        .sum();
    assert_eq!((confusion, &report["classes"][2]["class"]), (30, &Value::from("right side")));

    bench.refused(&args, "runs/tiny-0: there is a run already; --resume runs/tiny-0 goes on with it");
}

#[test]
fn json_lines_tell_every_event_and_equal_runs_are_equal() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let told = bench.trains("one", &["--epochs", "2", "--json"]);
    let expected = ["started", "epoch", "saved", "epoch", "saved", "evaluating", "finished"];
    assert_eq!(events(&told), expected);
    let last = lines(&told).pop().expect("there should be lines");
    assert_eq!((&last["steps"], &last["best"]), (&Value::from(2), &Value::from("one/best.safetensors")));
    bench.trains("two", &["--epochs", "2"]);
    bench.same("one", "two");
    bench.trains("other", &["--epochs", "2", "--seed", "1"]);
    assert!(bench.read("one/last.safetensors") != bench.read("other/last.safetensors"));
    // what is done can be looked at again, and nothing else comes of it
    let again = bench.succeeds(&["train", "-q", "--resume", "two", "--epochs", "2", "--arch", "tiny.toml"]);
    assert!(again.contains("all its steps are made"), "{again}");
    bench.same("one", "two");
    // other options are another run
    for (option, value, told) in [
        (
            "--epochs",
            "3",
            "two: the run cannot go on with other options: epochs is 2 in the run, 3 was given",
        ),
        ("--arch", "base", "the network is tiny in the run, base was given"),
        ("--data", "nowhere", "nowhere: no such folder"),
    ] {
        bench.refused(&["train", "--resume", "two", option, value], told);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_been() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    bench.trains("whole", &LONG);
    let args = ["train", "--arch", "tiny.toml", "--data", "data", "-o", "a run"];
    let mut args = [&args[..], &LONG].concat();
    for stop in 0..2 {
        let (child, out) = started(&bench, &args, 2);
        let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
        assert!(kill.expect("a shell should be there").success());
        let output = child.wait_with_output().expect("it should end");
        let noted = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "stop {stop}: {noted}");
        assert!(noted.ends_with("; to go on: kiln train --resume 'a run'\n"), "{noted}");
        drop(out);
        args = vec!["train", "--resume", "a run"];
    }
    let told = bench.succeeds(&["train", "-q", "--resume", "a run"]);
    assert!(told.contains("\ngoing on after step "), "{told}");
    bench.same("whole", "a run");
}

#[test]
fn a_killed_process_leaves_a_checkpoint_that_goes_on() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    bench.trains("whole", &LONG);
    let start = [&["train", "-q", "--arch", "tiny.toml", "--data", "data", "-o", "run"][..], &LONG].concat();
    let resume = ["train", "-q", "--resume", "run"];
    for (kill, milliseconds) in [3, 11, 26].into_iter().enumerate() {
        let args = if kill == 0 { &start[..] } else { &resume[..] };
        let (mut child, _out) = started(&bench, args, 1);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("it should be killed");
        child.wait().expect("it should end");
        bench.succeeds(&["eval", "-q", "--checkpoint", "run/last.safetensors", "--data", "data"]);
    }
    bench.succeeds(&resume);
    bench.same("whole", "run");
}

#[test]
fn nobody_reading_stops_the_run() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let args = ["train", "--arch", "tiny.toml", "--data", "data", "-o", "run"];
    let (child, out) = started(&bench, &[&args[..], &LONG].concat(), 1);
    drop(out);
    let output = child.wait_with_output().expect("it should end");
    let noted = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{noted}");
    assert!(noted.contains("to go on: kiln train --resume run"), "{noted}");
    assert!(lines(text(&bench.read("run/metrics.jsonl"))).len() < 80);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    let args = ["train", "-q", "--arch", "tiny.toml", "--data", "data", "-o", "run", "--lr", "1e37"];
    let output = bench.run(&[&args[..], &["--schedule", "constant", "--batch-size", "30"]].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: step ") && said.lines().count() == 1, "{said}");
    assert!(
        said.contains(" at a learning rate of 1e37; the last good checkpoint is run/last.safetensors (step ")
    );
}

#[test]
fn wrong_input_is_told_in_one_line() {
    let bench = Bench::new();
    bench.idx("short", 90, 30);
    bench.write("short/train-images-idx3-ubyte", &bench.read("data/train-images-idx3-ubyte")[..1000]);
    bench.idx("counts", 90, 30);
    bench.write("counts/t10k-labels-idx1-ubyte", [&[0, 0, 8, 1, 0, 0, 0, 29][..], &[0; 29]].concat());
    bench.idx("large", 4, 4);
    bench.write("empty/nothing.txt", "");
    for (name, from, to) in [
        ("layer.toml", "\"relu\"", "\"rellu\""),
        ("shapes.toml", "kernel_size = 3", "kernel_size = 9"),
        ("classes.toml", "out_features = 3", "out_features = 4"),
        ("schedule.toml", "cosine", "cosin"),
        ("rate.toml", "0.05", "-1.0"),
    ] {
        assert!(NETWORK.contains(from));
        bench.write(name, NETWORK.replace(from, to));
    }
    let of_network = |network| vec!["--arch", network, "--data", "data"];
    let of_data = |data| vec!["--arch", "tiny.toml", "--data", data];
    let with = |option, value| [of_data("data"), vec![option, value]].concat();
    let cases = [
        (vec![], "arguments were not provided: --arch <NAME|FILE.toml> --data <DIR>"),
        (vec!["--resume", "nowhere"], "nowhere: "),
        (vec!["--resume", "data"], "data: no run to go on with: last.safetensors is missing"),
        (of_data("nowhere"), "nowhere: no such folder; expected one with a data set"),
        (of_data("empty"), "empty: no data set in this folder"),
        (of_data("short"), "short/train-images-idx3-ubyte: truncated: expected 3256 bytes, found 1000"),
        (of_data("counts"), "counts/t10k-labels-idx1-ubyte: 29 labels, expected 30, one for each image of"),
        (of_data("xor"), "network tiny and data xor: the network reads examples of [1, 6, 6]"),
        (of_network("nowhere.toml"), "nowhere.toml: "),
        (of_network("resnet9"), "unknown network \"resnet9\" (did you mean resnet8?): expected base, "),
        (of_network("layer.toml"), "layer.toml: layer 3: unknown layer \"rellu\", did you mean relu?"),
        (
            of_network("shapes.toml"),
            "layer 1 (conv2d \"conv1\") on [N, 1, 6, 6]: kernel height: expected at most",
        ),
        (of_network("classes.toml"), "the network tells 4 classes apart, the data have 3"),
        (of_network("schedule.toml"), "network tiny: schedule \"cosin\": unknown word; known: constant, "),
        (of_network("rate.toml"), "rate.toml: training: lr: expected a number above 0, got -1"),
        (of_network("bn"), "bn for input 1x6x6: layer 4 (conv2d \"conv2\") on [N, 20, 1, 1]: kernel height"),
        (with("--optimizer", "adm"), "optimizer adm: expected one of sgd, adam, adamw, rmsprop"),
        (with("--schedule", "cosin"), "schedule \"cosin\": unknown word; known: constant"),
        (with("--augment", "flop"), "augmentation \"flop\": unknown word; known: flip"),
        (with("--augment", "crop9"), "augmentation \"crop9\": expected less than the 6x6 pixels"),
        (with("--activation", "sigmod"), "unknown word \"sigmod\", did you mean sigmoid?"),
        (with("--lr", "0"), "learning rate 0: expected a finite number above 0"),
        (with("--lr", "nan"), "learning rate NaN"),
        (with("--lr", "-1"), "learning rate -1"),
        (with("--lr", "much"), "'much' for '--lr <RATE>': expected a number"),
        (with("--momentum", "-0.5"), "momentum"),
        (with("--weight-decay", "nan"), "weight decay"),
        (with("--validation", "1"), "validation 1: expected a number from 0 to below 1"),
        (with("--batch-size", "0"), "'0' for '--batch-size <N>': expected a whole number, 1 or more"),
        (with("--epochs", "-3"), "'-3' for '--epochs <N>'"),
        (with("--train-limit", "91"), "data (training part): examples 0 to 91 were asked for, there are 90"),
        (with("--train-offset", "-1"), "'-1' for '--train-offset <N>': expected a whole number"),
        (with("--early-stop", "2"), "early stop 2: expected a validation part"),
        (with("--seed", "-1"), "'-1' for '--seed <N>': expected a whole number"),
        (with("-o", "empty"), "empty: not empty: it holds nothing.txt"),
        (with("-o", "tiny.toml"), "tiny.toml: "),
    ];
    for (args, named) in cases {
        bench.refused(&[vec!["train"], args].concat(), named);
    }
    assert!(!bench.has("runs"));
}

#[test]
fn a_pytorch_state_dict_is_tested_with_the_network_named() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    bench.trains("run", &["--epochs", "3"]);
    let weights = Weights::open(&bench.0.path().join("run/best.safetensors")).expect("it should open");
    let read = |name: String| {
        let shape = weights.shape(&name).expect("it should be there").to_vec();
        let mut values = vec![0.0; shape.iter().product()];
        weights.read(&name, 0..values.len(), &mut values).expect("it should be f32");
        (name, Tensor::f32(shape, values).expect("it should be filled"))
    };
    let foreign = |name: &String| name.starts_with("optimizer.") || name.ends_with("num_batches_tracked");
    let tensors: Vec<_> = weights.names().into_iter().filter(|name| !foreign(name)).map(read).collect();
    bench.write("torch.safetensors", to_safetensors(&tensors).expect("f32 should be written"));
    bench.write("part.safetensors", to_safetensors(&tensors[1..]).expect("f32 should be written"));

    let eval = |checkpoint: &'static str| vec!["eval", "-q", "--data", "data", "--checkpoint", checkpoint];
    let own = bench.succeeds(&eval("run/best.safetensors"));
    let table: Vec<&str> = own.lines().skip(2).take(4).collect();
    assert_eq!(table[0], "class       examples  right   recall  precision");
    assert!(table[1].starts_with("left ") && table[3].starts_with("right side "), "{own}");
    assert!(own.contains("\nclass (row) taken for (column)\n\n   class       "), "{own}");
    bench.refused(&eval("torch.safetensors"), "torch.safetensors: not written by Kiln: say with --arch");
    let named = |checkpoint, network| [eval(checkpoint), vec!["--arch", network]].concat();
    assert_eq!(bench.succeeds(&named("torch.safetensors", "tiny.toml")), own);
    assert_eq!(bench.succeeds(&named("run/best.safetensors", "tiny.toml")), own);
    bench.refused(&named("run/best.safetensors", "mobilenet-tny"), "(did you mean mobilenet-tiny?)");
    bench.refused(&named("part.safetensors", "tiny.toml"), "part.safetensors: wrong tensors for this model");
    bench.refused(&eval("tiny.toml"), "tiny.toml: not a safetensors file");
    bench.refused(&eval("nowhere"), "nowhere: ");
    bench.refused(
        &["eval", "--data", "xor", "--checkpoint", "run/best.safetensors"],
        "network tiny and data xor: the network reads examples of [1, 6, 6]",
    );
}

#[test]
fn a_network_known_by_name_is_fitted_to_the_data_when_tested_too() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    for (class, place) in [("high", 2), ("low", 0)] {
        fs::create_dir_all(bench.0.path().join("photos").join(class)).expect("a folder should be made");
        (0..3).for_each(|number| bench.png(&format!("photos/{class}/{number}.png"), place));
    }
    let run = ["train", "--arch", "lenet", "--data", "photos", "--epochs", "1", "-o", "run"];
    assert!(bench.succeeds(&run).contains("test error "));
    let eval = ["eval", "--checkpoint", "run/best.safetensors", "--data", "photos", "--arch", "lenet"];
    let told = bench.succeeds(&eval);
    assert!(told.contains("\nhigh ") && told.contains("lenet on 2 examples, on "), "{told}");
}

#[test]
fn images_are_classified_by_a_checkpoint() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    bench.trains("run", &["--epochs", "8", "--batch-size", "10"]);
    (0..3).for_each(|class| bench.png(&format!("{class}.png"), class));
    let checkpoint = ["--checkpoint", "run/best.safetensors"];
    let with = |args: &[&'static str]| [&["classify"][..], args, &checkpoint].concat();
    let told = bench.succeeds(&with(&["0.png", "1.png", "2.png"]));
    let best: Vec<&str> = told
        .lines()
        .zip(told.lines().skip(1))
        .filter(|(image, _)| image.ends_with(".png"))
        .filter_map(|(_, first)| first.split_once(" %  ").map(|(_, class)| class))
        .collect();
    assert_eq!(best, CLASSES, "{told}");
    let report: Value = serde_json::from_str(&bench.succeeds(&with(&["2.png", "--json", "--top", "2"])))
        .expect("it should be JSON");
    assert_eq!((&report["model"], &report["images"][0]["image"]), (&"tiny".into(), &"2.png".into()));
    let classes = report["images"][0]["classes"].as_array().expect("there should be classes");
    assert!(classes.len() == 2 && classes[0]["label"] == "right side" && classes[0]["class"] == 2);

    bench.refused(&with(&["tiny.toml"]), "tiny.toml: not an image");
    bench.refused(&with(&["nowhere.png"]), "nowhere.png: ");
    bench.refused(&with(&["0.png", "--model", "vgg16"]), "cannot be used with");
    bench.refused(&["classify", "0.png", "--checkpoint", "tiny.toml"], "tiny.toml: not a safetensors file");
    bench.succeeds(&["train", "--arch", "xor", "--data", "xor", "--epochs", "1", "-o", "xor-run"]);
    bench.refused(
        &["classify", "0.png", "--checkpoint", "xor-run/best.safetensors"],
        "it holds network xor, which reads 2 channels: images have 1 or 3",
    );
}

#[test]
fn an_autoencoder_shows_what_it_makes_of_images() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    for class in ["a", "b"] {
        fs::create_dir_all(bench.0.path().join("photos").join(class)).expect("a folder should be made");
        (0..4).for_each(|number| bench.png(&format!("photos/{class}/{number}.png"), number % 3));
    }
    let run = ["train", "--arch", "autoencoder", "--data", "photos", "--epochs", "2", "-o", "run"];
    let told = bench.succeeds(&run);
    assert!(told.contains("\ntest loss ") && !told.contains("accuracy"), "{told}");
    assert!(!bench.has("run/confusion.png"));
    let picture = Image::decode(Path::new("it"), &bench.read("run/reconstructions.png"));
    assert!(picture.expect("it should be a picture").height() > 2 * 28);
    let checkpoint = ["--checkpoint", "run/best.safetensors"];
    let told = bench.succeeds(&[&["eval", "--data", "photos"][..], &checkpoint].concat());
    assert!(told.starts_with("test loss ") && told.lines().count() == 2, "{told}");
    bench.refused(
        &[&["classify", "photos/a/0.png"][..], &checkpoint].concat(),
        "it holds network autoencoder, which does not tell classes",
    );
}

const SWEEP: &str = r#"
[common]
data = "data"
arch = "tiny.toml"
batch_size = 30

[[experiment]]
name = "sizes"
title = "Test error against the number of training images"
x = "train_limit"
epochs = 2
train_limit = [30, 60]
seed = [0, 1]

[[experiment]]
name = "long"
epochs = 100
activation = ["relu", "sigmoid"]
"#;

#[cfg(unix)]
#[test]
fn a_sweep_goes_on_where_it_was() {
    if !has_adapter() {
        return;
    }
    let bench = Bench::new();
    bench.write("grid.toml", SWEEP);
    let mut command = bench.command(&["sweep", "grid.toml"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary should start");
    let out = BufReader::new(child.stdout.take().expect("stdout should be piped"));
    // The long ones come last: the first of them is under way when four are done.
    let mut told = Vec::new();
    for line in out.lines() {
        told.push(line.expect("stdout should be read"));
        if told.len() == 4 {
            std::thread::sleep(Duration::from_millis(100));
            let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
            assert!(kill.expect("a shell should be there").success());
        }
    }
    let output = child.wait_with_output().expect("it should end");
    assert_eq!(output.status.code(), Some(130), "{told:?}: {}", text(&output.stderr));
    assert!(text(&output.stderr).ends_with("note: 4 of 6 runs done; the same command goes on\n"));
    assert!(told[4].starts_with("5/6  tiny") && told[4].ends_with("  interrupted"), "{told:?}");

    let again = bench.succeeds(&["sweep", "grid.toml"]);
    let lines: Vec<&str> = again.lines().collect();
    assert!(lines[..4].iter().all(|line| line.ends_with("  done before")), "{again}");
    assert!(lines[4..6].iter().all(|line| line.contains("  test error ")), "{again}");
    assert_eq!(lines[6], "6 of 6 runs done: grid/results.md");
    let results = bench.read("grid/results.md");
    let results = text(&results);
    assert!(
        results.contains("\n| train limit | 30 | 60 |\n|---|---:|---:|\n") && bench.has("grid/sizes.svg")
    );
    let events = events(&bench.succeeds(&["sweep", "grid.toml", "--json"]));
    assert_eq!(events, ["job", "job", "job", "job", "job", "job", "written"]);
}

#[test]
fn a_sweep_names_what_it_cannot_do() {
    let bench = Bench::new();
    for (name, from, to, told) in [
        ("word.toml", "epochs = 2", "epoch = 2", "word.toml: experiment \"sizes\": unknown field `epoch`"),
        ("network.toml", "\"tiny.toml\"", "\"bse\"", "unknown network \"bse\" (did you mean base?)"),
        ("value.toml", "epochs = 2", "epochs = 0", "experiment \"sizes\": epochs 0: expected at least 1"),
    ] {
        assert!(SWEEP.contains(from));
        bench.write(name, SWEEP.replacen(from, to, 1));
        bench.refused(&["sweep", name], told);
    }
    bench.refused(&["sweep", "nowhere.toml"], "nowhere.toml: ");
    bench.write("grid", SWEEP);
    bench.refused(&["sweep", "grid"], "grid: is a file; -o names a folder for the results");
    if !has_adapter() {
        return;
    }
    bench.write("nan.toml", SWEEP.replace("epochs = 2", "epochs = 2\nlr = [0.05, 1e37]").replace("100", "1"));
    let output = bench.run(&["sweep", "-q", "nan.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("error: 4 runs failed: "), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).ends_with("\n6 of 10 runs done: nan/results.md\n"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn training_is_measured() {
    let bench = Bench::new();
    bench.refused(&["bench", "train", "--arch", "xr"], "unknown network \"xr\"");
    bench.refused(&["bench", "train", "--samples", "0"], "'0' for '--samples <N>'");
    bench.refused(&["bench"], "arguments were not provided: <MODEL>");
    if !has_adapter() {
        return;
    }
    let measure = ["bench", "train", "--arch", "xor", "--samples", "2", "--warmup", "0", "--batch-size", "8"];
    let report: Value = serde_json::from_str(&bench.succeeds(&[&measure[..], &["--json"]].concat()))
        .expect("it should be JSON");
    assert_eq!(
        (&report["arch"], &report["batch_size"], &report["samples"]),
        (&"xor".into(), &8.into(), &2.into())
    );
    assert!(report["images_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    if report.get("forward").is_some() {
        let shares = ["forward", "backward", "update"].map(|part| report[part]["share"].as_f64());
        let all: f64 = shares.into_iter().flatten().sum();
        assert!((all - 1.0).abs() < 1e-6, "{report}");
    }
    let told = bench.succeeds(&measure);
    assert!(
        told.starts_with("training xor, batch 8\n") && told.contains(" images/s: a step takes "),
        "{told}"
    );
    assert!(told.lines().last().is_some_and(|last| last.starts_with("2 samples on ")), "{told}");
    let told = bench.succeeds(&["bench", "tiny.toml", "--samples", "1", "--warmup", "0"]);
    assert!(told.starts_with("tiny, batch 1 of 1x6x6, seeded weights\n"), "{told}");
}
