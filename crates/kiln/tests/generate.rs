//! `kiln generate` and `kiln bench t5` as a user meets them, with a model of a few kilobytes that the tests write. A test
//! that needs an adapter where there is none reports itself as skipped.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{assert_refused, has_adapter, kiln, text};
use kiln_tests::t5::{Form, Geometry};
use serde_json::Value;

/// A folder with a model.
struct Model(tempfile::TempDir);

impl Model {
    fn new() -> Model {
        let dir = tempfile::tempdir().expect("a folder should be made");
        Geometry::TINY.write(dir.path(), Form::F32).expect("the model should be written");
        Model(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn generate(&self, args: &[&str]) -> Output {
        let dir = self.path().to_str().expect("the path should be text");
        kiln(&[&["generate", "--model", dir][..], args].concat()).output().expect("kiln should start")
    }

    /// The report of `--json`.
    fn report(&self, args: &[&str]) -> Value {
        let output = self.generate(&[&["--json"][..], args].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it should be one JSON document")
    }
}

const PROMPT: &str = "the river and the kiln";

#[test]
fn a_text_is_printed_alone_and_told_about_beside_it() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let args = [PROMPT, "--max-new-tokens", "12"];
    let report = model.report(&args);
    let told = &report["texts"][0];
    assert_eq!(told["prompt"], PROMPT);
    let ids = told["ids"].as_array().expect("there should be ids");
    assert!((1..=12).contains(&ids.len()), "{report}");
    assert_eq!(told["finish"], if ids.last() == Some(&1.into()) { "eos" } else { "length" });
    assert!(told["prompt_tokens"].as_u64() > Some(1) && told.get("score").is_none(), "{report}");
    assert_eq!(report["precision"], "f32");
    assert!(report["processing_time"].as_f64() > Some(0.0) && report["adapter"].is_string());

    let output = model.generate(&args);
    let printed = text(&output.stdout);
    assert_eq!(printed.strip_suffix('\n'), told["text"].as_str());
    let note = text(&output.stderr);
    assert!(note.contains("tokens in") && note.contains(report["adapter"].as_str().unwrap_or("?")), "{note}");
    assert_eq!(printed, text(&model.generate(&args).stdout), "twice the same");
    let quiet = model.generate(&[&args[..], &["-q"]].concat());
    assert!(quiet.stderr.is_empty(), "{}", text(&quiet.stderr));

    let file = model.path().join("out.txt");
    let file = file.to_str().expect("the path should be text");
    let output = model.generate(&[&args[..], &["-o", file]].concat());
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(file).expect("the file should be there"), printed);
}

#[test]
fn prompts_in_company_get_what_they_get_alone() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let prompts = [PROMPT, "clay", "a long winter was behind the town and its people"];
    for options in [&["--max-new-tokens", "8"][..], &["--max-new-tokens", "8", "--beams", "3"]] {
        let together = model.report(&[&prompts[..], options].concat());
        for (index, prompt) in prompts.iter().enumerate() {
            let alone = model.report(&[&[*prompt][..], options].concat());
            assert_eq!(together["texts"][index]["ids"], alone["texts"][0]["ids"], "{prompt} {options:?}");
        }
        let scored = together["texts"][0].get("score").is_some();
        assert_eq!(scored, options.contains(&"--beams"));
        let output = model.generate(&[&prompts[..], options].concat());
        assert_eq!(text(&output.stdout).lines().count(), prompts.len());
    }
}

/// More than grow together: they are taken in turns.
#[test]
fn many_prompts_are_each_what_they_are_alone_and_draw_for_themselves() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let prompts: Vec<String> = (0..18).map(|at| format!("{PROMPT} {}", "clay ".repeat(at % 5))).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let length = &["--max-new-tokens", "6"][..];
    let together = model.report(&[&prompts[..], length].concat());
    for at in [0, 15, 16, 17] {
        let alone = model.report(&[&[prompts[at]][..], length].concat());
        assert_eq!(together["texts"][at]["ids"], alone["texts"][0]["ids"], "{at}");
    }
    let same = [PROMPT; 18];
    let drawn = model.report(&[&same[..], length, &["--sample", "--temperature", "2"]].concat());
    assert_ne!(drawn["texts"][0]["ids"], drawn["texts"][16]["ids"], "a later turn draws anew");
}

