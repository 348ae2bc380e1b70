//! all-MiniLM-L6-v2 against PyTorch (`assets/goldens/minilm/make.py`).

use kiln_models::SentenceEncoder;
use kiln_models::bert::{Bert, BertConfig};
use kiln_models::tokenizer::TextTokenizer;
use kiln_models::weights::Weights;
use kiln_tests::{compare, device, golden};
use serde::Deserialize;

use crate::support::{cosine, hidden_states, model};

const NAME: &str = "all-MiniLM-L6-v2";

#[derive(Deserialize)]
struct Passages {
    passages: Vec<Passage>,
}

#[derive(Deserialize)]
struct Passage {
    text: String,
    /// With `[CLS]` and `[SEP]`, before anything is cut.
    tokens: usize,
    /// Cut at 256; for some passages.
    ids: Option<Vec<u32>>,
}

fn passages() -> Vec<Passage> {
    golden::json::<Passages>("minilm/passages.json").passages
}

/// Three texts with the ends of their embeddings, as the model's documentation has them.
#[test]
fn known_embeddings() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(NAME)) else { return };
    let known = [
        (
            "Machine learning is amazing",
            [-0.04862163, -0.08617098, 0.08960795],
            [0.07205721, -0.00438847, -0.02266295],
        ),
        (
            "Deep learning uses neural networks",
            [-0.10114671, -0.0130303, 0.07322458],
            [0.06143846, 0.03814853, -0.03969791],
        ),
        (
            "AI transforms industries",
            [-0.07190882, -0.0214227, -0.00817364],
            [-0.04696938, 0.04265788, -0.03134049],
        ),
    ];
    let mut encoder = SentenceEncoder::load(gpu, &dir).expect("the model should load");
    assert_eq!((encoder.dim(), encoder.max_seq_length(), encoder.is_normalized()), (384, 256, true));
    let texts = known.map(|(text, ..)| text);
    let embeddings = encoder.encode(&texts, &mut |_| {}).expect("the texts should have embeddings");
    for ((text, first, last), embedding) in known.iter().zip(&embeddings) {
        let ends = embedding[..3].iter().chain(&embedding[381..]);
        for (got, expected) in ends.zip(first.iter().chain(last)) {
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= 1e-4, "{text:?}: got {got}, expected {expected}");
        }
    }
}

#[test]
fn token_ids() {
    let Some(dir) = model(NAME) else { return };
    let tokenizer = TextTokenizer::open(&dir.join("tokenizer.json"), 30522, 256).expect("it should open");
    let passages = passages();
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let ids = tokenizer.encode(&texts).expect("the texts should have tokens");
    for (passage, ids) in passages.iter().zip(&ids) {
        assert_eq!(ids.len(), passage.tokens.min(256), "{:?}", passage.text);
        if let Some(expected) = &passage.ids {
            assert_eq!(ids, expected, "{:?}", passage.text);
        }
    }
}

#[test]
fn passages_match_pytorch() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(NAME)) else { return };
    let passages = passages();
    let long = passages.iter().filter(|passage| (129..=256).contains(&passage.tokens)).count();
    assert!(passages.len() >= 150 && long >= 30, "{} passages, {long} of 129 to 256 tokens", passages.len());
    let expected = &golden::tensors("minilm/embeddings.safetensors")["embeddings"];
    assert_eq!(expected.shape, [passages.len(), 384]);

    let mut encoder = SentenceEncoder::load(gpu, &dir).expect("the model should load");
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let mut reports = Vec::new();
    let embeddings =
        encoder.encode(&texts, &mut |done| reports.push(done)).expect("all should have embeddings");
    assert_eq!(reports.last(), Some(&texts.len()));
    assert!(reports.is_sorted(), "{reports:?}");
    assert_eq!(embeddings.len(), texts.len());
    for ((passage, got), expected) in passages.iter().zip(&embeddings).zip(expected.data.chunks_exact(384)) {
        let cosine = cosine(got, expected);
        assert!(cosine >= 0.99999, "cosine {cosine}: {:?}", passage.text);
        let length = got.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() <= 1e-5, "length {length}: {:?}", passage.text);
    }

    // A text's embedding does not depend on what it is packed with.
    let alone = encoder.encode(&texts[150..151], &mut |_| {}).expect("one should have an embedding");
    let error = compare::layer_error(&alone[0], &expected.data[150 * 384..151 * 384]);
    assert!(error <= 1e-4, "alone: {error:e}");
    assert!(encoder.encode(&[], &mut |_| {}).expect("nothing is fine").is_empty());
}

