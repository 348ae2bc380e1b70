//! `kiln tune` as a user meets it, and what other commands make of what it keeps.

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::{assert_refused, has_adapter, kiln, text};
use kiln_tests::report;
use serde_json::Value;

/// A cache directory of its own.
struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Cache {
        Cache(tempfile::tempdir().expect("a directory should be made"))
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = kiln(args);
        command.env("KILN_CACHE", self.0.path()).env_remove("KILN_NO_TUNE");
        command.output().expect("the binary should start")
    }

    fn succeeds(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "kiln {}: {}", args.join(" "), text(&output.stderr));
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.succeeds(args).stdout).expect("it should be JSON")
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path().join("tuning")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

/// A network whose products several kernels can compute.
fn network(dir: &Path) -> String {
    let file = dir.join("products.toml");
    let linear = |features: usize| format!("{{ layer = \"linear\", out_features = {features} }}");
    let layers = ["\"flatten\"", &linear(96), "\"relu\"", &linear(10)].join(", ");
    std::fs::write(&file, format!("input = [1, 16, 16]\nlayers = [{layers}]\n"))
        .expect("it should be written");
    file.to_str().expect("it should be text").to_owned()
}

#[test]
fn what_was_measured_is_told() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    let report = cache.json(&["tune", "base", "--batch", "8", "--json"]);
    let software = report["adapter"].as_str().is_some_and(|name| name.contains("llvmpipe"));
    assert_eq!(report["model"], "base, batch 8");
    assert_eq!(report["kept"].is_null(), software, "{report}");
    assert_eq!(cache.files().is_empty(), software);
    let choices = report["choices"].as_array().expect("there should be choices");
    assert!(!choices.is_empty());
    for choice in choices {
        assert_eq!(choice["settled"], true, "{choice}");
        let time = |name: &str| choice["times_ms"][choice[name].as_str().unwrap_or_default()].as_f64();
        let [table, chosen] = ["table", "chosen"].map(time);
        assert!(table.is_some_and(|time| time > 0.0) && chosen <= table, "{choice}");
        let differs = choice["table"] != choice["chosen"];
        assert_eq!(choice["gain"].as_f64().is_some_and(|gain| gain > 1.0), differs, "{choice}");
    }
    let output = cache.succeeds(&["tune", "base", "--batch", "8"]);
    let table = text(&output.stdout);
    // The keys of ops are long, so they come last: a narrow terminal breaks nothing but them.
    let titles: Vec<&str> = table.lines().next().unwrap_or_default().split("  ").map(str::trim).collect();
    let titles: Vec<&str> = titles.into_iter().filter(|title| !title.is_empty()).collect();
    assert_eq!(titles, ["uses", "table ms", "chosen ms", "gain", "table", "chosen", "op"], "{table}");
    for choice in choices {
        let op = text_in(&choice["op"]);
        assert!(table.lines().any(|line| line.ends_with(&format!("  {op}"))), "{op} in {table}");
    }
    assert!(table.contains("base, batch 8 on "), "{table}");
    assert!(table.contains(if software { "not kept: a software adapter" } else { "kept in " }), "{table}");
}