#[test]
fn the_decoder_starts_from_what_the_configuration_says() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let args = [PROMPT, "--max-new-tokens", "6"];
    let before = model.report(&args);
    let path = model.path().join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&path).expect("it was written")).expect("it is JSON");
    let mut with = |name: &str, id: u32| {
        config[name] = id.into();
        fs::write(&path, config.to_string()).expect("it should be written");
        model.report(&args)["texts"][0]["ids"].clone()
    };
    assert_eq!(with("decoder_start_token_id", 0), before["texts"][0]["ids"]);
    assert_eq!(with("pad_token_id", 9), before["texts"][0]["ids"], "padding is not what it starts from");
    assert_ne!(with("decoder_start_token_id", 7), before["texts"][0]["ids"]);
}

#[test]
fn standard_input_is_a_prompt() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let dir = model.path().to_str().expect("the path should be text");
    let mut child = kiln(&["generate", "-q", "--model", dir, "--max-new-tokens", "6", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln should start");
    writeln!(child.stdin.take().expect("stdin should be open"), "{PROMPT}").expect("it should be read");
    let output = child.wait_with_output().expect("kiln should end");
    assert_eq!(output.stdout, model.generate(&[PROMPT, "--max-new-tokens", "6"]).stdout);
}

#[test]
fn a_seed_says_what_is_drawn() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let draw = |seed: &str| {
        let args = [PROMPT, "--sample", "--temperature", "1.5", "--max-new-tokens", "16", "--seed", seed];
        model.report(&args)["texts"][0]["ids"].clone()
    };
    assert_eq!(draw("1"), draw("1"));
    assert!(["2", "3", "4"].iter().any(|seed| draw(seed) != draw("1")), "four seeds, one text");
}

#[test]
fn half_precision_generates_too() {
    if !has_adapter() {
        return;
    }
    let report = Model::new().report(&[PROMPT, "--precision", "f16", "--max-new-tokens", "5"]);
    assert_eq!(report["precision"], "f16");
    assert!(report["texts"][0]["ids"].as_array().is_some_and(|ids| !ids.is_empty()), "{report}");
}

