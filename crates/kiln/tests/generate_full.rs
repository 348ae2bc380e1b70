//! `kiln generate` with the geometry of flan-t5-small and seeded weights, against what transformers makes of the same
//! (`assets/goldens/t5/make.py`): 308 MB that the test writes, and reads once for each precision.

mod common;

use std::path::Path;

use common::{assert_refused, has_adapter, kiln, text};
use kiln_tests::t5::{Form, Geometry};
use kiln_tests::{data, golden, t5};
use serde_json::Value;

/// A prompt of the golden as text.
fn prompt(row: &Value) -> String {
    let number = |field: &str| row[field].as_u64().unwrap_or_else(|| panic!("{field} of {row}")) as usize;
    let (length, draw) = (number("length"), number("draw"));
    let words = data::indices(&format!("full.prompt.{length}.{draw}"), length - 1, 31_000);
    let ids: Vec<u32> = words.into_iter().map(|word| 1000 + word).chain([1]).collect();
    t5::text(Geometry::SMALL.vocab_size, &ids)
}

/// What the command makes of prompts.
fn generate(dir: &Path, args: &[&str], prompts: &[String]) -> Value {
    let dir = dir.to_str().expect("the path should be text");
    let output = kiln(&["generate", "--model", dir, "--max-new-tokens", "24", "--json"])
        .args(args)
        .args(prompts)
        .output()
        .expect("kiln should start");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it should be one JSON document")
}

/// Ten prompts of 2 to 512 tokens. The eleventh of the golden has no word, which the command refuses.
#[test]
fn ten_prompts_give_the_ids_of_transformers() {
    if !has_adapter() {
        return;
    }
    let dir = tempfile::tempdir().expect("there should be room for a model");
    Geometry::SMALL.write(dir.path(), Form::F32).expect("there should be room for a model");
    let all: Value = golden::json("t5/expected.json");
    let rows = all["full"]["prompts"].as_array().expect("there should be prompts");
    let rows: Vec<&Value> = rows.iter().filter(|row| row["length"] != 1).collect();
    assert_eq!(rows.len(), 10);
    let prompts: Vec<String> = rows.iter().map(|row| prompt(row)).collect();
    let report = generate(dir.path(), &[], &prompts);
    for (row, told) in rows.iter().zip(report["texts"].as_array().expect("there should be texts")) {
        assert_eq!(told["prompt_tokens"], row["length"]);
        assert_eq!(told["ids"], row["ids"], "prompt of {}", row["length"]);
    }

    let long = prompts[0].clone() + &" the".repeat(10_000);
    let args = ["generate", "--model", dir.path().to_str().expect("the path should be text"), &long];
    let output = kiln(&args).output().expect("kiln should start");
    assert_refused(&output, "it has 10002 tokens, the model reads 512", "a prompt of 10,001 words");

    let (rows, prompts): (Vec<&Value>, Vec<String>) =
        rows.into_iter().zip(prompts).filter(|(row, _)| row["packed_ids"].is_array()).unzip();
    assert_eq!(rows.len(), 3);
    let report = generate(dir.path(), &["--precision", "f16"], &prompts);
    for (row, told) in rows.iter().zip(report["texts"].as_array().expect("there should be texts")) {
        assert_eq!(told["ids"], row["packed_ids"], "prompt of {}, f16", row["length"]);
    }
}
