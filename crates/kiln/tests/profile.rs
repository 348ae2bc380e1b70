//! `kiln profile` as a user meets it.

mod common;

use std::path::Path;
use std::process::Command;

use common::{assert_refused, has_adapter, kiln, text};
use kiln_tests::report;
use kiln_tests::t5::{Form, Geometry};
use serde_json::Value;

/// `kiln profile` with a cache of its own.
fn profile(cache: &Path, args: &[&str]) -> Command {
    let mut command = kiln(&[&["profile"], args].concat());
    command.env("KILN_CACHE", cache);
    command
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().expect("the binary should start");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn json(command: Command) -> Value {
    serde_json::from_str(&succeeds(command)).expect("it should be one JSON document")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder should be made")
}

/// Whether there is a device with timestamps. Where it has none, a profile is refused, which is looked at here.
#[track_caller]
fn has_timestamps() -> bool {
    if !has_adapter() {
        return false;
    }
    let devices: Value =
        serde_json::from_str(&succeeds(kiln(&["devices", "--json"]))).expect("it should be JSON");
    let chosen = devices["chosen"].as_u64().expect("an adapter should be chosen") as usize;
    if devices["adapters"][chosen]["timestamps"] == false {
        let output = kiln(&["profile", "base"]).output().expect("the binary should start");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("has no timestamps"), "{}", text(&output.stderr));
        report::skip("the adapter has no timestamps");
        return false;
    }
    true
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} should be a number"))
}

fn rows<'a>(report: &'a Value, table: &str) -> &'a Vec<Value> {
    report[table].as_array().unwrap_or_else(|| panic!("there should be {table}"))
}

fn sum(rows: &[Value], field: &str) -> f64 {
    rows.iter().map(|row| number(&row[field])).sum()
}

#[test]
fn layers_and_kernels_add_up_to_the_same() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let report = json(profile(cache.path(), &["base", "--batch", "2", "--samples", "3", "--json"]));
    let (layers, kernels) = (rows(&report, "layers"), rows(&report, "kernels"));
    let total = number(&report["total_ms"]);
    assert!(total > 0.0 && number(&report["run_ms"]) > 0.0, "{report}");
    let over = number(&report["run_ms"]) - total;
    assert!((number(&report["overhead_ms"]) - over).abs() < 2e-3, "{report}");
    for table in [layers, kernels] {
        assert!((sum(table, "ms") - total).abs() < 1e-3 * (1 + table.len()) as f64, "{report}");
        assert!((sum(table, "share") - 1.0).abs() < 1e-6, "{report}");
        assert_eq!(sum(table, "dispatches"), number(&report["dispatches"]), "{report}");
    }
    assert_eq!(sum(layers, "bytes"), sum(kernels, "bytes"));
    // All that the summary counts is somewhere, under whatever name the passes left it.
    let summary: Value =
        serde_json::from_str(&succeeds(kiln(&["summary", "base", "--json"]))).expect("it should be JSON");
    assert_eq!(sum(layers, "multiply_adds"), 2.0 * number(&summary["totals"]["multiply_adds"]), "{report}");
    let conv = layers.iter().find(|layer| layer["layer"] == "conv2").expect("there should be a conv2");
    assert_eq!(conv["kind"], "conv2d");
    assert!(number(&conv["gflops"]) > 0.0 && number(&conv["gigabytes_per_second"]) > 0.0, "{conv}");
    assert!(number(&conv["of_ceiling"]) > 0.0 && conv["bound"].is_string(), "{conv}");
    assert!(!rows(conv, "kernels").is_empty(), "{conv}");
    assert_eq!(
        (&report["model"], &report["batch"], &report["samples"]),
        (&"base".into(), &2.into(), &3.into())
    );
}

