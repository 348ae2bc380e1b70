//! A tiny BERT encoder with random weights against PyTorch (`assets/goldens/bert_tiny/make.py`): every layer, every
//! form of weights, and both poolings. No file from outside the repository is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_models::bert::{Bert, BertConfig};
use kiln_models::sentence::Pooling;
use kiln_models::tokenizer::TextTokenizer;
use kiln_models::weights::Weights;
use kiln_models::{ModelError, SentenceEncoder};
use kiln_reference::Array;
use kiln_tests::{compare, device, golden};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::support::hidden_states;

const WIDTH: usize = 32;

#[derive(Deserialize)]
struct Inputs {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    text: String,
    ids: Vec<u32>,
}

fn inputs() -> Vec<Input> {
    golden::json::<Inputs>("bert_tiny/inputs.json").inputs
}

fn expected() -> BTreeMap<String, Array> {
    golden::tensors("bert_tiny/expected.safetensors")
}

/// A copy of the model that a test may change.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("there should be room for a copy");
    let from = golden::path("bert_tiny/model");
    fs::create_dir(dir.path().join("1_Pooling")).expect("the folder should be made");
    let files =
        ["config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "model.safetensors"];
    for file in files.into_iter().chain(["1_Pooling/config.json"]) {
        fs::copy(from.join(file), dir.path().join(file)).expect("the file should be copied");
    }
    dir
}

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let text = fs::read(path).expect("the file should be read");
    let mut json = serde_json::from_slice(&text).expect("the file should be JSON");
    change(&mut json);
    fs::write(path, Value::from(json).to_string()).expect("the file should be written");
}

/// Changes the header of a safetensors file.
fn edit_header(path: &Path, change: impl FnOnce(Map<String, Value>) -> Map<String, Value>) {
    let bytes = fs::read(path).expect("the file should be read");
    let (length, rest) = bytes.split_first_chunk().expect("the file should have a header");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = change(serde_json::from_slice(header).expect("the header should be JSON"));
    let header = Value::from(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    fs::write(path, out).expect("the file should be written");
}

/// All texts of the golden in one call, by the model of a directory.
fn encode(dir: &Path) -> Option<Vec<Vec<f32>>> {
    let mut encoder = SentenceEncoder::load(device::gpu()?, dir).expect("the model should load");
    let inputs = inputs();
    let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).collect();
    Some(encoder.encode(&texts, &mut |_| {}).expect("the texts should have embeddings"))
}

/// Each row against `name(index)` of the golden.
fn assert_rows(rows: &[Vec<f32>], name: impl Fn(usize) -> String) {
    let expected = expected();
    for (index, row) in rows.iter().enumerate() {
        let error = compare::layer_error(row, &expected[&name(index)].data);
        assert!(error <= 1e-4, "{}: {error:e}", name(index));
    }
}

#[test]
fn token_ids() {
    let path = golden::path("bert_tiny/model/tokenizer.json");
    let tokenizer = TextTokenizer::open(&path, 116, 48).expect("it should open");
    for Input { text, ids } in inputs() {
        assert_eq!(tokenizer.encode(&[&text]).expect("the text should have tokens"), [ids], "{text:?}");
    }
}

#[test]
fn layers_match_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let dir = golden::path("bert_tiny/model");
    let weights = Weights::open(&dir.join("model.safetensors")).expect("the weights should open");
    let config = BertConfig::open(&dir.join("config.json")).expect("the configuration should be read");
    let bert = Bert::new(config, &weights).expect("the tensors should be those of the model");
    let sequences: Vec<Vec<u32>> = inputs().into_iter().map(|input| input.ids).collect();
    let states = hidden_states(gpu, &bert, &weights, &sequences);
    let expected = expected();
    for (layer, state) in states.iter().enumerate() {
        let mut start = 0;
        for (index, ids) in sequences.iter().enumerate() {
            let end = start + ids.len() * WIDTH;
            let error =
                compare::layer_error(&state[start..end], &expected[&format!("{index}.hidden{layer}")].data);
            assert!(error <= 1e-4, "text {index}, layer {layer}: {error:e}");
            start = end;
        }
    }
    assert_eq!(states.len(), 3);
}

#[test]
fn embeddings_match_pytorch() {
    let Some(rows) = encode(&golden::path("bert_tiny/model")) else { return };
    assert_rows(&rows, |index| format!("{index}.embedding"));
}

#[test]
fn half_precision_weights_are_read() {
    for form in ["f16", "bf16"] {
        let dir = copy();
        let from = golden::path(&format!("bert_tiny/model/model.{form}.safetensors"));
        fs::copy(from, dir.path().join("model.safetensors")).expect("the weights should be copied");
        let Some(rows) = encode(dir.path()) else { return };
        assert_rows(&rows, |index| format!("{form}.{index}.embedding"));
    }
}