#[test]
fn kept_choices_are_used_and_can_be_left_aside() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    let network = network(cache.0.path());
    let report = cache.json(&["tune", &network, "--batch", "64", "--keep", "--json"]);
    let file = PathBuf::from(report["kept"].as_str().expect("it should be kept"));
    assert_eq!(cache.files(), std::slice::from_ref(&file));

    // Whatever was fastest: from here on another one is.
    let text_of = std::fs::read_to_string(&file).expect("the file should be there");
    let mut kept: Value = serde_json::from_str(&text_of).expect("it should be JSON");
    let mut forced = vec![];
    for (op, choice) in kept["choices"].as_object_mut().expect("there should be choices") {
        let names = choice["times_ms"].as_object().expect("there should be times");
        if let Some(other) = names.keys().find(|name| **name != choice["table"]).cloned() {
            forced.push(format!("info: {op}: {other} instead of {}", text_in(&choice["table"])));
            choice["chosen"] = other.into();
        } else {
            choice["chosen"] = choice["table"].clone();
        }
    }
    assert!(!forced.is_empty(), "{kept}");
    std::fs::write(&file, kept.to_string()).expect("it should be written");
    let bench = ["bench", &network, "--batch", "64", "--samples", "1", "--warmup", "0", "-v"];
    let told = |args: &[&str]| text(&cache.succeeds(args).stderr).to_owned();
    let used = told(&bench);
    assert!(forced.iter().any(|line| used.contains(line)), "{forced:?} in {used}");
    let left = told(&[&bench[..], &["--no-tune"]].concat());
    assert!(!left.contains("instead of"), "{left}");
    // Training goes by the table.
    let train = told(&["bench", "train", "--arch", &network, "--batch-size", "64", "--samples", "1", "-v"]);
    assert!(!train.contains("instead of"), "{train}");

    let list = cache.json(&["tune", "list", "--json"]);
    assert_eq!(list[0]["choices"], report["choices"].as_array().map_or(0, Vec::len));
    assert_eq!((&list[0]["current"], list[0]["changed"].as_u64() > Some(0)), (&Value::Bool(true), true));
    let list = cache.succeeds(&["tune", "list"]);
    assert!(text(&list.stdout).contains(file.to_str().expect("it should be text")), "{}", text(&list.stdout));

    // A file of another build says nothing, one that is damaged is told of.
    let stale = text_of.replace("\"kernels\": \"", "\"kernels\": \"old");
    std::fs::write(&file, stale).expect("it should be written");
    assert!(!told(&bench).contains("instead of"));
    assert!(text(&cache.succeeds(&["tune", "list"]).stdout).contains("of another build: not used"));
    std::fs::write(&file, "{\"adapter\": 3").expect("it should be written");
    let damaged = told(&bench);
    assert!(damaged.contains("warning: ") && damaged.contains("tuned choices are not used"), "{damaged}");

    assert_eq!(text(&cache.succeeds(&["tune", "clear"]).stdout), "1 file removed\n");
    assert_eq!(text(&cache.succeeds(&["tune", "list"]).stdout), "no choices are kept\n");
    assert!(cache.files().is_empty());
}

fn text_in(value: &Value) -> &str {
    value.as_str().expect("it should be text")
}

#[test]
fn a_budget_is_kept_to() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    let report = cache.json(&["tune", "vgg16", "--budget", "0.000001", "--json"]);
    let choices = report["choices"].as_array().expect("there should be choices");
    assert!(!choices.is_empty() && choices.iter().all(|choice| choice["settled"] == false), "{report}");
    assert!(choices.iter().all(|choice| choice["chosen"] == choice["table"]));
    let seconds = report["seconds"].as_f64().unwrap_or(f64::MAX);
    assert!(seconds < 30.0, "{seconds} s");
}

#[test]
fn a_text_model_is_tuned_by_its_graphs() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    for args in [&["tune", "t5", "--precision", "f16"][..], &["tune", "all-MiniLM-L6-v2"]] {
        let report = cache.json(&[args, &["--budget", "0.000001", "--json"]].concat());
        let ops: Vec<&str> = report["choices"]
            .as_array()
            .map(|choices| choices.iter().filter_map(|choice| choice["op"].as_str()).collect())
            .unwrap_or_default();
        assert!(ops.iter().any(|op| op.starts_with("matmul")), "{report}");
    }
}