#[test]
fn ceilings_are_measured_once() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let args = ["base", "--samples", "1", "--json"];
    let first = json(profile(cache.path(), &args))["ceilings"].clone();
    assert!(number(&first["gflops"]) > 0.0 && number(&first["gigabytes_per_second"]) > 0.0, "{first}");
    assert_eq!(json(profile(cache.path(), &args))["ceilings"], first);
    let anew = json(profile(cache.path(), &[&args[..], &["--ceilings"]].concat()))["ceilings"].clone();
    assert_ne!(anew, first, "two measurements should differ in some digit");
    assert_eq!(json(profile(cache.path(), &args))["ceilings"], anew);
    // Where nothing can be kept they are measured all the same.
    let file = cache.path().join("file");
    std::fs::write(&file, "").expect("it should be written");
    assert!(number(&json(profile(&file, &args))["ceilings"]["gflops"]) > 0.0);
}

#[test]
fn ceilings_that_are_too_low_are_told_of() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let told = |args: &[&str]| {
        let output = profile(cache.path(), args).output().expect("the binary should start");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr).contains("pass the ceilings")
    };
    assert!(!told(&["base", "--samples", "1", "--ceilings"]));
    let file = cache.path().join("ceilings.json");
    let kept = std::fs::read_to_string(&file).expect("the ceilings should be kept");
    let mut kept: Value = serde_json::from_str(&kept).expect("it should be JSON");
    for rates in kept.as_object_mut().expect("it should be an object").values_mut() {
        *rates = serde_json::json!({"gflops": 1e-3, "gigabytes": 1e-3});
    }
    std::fs::write(&file, kept.to_string()).expect("it should be written");
    assert!(told(&["base", "--samples", "1"]));
    assert!(!told(&["base", "--samples", "1", "-q"]));
}

#[test]
fn one_file_takes_one_document() {
    let cache = folder();
    let file = cache.path().join("both.json");
    let path = file.to_str().expect("the path should be text");
    let output = profile(cache.path(), &["base", "--json", "-o", path, "--trace", path]).output();
    assert_refused(&output.expect("the binary should start"), "same file", "one file for two documents");
    assert!(!file.exists());
}

#[test]
fn tables_are_what_was_asked_for() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let shown =
        |args: &[&str]| succeeds(profile(cache.path(), &[&["base", "--samples", "1"], args].concat()));
    for (args, by_layer, by_kernel) in
        [(&[][..], true, true), (&["--by", "layer"], true, false), (&["--by", "kernel"], false, true)]
    {
        let table = shown(args);
        assert!(table.starts_with("base, batch 1 of 1x28x28, seeded weights\n\n"), "{table}");
        assert_eq!(
            (table.contains("\nconv1 "), table.contains("\nkernel ")),
            (by_layer, by_kernel),
            "{table}"
        );
        assert!(table.contains("100.0 %") && table.contains('█'), "{table}");
        assert!(table.contains("by the host's clock") && table.contains("\nCeilings: "), "{table}");
    }
    let report = json(profile(cache.path(), &["base", "--samples", "1", "--by", "kernel", "--json"]));
    assert!(report.get("layers").is_none() && !rows(&report, "kernels").is_empty(), "{report}");
}

/// A slice of a trace in nanoseconds: name, category, start, end.
fn slices(trace: &Value) -> Vec<(String, String, i64, i64)> {
    let nanos = |value: &Value| (number(value) * 1e3).round() as i64;
    let name = |value: &Value| value.as_str().expect("it should be text").to_owned();
    let events = rows(trace, "traceEvents").iter().filter(|event| event["ph"] == "X");
    events
        .map(|event| {
            let start = nanos(&event["ts"]);
            (name(&event["name"]), name(&event["cat"]), start, start + nanos(&event["dur"]))
        })
        .collect()
}