#[test]
fn tensors_may_be_part_of_a_larger_model() {
    let dir = copy();
    edit_header(&dir.path().join("model.safetensors"), |header| {
        let rename = |name: String| if name.starts_with("__") { name } else { format!("bert.{name}") };
        header.into_iter().map(|(name, info)| (rename(name), info)).collect()
    });
    let Some(rows) = encode(dir.path()) else { return };
    assert_rows(&rows, |index| format!("{index}.embedding"));
}

#[test]
fn the_first_token_may_stand_for_the_text() {
    let dir = copy();
    edit(&dir.path().join("1_Pooling/config.json"), |config| {
        config.insert("pooling_mode_mean_tokens".to_owned(), false.into());
        config.insert("pooling_mode_cls_token".to_owned(), true.into());
    });
    let modules = fs::read(dir.path().join("modules.json")).expect("the file should be read");
    let mut modules: Vec<Value> = serde_json::from_slice(&modules).expect("the file should be JSON");
    modules.retain(|module| !module["type"].as_str().is_some_and(|kind| kind.ends_with("Normalize")));
    fs::write(dir.path().join("modules.json"), Value::from(modules).to_string())
        .expect("it should be written");
    let Some(gpu) = device::gpu() else { return };
    let encoder = SentenceEncoder::load(gpu, dir.path()).expect("the model should load");
    assert_eq!((encoder.pooling(), encoder.is_normalized()), (Pooling::Cls, false));
    let rows = encode(dir.path()).expect("there is a device");
    let expected = expected();
    for (index, row) in rows.iter().enumerate() {
        let state = &expected[&format!("{index}.hidden2")].data[..WIDTH];
        let error = compare::layer_error(row, state);
        assert!(error <= 1e-4, "text {index}: {error:e}");
    }
}

#[test]
fn more_texts_than_a_run_holds_keep_their_order() {
    let Some(gpu) = device::gpu() else { return };
    let mut encoder =
        SentenceEncoder::load(gpu, &golden::path("bert_tiny/model")).expect("the model should load");
    let inputs = inputs();
    let expected = expected();
    // 7 texts of 144 tokens together, 100 times: eight of the largest runs.
    let texts: Vec<&str> = (0..700).map(|index| inputs[index * 5 % 7].text.as_str()).collect();
    let mut reports = Vec::new();
    let rows =
        encoder.encode(&texts, &mut |done| reports.push(done)).expect("the texts should have embeddings");
    for (index, row) in rows.iter().enumerate() {
        let error = compare::layer_error(row, &expected[&format!("{}.embedding", index * 5 % 7)].data);
        assert!(error <= 1e-4, "text {index}: {error:e}");
    }
    assert!(reports.len() >= 7 && reports.is_sorted() && reports.last() == Some(&700), "{reports:?}");
}

#[test]
fn facts_are_those_of_the_files() {
    let Some(gpu) = device::gpu() else { return };
    let encoder =
        SentenceEncoder::load(gpu, &golden::path("bert_tiny/model")).expect("the model should load");
    assert_eq!((encoder.name(), encoder.dim(), encoder.max_seq_length()), ("model", WIDTH, 48));
    assert_eq!(encoder.tokens("").expect("an empty text has two tokens"), 2);
    assert_eq!(encoder.tokens(&"kiln ".repeat(100)).expect("a long text is cut"), 48);
    let copy = copy();
    let same = SentenceEncoder::load(gpu, copy.path()).expect("the copy should load");
    assert_eq!(same.fingerprint(), encoder.fingerprint());
}

#[test]
fn weights_that_are_not_finite_do_not_become_embeddings() {
    let Some(gpu) = device::gpu() else { return };
    let dir = copy();
    let path = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("the weights should be read");
    let header_length =
        u64::from_le_bytes(*bytes.first_chunk().expect("the file should have a header")) as usize;
    let header: Value =
        serde_json::from_slice(&bytes[8..8 + header_length]).expect("the header should be JSON");
    let start = header["encoder.layer.1.output.dense.bias"]["data_offsets"][0].as_u64();
    let at = 8 + header_length + start.expect("the tensor should be there") as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).expect("the weights should be written");
    let mut encoder = SentenceEncoder::load(gpu, dir.path()).expect("the model should load");
    match encoder.encode(&["the kiln"], &mut |_| {}) {
        Err(error @ ModelError::NotFinite { .. }) => assert!(!error.is_input_error(), "{error}"),
        other => panic!("{other:?}"),
    }
}