#[test]
fn wrong_input_is_refused() {
    let cache = Cache::new();
    for (args, named) in [
        (&["tune", "vgg99"][..], "vgg99"),
        (&["tune"], "MODEL"),
        (&["tune", "vgg16", "--budget", "0"], "--budget"),
        (&["tune", "vgg16", "--budget", "-3"], "--budget"),
        (&["tune", "vgg16", "--budget", "NaN"], "--budget"),
        (&["tune", "vgg16", "--budget", "inf"], "--budget"),
        (&["tune", "vgg16", "--batch", "0"], "--batch"),
        (&["tune", "base", "--input", "3x4"], "input size 3x4"),
        (&["tune", "base", "--no-tune"], "--no-tune"),
        (&["tune", "t5", "--beams", "0"], "--beams"),
    ] {
        assert_refused(&cache.run(args), named, &args.join(" "));
    }
}

#[test]
fn what_cannot_be_kept_is_told_all_the_same() {
    if !has_adapter() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory should be made");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("it should be written");
    let mut command = kiln(&["tune", "base", "--keep", "--json", "--budget", "1e300"]);
    let output = command.env("KILN_CACHE", &file).env_remove("KILN_NO_TUNE").output();
    let output = output.expect("the binary should start");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("error: the choices are not kept: "), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("it should be JSON");
    assert!(report["kept"].is_null() && report["choices"][0]["settled"] == true, "{report}");
}

#[test]
fn two_at_once_keep_what_both_found() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    let network = network(cache.0.path());
    let tuned = |batch: &str| {
        let report = cache.json(&["tune", &network, "--batch", batch, "--keep", "--json"]);
        let choices = report["choices"].as_array().expect("there should be choices");
        choices.iter().map(|choice| text_in(&choice["op"]).to_owned()).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = std::thread::scope(|scope| {
        let one = scope.spawn(|| tuned("48"));
        let other = tuned("64");
        [one.join().expect("it should succeed"), other].concat()
    });
    found.sort();
    found.dedup();
    let list = cache.json(&["tune", "list", "--json"]);
    assert_eq!(list[0]["choices"], found.len(), "{list} of {found:?}");
    // The lock went with the work.
    assert_eq!(cache.files().len(), 1, "{:?}", cache.files());
}

/// A driver that has nothing to put in its place would be told of at every start.
#[test]
fn damaged_kernels_are_told_of_once() {
    if !has_adapter() {
        return;
    }
    let cache = Cache::new();
    let told = || {
        text(&cache.succeeds(&["bench", "xor", "--samples", "1", "--warmup", "0", "-vv"]).stderr).to_owned()
    };
    let sound = told();
    let Some((_, file)) = sound.lines().find_map(|line| line.split_once(" bytes of compiled kernels from "))
    else {
        report::skip("the adapter's driver keeps its compiled kernels itself");
        return;
    };
    assert!(!sound.contains("left aside"), "{sound}");
    let folder = Path::new(file).parent().expect("it should be in a folder");
    std::fs::create_dir_all(folder).expect("the folder should be made");
    std::fs::write(file, "nonsense").expect("it should be written");
    let damaged = told();
    let warning =
        format!("warning: compiled kernels in {file} are left aside: it is no file of compiled kernels");
    assert_eq!(damaged.lines().filter(|line| *line == warning).count(), 1, "{damaged}");
    let again = told();
    assert!(!again.contains("left aside"), "{again}");
}

#[test]
fn a_cache_that_is_no_directory_is_told_of_once() {
    if !has_adapter() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory should be made");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("it should be written");
    for (command, cache) in
        [("bench", file.clone()), ("profile", file.clone()), ("bench", file.join("below"))]
    {
        let mut command = kiln(&[command, "xor", "--samples", "1"]);
        let output = command.env("KILN_CACHE", &cache).env_remove("KILN_NO_TUNE").output();
        let output = output.expect("the binary should start");
        let stderr = text(&output.stderr);
        // A profile needs timestamps, and says so where there are none.
        assert!(output.status.success() || stderr.contains("has no timestamps"), "{stderr}");
        let warnings: Vec<&str> = stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
        let path = cache.display().to_string();
        assert!(warnings.len() == 1 && warnings[0].contains(&path), "{warnings:?}");
    }
}