#[test]
fn a_prompt_longer_than_the_window_is_refused_or_cut() {
    let model = Model::new();
    let long = "river ".repeat(10_001);
    let refused = model.generate(&[&long]);
    if has_adapter() {
        let told = "the model reads 512; shorten it, or let --truncate cut it";
        assert_refused(&refused, told, "a long prompt");
        let report = model.report(&[&long, "--truncate", "--max-new-tokens", "2"]);
        assert_eq!(report["texts"][0]["prompt_tokens"], 512);
        // The token that ends a text stays: it is read as a text of 511 words is.
        let [cut, whole] = [(10_001, "--truncate"), (511, "--quiet")].map(|(words, option)| {
            let prompt = vec!["kiln"; words].join(" ");
            let report = model.report(&[&prompt, option, "--max-new-tokens", "4", "--beams", "2"]);
            ["prompt_tokens", "ids", "score"].map(|part| report["texts"][0][part].clone())
        });
        assert_eq!(cut, whole);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let model = Model::new();
    for (args, named) in [
        (&[PROMPT, "--beams", "0"][..], "--beams"),
        (&[PROMPT, "--sample", "--temperature", "-0.5"], "--temperature"),
        (&[PROMPT, "--temperature", "-0.5"], "--temperature"),
        (&[PROMPT, "--sample", "--top-p", "1.5"], "--top-p"),
        (&[PROMPT, "--max-new-tokens", "0"], "--max-new-tokens"),
        (&[PROMPT, "--repetition-penalty", "0"], "--repetition-penalty"),
        (&[PROMPT, "--length-penalty", "2"], "--length-penalty needs --beams"),
        (&["", "--max-new-tokens", "3"], "prompt 1: it is empty"),
    ] {
        assert_refused(&model.generate(args), named, &args.join(" "));
    }
}

#[test]
fn a_model_that_is_none_is_refused() {
    if !has_adapter() {
        return;
    }
    let broken = |change: &dyn Fn(&Path), named: &str| {
        let model = Model::new();
        change(model.path());
        assert_refused(&model.generate(&[PROMPT]), named, named);
    };
    let remove =
        |file: &'static str| move |dir: &Path| fs::remove_file(dir.join(file)).expect("it was there");
    broken(&remove("tokenizer.json"), "tokenizer.json missing");
    broken(&remove("config.json"), "config.json missing");
    broken(&remove("model.safetensors"), "model.safetensors missing");
    let edit = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let path = dir.join("config.json");
            let config = fs::read_to_string(&path).expect("it should be text");
            let compact: Value = serde_json::from_str(&config).expect("it should be JSON");
            let changed = compact.to_string().replacen(from, to, 1);
            assert_ne!(changed, compact.to_string(), "{from} should be there");
            fs::write(&path, changed).expect("it should be written");
        }
    };
    broken(&edit("\"model_type\":\"t5\"", "\"model_type\":\"bert\""), "model_type \"bert\"");
    broken(&edit("\"num_heads\":3", "\"num_heads\":0"), "num_heads");
    // Names and shapes: a layer more than the file has, and wider ones. A line for each tensor says which.
    for (change, named) in [
        (
            edit("\"num_layers\":2", "\"num_layers\":3"),
            "encoder.block.2.layer.1.DenseReluDense.wo.weight is missing",
        ),
        (
            edit("\"d_ff\":40", "\"d_ff\":44"),
            "DenseReluDense.wo.weight has shape [32, 40], expected [32, 44]",
        ),
    ] {
        let model = Model::new();
        change(model.path());
        let output = model.generate(&[PROMPT]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains("model.safetensors: wrong tensors for this model: ") && stderr.contains(named),
            "{stderr}"
        );
    }
    let nowhere = kiln(&["generate", "--model", "/nowhere/t5", PROMPT]).output().expect("kiln should start");
    assert_refused(&nowhere, "/nowhere/t5", "no directory");
}

#[test]
fn decoding_is_measured() {
    if !has_adapter() {
        return;
    }
    let model = Model::new();
    let dir = model.path().to_str().expect("the path should be text");
    let bench = |args: &[&str]| {
        let args = [&["bench", "t5", "--model", dir, "--samples", "2", "--tokens", "8"][..], args].concat();
        let output = kiln(&args).output().expect("kiln should start");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    for precision in ["f32", "f16"] {
        let report: Value =
            serde_json::from_str(&bench(&["--json", "--precision", precision])).expect("it should be JSON");
        let positive = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
        for field in ["first_token_ms", "tokens_per_second", "token_ms", "step_4_ms", "products_ms"] {
            assert!(positive(&report[field]), "{field}: {report}");
        }
        let lengths: Vec<u64> = report["encode"]
            .as_array()
            .expect("there should be lengths")
            .iter()
            .map(|row| row["tokens"].as_u64().expect("it should be a number"))
            .collect();
        assert_eq!(lengths, [64, 256, 512]);
        // (2 layers of 6 x 48 x 32 + 3 x 40 x 32, and 640 x 32) weights.
        let weights = 2 * (6 * 48 * 32 + 3 * 40 * 32) + 640 * 32;
        let bytes = if precision == "f16" { 2 } else { 4 };
        assert_eq!(report["weight_bytes_per_token"], weights * bytes);
        assert!(report["dispatches_per_token"].as_u64() > Some(20));
    }
    let table = bench(&[]);
    assert!(table.contains("encode 512 tokens") && table.contains("2 samples on "), "{table}");
    let one = kiln(&["bench", "t5", "--tokens", "1"]).output().expect("kiln should start");
    assert_refused(&one, "expected at least 2", "one token");
}