/// Every layer, on one short text that shares its run with a longer one.
#[test]
fn layers_match_pytorch() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(NAME)) else { return };
    let passages = passages();
    let ids = passages[0].ids.clone().expect("the first passage should have its ids");
    let other = passages.iter().rev().find_map(|passage| passage.ids.clone()).expect("others have ids too");
    let weights = Weights::open(&dir.join("model.safetensors")).expect("the weights should open");
    let config = BertConfig::open(&dir.join("config.json")).expect("the configuration should be read");
    let bert = Bert::new(config, &weights).expect("the tensors should be those of the model");
    let states = hidden_states(gpu, &bert, &weights, &[other, ids.clone()]);
    let taps = golden::tensors("minilm/taps.safetensors");
    assert_eq!(taps.len(), states.len());
    for (layer, state) in states.iter().enumerate() {
        let expected = &taps[&format!("hidden{layer}")];
        let own = &state[state.len() - ids.len() * 384..];
        let error = compare::layer_error(own, &expected.data);
        assert!(error <= 1e-4, "layer {layer}: {error:e}");
    }
}

/// Files of the right kind with the wrong content, on the real model.
#[test]
fn damaged_models_are_refused() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(NAME)) else { return };
    let copy = tempfile::tempdir().expect("there should be room for a copy");
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(dir.join(file), copy.path().join(file)).expect("the file should be copied");
    }
    let weights = copy.path().join("model.safetensors");
    let refused = || {
        let error = SentenceEncoder::load(gpu, copy.path()).expect_err("it should be refused");
        assert!(error.is_input_error(), "{error}");
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    assert!(refused().contains("model.safetensors missing"));
    let mut bytes = std::fs::read(dir.join("model.safetensors")).expect("the weights should be read");
    bytes.truncate(1_000_000);
    std::fs::write(&weights, &bytes).expect("the copy should be written");
    let message = refused();
    assert!(message.contains("truncated: tensor embeddings.word_embeddings.weight"), "{message}");
    assert!(message.contains("the file has 1000000 bytes"), "{message}");

    std::fs::copy(dir.join("model.safetensors"), &weights).expect("the weights should be copied");
    let config = std::fs::read_to_string(dir.join("config.json")).expect("the configuration should be read");
    let smaller = config.replace("30522", "30000");
    std::fs::write(copy.path().join("config.json"), smaller).expect("the copy should be written");
    assert!(refused().contains("a tokenizer of another model"));
    let deeper = config.replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 7");
    std::fs::write(copy.path().join("config.json"), deeper).expect("the copy should be written");
    assert!(refused().contains("encoder.layer.6.attention.output.LayerNorm.bias"), "{}", refused());
}

/// The tokenizer of a smaller model makes ids that all have a row, but not the right one.
#[test]
fn a_smaller_tokenizer_is_refused() {
    let tiny = golden::path("bert_tiny/model/tokenizer.json");
    let expected = "a tokenizer of another model: expected 30522 tokens, one for each row of the model's embedding \
                    table, found 116";
    let error = TextTokenizer::open(&tiny, 30522, 256).expect_err("it should be refused");
    assert!(error.is_input_error() && error.to_string().ends_with(expected), "{error}");

    let (Some(gpu), Some(dir)) = (device::gpu(), model(NAME)) else { return };
    let copy = tempfile::tempdir().expect("there should be room for a copy");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(dir.join(file), copy.path().join(file)).expect("the file should be copied");
    }
    let tokenizer = copy.path().join("tokenizer.json");
    std::fs::copy(tiny, &tokenizer).expect("the tokenizer should be copied");
    let error = SentenceEncoder::load(gpu, copy.path()).expect_err("it should be refused");
    assert_eq!(error.to_string(), format!("{}: {expected}", tokenizer.display()));
}
