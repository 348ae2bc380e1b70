//! `kiln summary` and `kiln bench` as a user meets them.

mod common;

use common::{assert_refused, has_adapter, kiln, text};
use serde_json::Value;

fn succeeds(args: &[&str]) -> String {
    let output = kiln(args).output().expect("the binary should start");
    assert!(output.status.success(), "kiln {}: {}", args.join(" "), text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args)).expect("it should be JSON")
}

fn refused(args: &[&str], named: &str) {
    let output = kiln(args).output().expect("the binary should start");
    assert_refused(&output, named, &format!("kiln {}", args.join(" ")));
}

/// A summary needs no adapter: none is there.
fn summary(args: &[&str]) -> Value {
    let mut command = kiln(&[&["summary"], args, &["--json"]].concat());
    let output = command.env("KILN_ADAPTER", "none").output().expect("the binary should start");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it should be JSON")
}

#[test]
fn vgg16_is_what_the_paper_says() {
    let summary = summary(&["vgg16"]);
    let layers = summary["layers"].as_array().expect("there should be layers");
    let extents: Vec<u64> =
        layers.iter().map_while(|layer| layer["last_pool_extent"].get(0).and_then(Value::as_u64)).collect();
    #[rustfmt::skip]
    assert_eq!(
        extents,
        [
            212, 210, 210, 208, 208,
            104, 102, 102, 100, 100,
            50, 48, 48, 46, 46, 44, 44,
            22, 20, 20, 18, 18, 16, 16,
            8, 6, 6, 4, 4, 2, 2,
            1, // fc6 reads the pool itself
        ]
    );
    let kinds: Vec<&str> = layers.iter().filter_map(|layer| layer["kind"].as_str()).collect();
    assert_eq!((kinds[0], kinds[1], kinds[30], kinds[31]), ("conv2d", "relu", "max_pool2d", "linear"));
    assert_eq!(layers[30]["index"], 31);
    assert_eq!(layers[31]["name"], "fc6");
    // What one element of the last pool sees of the image, and how far apart its neighbours see.
    assert_eq!((&layers[30]["receptive_field"][0], &layers[30]["jump"][0]), (&212.into(), &32.0.into()));
    assert_eq!(summary["totals"]["parameters"], 138_357_544);
    assert_eq!(summary["totals"]["multiply_adds"], 15_470_264_320_u64);
    assert_eq!(summary["totals"]["weight_bytes"], 138_357_544_u64 * 4);
    assert_eq!(summary["notes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_table_says_the_same() {
    let table = succeeds(&["summary", "vgg16"]);
    let line = |start: &str| {
        let found = table.lines().find(|line| line.trim_start().starts_with(start));
        let found = found.unwrap_or_else(|| panic!("no line {start:?} in\n{table}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("1 "), "1 conv1_1 conv2d 3x3 padding 1 64x224x224 1,792 86.70 M 12.3 MiB 3 1 212");
    assert_eq!(line("31 "), "31 pool5 max_pool2d 2x2 stride 2 512x7x7 98 KiB 212 32 2");
    assert_eq!(line("32 "), "32 fc6 linear 4096 102,764,544 102.8 M 392.0 MiB 404 1");
    assert_eq!(line("parameters"), "parameters 138,357,544");
    assert_eq!(line("multiply-adds"), "multiply-adds 15.47 G");
    assert!(table.lines().all(|line| line.len() <= 120), "{table}");
}

#[test]
fn what_a_pool_drops_is_noted() {
    let summary = summary(&["vgg11_bn", "--input", "3x225x225"]);
    let notes = summary["notes"].as_array().expect("there should be notes");
    assert_eq!(
        notes[0],
        "max_pool2d \"pool1\": kernel 2x2 with stride 2 on 225x225 leaves a remainder of 1; output would be \
         floor((225-2)/2)+1 = 112"
    );
    let table = succeeds(&["summary", "vgg11_bn", "--input", "3x225x225"]);
    assert!(table.contains("\nnote: max_pool2d \"pool1\": kernel 2x2"), "{table}");
}

#[test]
fn a_sentence_encoder_has_a_summary_too() {
    let summary = summary(&["all-MiniLM-L6-v2", "--input", "16"]);
    assert_eq!(summary["totals"]["parameters"], 22_565_376);
    assert!(
        summary["layers"]
            .as_array()
            .expect("there should be layers")
            .iter()
            .all(|layer| { layer["receptive_field"].is_null() && layer["last_pool_extent"].is_null() })
    );
    // Six layers of four square products, two wide ones, and attention over 16 tokens.
    let products = 6 * 16 * (4 * 384 * 384 + 2 * 384 * 1536 + 2 * 16 * 384);
    assert_eq!(summary["totals"]["multiply_adds"], products);
    let table = succeeds(&["summary", "minilm"]);
    assert!(table.contains("layer5/attention/query") && !table.contains("jump"), "{table}");
}

#[test]
fn a_file_can_be_written() {
    let dir = tempfile::tempdir().expect("a directory should be made");
    let path = dir.path().join("summary.json").to_string_lossy().into_owned();
    assert_eq!(succeeds(&["summary", "vgg11", "--json", "-o", &path]), "");
    let written = std::fs::read(&path).expect("the file should be there");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("it should be JSON")["model"], "vgg11");
}

#[test]
fn mistakes_name_the_layer_or_the_option() {
    refused(&["summary", "alexnet"], "unknown network \"alexnet\": expected vgg11, vgg11_bn");
    refused(&["summary"], "<MODEL>");
    refused(&["summary", "vgg16", "--input", "224"], "input size 224: expected channels x height x width");
    refused(&["summary", "vgg16", "--input", "3x0x4"], "expected whole numbers with an x in between");
    refused(&["summary", "vgg16", "--input", "1x224x224"], "expected 3 channels, such as 3x224x224");
    refused(&["summary", "vgg16", "--input", "3x224x20"], "\"vgg16/pool5\": kernel width: expected at most");
    refused(&["summary", "vgg16", "--input", "3x4000000000x4000000000"], "conv1_1");
    refused(&["summary", "minilm", "--input", "1000"], "expected no more tokens");
    refused(&["bench", "vgg16", "--samples", "0"], "expected a whole number, 1 or more");
    refused(&["bench", "vgg16", "--batch", "0"], "expected a whole number, 1 or more");
    refused(
        &["bench", "vgg16", "--batch", "-1"],
        "'-1' for '--batch <N>': expected a whole number, 1 or more",
    );
    refused(&["bench", "alexnet"], "unknown network");
    refused(&["bench", "vgg16", "--input", "3x8x8"], "\"vgg16/pool4\"");
}

#[test]
fn a_bench_tells_best_and_median() {
    if !has_adapter() {
        return;
    }
    let args =
        ["bench", "all-MiniLM-L6-v2", "--input", "8", "--batch", "2", "--samples", "3", "--warmup", "1"];
    let report = json(&[&args[..], &["--json"]].concat());
    let (best, median) = (report["best_ms"].as_f64(), report["median_ms"].as_f64());
    assert!(best > Some(0.0) && best <= median, "{report}");
    assert_eq!(report["samples"], 3);
    assert!(report["load_ms"].as_f64() > Some(0.0) && report["first_ms"].as_f64() > Some(0.0), "{report}");
    let memory = |what: &str| report["memory"][what].as_u64().unwrap_or_else(|| panic!("{what} in {report}"));
    assert_eq!(memory("total"), memory("weights") + memory("variables") + memory("pooled"));
    assert!(memory("bound") <= memory("total") && memory("total") <= memory("peak"), "{report}");
    assert!(report["memory"]["ratio"].as_f64() <= Some(1.15), "{report}");
    assert!(report["adapter"].as_str().is_some_and(|adapter| !adapter.is_empty()), "{report}");
    let shown = succeeds(&args);
    assert!(
        shown.contains(" on the device: weights ") && shown.contains(" of the least possible\n"),
        "{shown}"
    );
    assert!(shown.starts_with("all-MiniLM-L6-v2, batch 2 of 8, seeded weights\n"), "{shown}");
    assert!(shown.contains(" texts/s") && shown.contains(" GFLOP/s"), "{shown}");
}