#[test]
fn a_trace_has_kernels_in_layers() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let file = cache.path().join("trace.json");
    let path = file.to_str().expect("the path should be text");
    let args = ["all-MiniLM-L6-v2", "--input", "8", "--samples", "2", "--json", "--trace", path];
    let report = json(profile(cache.path(), &args));
    let text = std::fs::read_to_string(&file).expect("the trace should be there");
    let trace: Value = serde_json::from_str(&text).expect("it should be JSON");
    assert_eq!(trace["displayTimeUnit"], "ms");
    let names: Vec<&Value> = rows(&trace, "traceEvents")
        .iter()
        .filter(|event| event["ph"] == "M")
        .map(|event| &event["args"]["name"])
        .collect();
    assert_eq!(names, [&report["model"], &report["adapter"]]);

    let slices = slices(&trace);
    let kernels: Vec<_> = slices.iter().filter(|(_, category, ..)| category == "kernel").collect();
    assert_eq!(kernels.len() as f64, number(&report["dispatches"]));
    let last = kernels.last().expect("there should be kernels").3;
    assert!((last as f64 / 1e6 - number(&report["total_ms"])).abs() < 1e-2, "{last} ns, {report}");
    // On one track slices lie in each other or apart.
    for (index, (name, _, start, end)) in slices.iter().enumerate() {
        for (other, _, other_start, other_end) in &slices[index + 1..] {
            let inside = start <= other_start && other_end <= end;
            assert!(
                inside || end <= other_start,
                "{name} {start}..{end}, {other} {other_start}..{other_end}"
            );
        }
    }
    for layer in ["layer0", "attention", "layer5"] {
        assert!(slices.iter().any(|(name, category, ..)| name == layer && category == "layer"), "no {layer}");
    }
}

#[test]
fn a_training_step_has_its_three_parts() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let args = ["train", "--arch", "base", "--batch-size", "4", "--samples", "2", "--json"];
    let report = json(profile(cache.path(), &args));
    let layers = rows(&report, "layers");
    let has = |name: &str| layers.iter().any(|layer| layer["layer"] == name);
    assert!(has("conv2") && has("conv2/backward") && has("update/conv3.weight"), "{report}");
    let backward = layers.iter().find(|layer| layer["layer"] == "conv2/backward").expect("it is there");
    assert!(number(&backward["gflops"]) > 0.0, "{backward}");
    let title = succeeds(profile(cache.path(), &["train", "--batch-size", "4", "--samples", "1"]));
    assert!(title.starts_with("training base, batch 4\n"), "{title}");
}

#[test]
fn a_t5_reads_and_writes() {
    if !has_timestamps() {
        return;
    }
    let cache = folder();
    let model = cache.path().join("tiny");
    std::fs::create_dir(&model).expect("a folder should be made");
    Geometry::TINY.write(&model, Form::F32).expect("a model should be written");
    let model = model.to_str().expect("the path should be text");
    for (part, layer) in [("encode", "encoder/block0/"), ("step", "decoder/block0/")] {
        let args = ["t5", "--model", model, "--part", part, "--prompt", "8", "--samples", "2", "--json"];
        let report = json(profile(cache.path(), &args));
        let names: Vec<&str> =
            rows(&report, "layers").iter().filter_map(|row| row["layer"].as_str()).collect();
        assert!(names.iter().any(|name| name.starts_with(layer)), "{part}: {names:?}");
        assert!(number(&report["run_ms"]) > 0.0, "{report}");
    }
    let output = profile(cache.path(), &["t5", "--model", model, "--prompt", "100000"]).output();
    assert_refused(&output.expect("the binary should start"), "--prompt 100000: expected at most", "t5");
}

#[test]
fn mistakes_are_named_before_anything_is_measured() {
    let cache = folder();
    for (args, named) in [
        (&["alexnet"][..], "unknown network"),
        (&["vgg16", "--weights", "no/such.safetensors"], "no/such.safetensors"),
        (&["vgg16", "--samples", "0"], "expected a whole number, 1 or more"),
        (&["vgg16", "--by", "colour"], "invalid value 'colour'"),
        (&["vgg16", "--trace", "-"], "--trace -: expected a file"),
        (&["vgg16", "--trace", "no/such/trace.json"], "no folder"),
        (&["vgg16", "--input", "3x8x8"], "\"vgg16/pool4\""),
        (&["train", "--arch", "alexnet"], "alexnet"),
        (&["t5", "--prompt", "513"], "--prompt 513: expected at most 512"),
        (&["t5", "--model", "no/such"], "no/such"),
        (&[], "<MODEL>"),
    ] {
        let output = profile(cache.path(), args).output().expect("the binary should start");
        assert_refused(&output, named, &format!("kiln profile {}", args.join(" ")));
    }
}
