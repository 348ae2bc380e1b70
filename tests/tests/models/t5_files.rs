//! T5's files in all the forms that they come in, and in some that they should not: weights as f16 and bf16, tables that
//! are missing or stored twice, and directories that do not fit together. And texts, from a directory to the last word.

use std::fs;
use std::ops::{ControlFlow, Range};

use kiln_engine::{TensorDesc, WeightError, WeightSource};
use kiln_gpu::{DeviceKind, DeviceProfile};
use kiln_models::generate::{Decoder, Finish, GenerateOptions, SpecialIds, generate};
use kiln_models::t5::{Precision, Runner, T5};
use kiln_models::weights::Weights;
use kiln_models::{ModelError, TextGenerator};
use kiln_tests::t5::{Form, Geometry, Stored, text, write_weights};
use kiln_tests::{compare, device};
use serde_json::Value;

use crate::layers::BOUND;
use crate::t5::{Model, assert_near, step, tensors};

const MODELS: [&str; 3] = ["v10", "v11", "odd"];

/// The logits of 20 forced steps of the prompt of 17 tokens, below each other.
fn forced(model: &Model, runner: &mut Runner) -> Vec<f32> {
    runner.begin(&[model.prompt(17, 0)], 1, 20).expect("the prompt should be encoded");
    model.forced(20).iter().flat_map(|token| step(runner, &[*token])).collect()
}

/// Weights that were rounded when they were stored.
#[test]
fn half_precision_files_are_read() {
    let Some(gpu) = device::gpu() else { return };
    let tensors = tensors();
    for name in MODELS {
        for (form, golden, precisions) in [
            (Form::F16, "f16", &[Precision::F32, Precision::F16][..]),
            (Form::Bf16, "bf16", &[Precision::F32]),
        ] {
            let model = Model::new(name, form);
            let vocab = model.geometry.vocab_size;
            for precision in precisions {
                let logits = forced(&model, &mut model.runner(gpu, *precision));
                // The golden has the first and the last step.
                let ends = [&logits[..vocab], &logits[19 * vocab..]].concat();
                let expected = &tensors[&format!("{name}.{golden}")].data;
                assert_near(&format!("{name} in {golden}, kept as {precision:?}"), &ends, expected, BOUND);
            }
        }
    }
}

/// `--precision f16` rounds matrices when they are loaded, and nothing else: norms and position biases stay f32, and so
/// do all sums. So the bound is that of f32.
#[test]
fn matrices_are_kept_as_f16() {
    let Some(gpu) = device::gpu() else { return };
    let tensors = tensors();
    for name in MODELS {
        let model = Model::new(name, Form::F32);
        for kind in [gpu.profile().kind, DeviceKind::Cpu, DeviceKind::Discrete] {
            let profile = DeviceProfile { kind, ..gpu.profile().clone() };
            let weights = Box::new(model.weights());
            let mut runner = Runner::with_profile(gpu, model.t5(Precision::F16), weights, profile);
            let logits = forced(&model, &mut runner);
            assert_near(name, &logits, &tensors[&format!("{name}.packed")].data, BOUND);
            // The rounding shows: 11 bits of 24 are left.
            let off = compare::layer_error(&logits, &tensors[&format!("{name}.forced.17")].data);
            assert!((2e-4..5e-3).contains(&off), "{name}, {kind:?}: {off:e}");
        }
    }
}

/// A source whose numbers of one tensor are far beyond f16's range.
struct Loud(Weights);

impl WeightSource for Loud {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        self.0.desc(name)
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        self.0.read(name, elements, out)?;
        if name == "decoder.block.0.layer.2.DenseReluDense.wo.weight" {
            out.iter_mut().for_each(|number| *number *= 1e6);
        }
        Ok(())
    }
}

/// What f16 cannot hold is no text of nonsense but an error, whoever finds the largest logit.
#[test]
fn weights_beyond_f16_are_told() {
    let Some(gpu) = device::gpu() else { return };
    let model = Model::new("v11", Form::F32);
    let weights = || Box::new(Loud(model.weights()));
    let mut full = Runner::new(gpu, model.t5(Precision::F32), weights());
    full.begin(&[model.prompt(17, 0)], 1, 4).expect("the prompt should be encoded");
    assert!(full.argmax(&[0], &[0]).expect("a step should run")[0].logit.is_finite(), "f32 holds them");
    let mut half = Runner::new(gpu, model.t5(Precision::F16), weights());
    half.begin(&[model.prompt(17, 0)], 1, 4).expect("the prompt should be encoded");
    let special = SpecialIds { decoder_start: 0, eos: vec![1], pad: 0 };
    let options = GenerateOptions { max_new_tokens: 4, ..GenerateOptions::default() };
    let told = generate(&mut half, 0..1, &special, &options, &mut |_, _| ControlFlow::Continue(()));
    let error = told.expect_err("f16 does not");
    assert!(matches!(error, ModelError::NotFiniteToken { prompt: 0, step: 0, .. }), "{error}");
    assert!(!error.is_input_error());
}

const CROSS_BIAS: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";

/// Tables under all names and under one, the bias that cross attention has in old files, and both at once.
#[test]
fn files_may_repeat_the_embedding_table() {
    let Some(gpu) = device::gpu() else { return };
    let tensors = tensors();
    let copies: &[&str] = &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
    let tied: &[&str] = &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"];
    for (name, added, shared) in [
        ("v10", tied, true),
        ("v10", &["decoder.embed_tokens.weight"], true),
        ("v10", copies, false),
        ("v10", &["encoder.embed_tokens.weight"], false),
        ("v10", &["decoder.embed_tokens.weight"], false),
        ("v10", &["lm_head.weight"], false),
        ("v11", copies, true),
        ("v11", copies, false),
        ("odd", tied, true),
    ] {
        let model = Model::new(name, Form::F32);
        let mut stored = model.geometry.tensors();
        let table = stored[0].clone();
        assert_eq!(table.name, "shared.weight");
        if !shared {
            stored.remove(0);
        }
        stored.extend(added.iter().map(|name| table.copy(name)));
        stored.push(Stored::new(CROSS_BIAS, &[model.geometry.buckets, model.geometry.heads]));
        write_weights(&model.dir().join("model.safetensors"), &stored, Form::F32)
            .expect("the weights should be written");
        let logits = forced(&model, &mut model.runner(gpu, Precision::F32));
        let what = format!("{name}, {added:?}, shared: {shared}");
        assert_near(&what, &logits, &tensors[&format!("{name}.forced.17")].data, BOUND);
    }
}

/// One line that names the file and the thing.
#[track_caller]
fn assert_refused<T>(result: Result<T, ModelError>, named: &[&str]) {
    let Err(error) = result else { panic!("{named:?} should be refused") };
    let message = error.to_string();
    assert!(error.is_input_error() && !message.contains('\n'), "{message}");
    for name in named {
        assert!(message.contains(name), "{name:?} in {message}");
    }
}

/// Changes the model's configuration.
fn edit(model: &Model, field: &str, value: impl Into<Value>) {
    let mut config = model.geometry.config();
    config[field] = value.into();
    fs::write(model.dir().join("config.json"), config.to_string()).expect("the file should be written");
}

#[test]
fn weights_that_are_not_those_of_the_configuration_are_refused() {
    let model = Model::new("v11", Form::F32);
    let open = || T5::new(model.config(), &model.weights(), Precision::F32);
    assert!(open().is_ok());
    edit(&model, "num_layers", 4);
    assert_refused(open(), &["model.safetensors", "encoder.block.3.layer.0.SelfAttention.k.weight"]);
    edit(&model, "num_layers", 2);
    assert_refused(open(), &["encoder.block.2.layer.1.DenseReluDense.wi_0.weight"]);
    edit(&model, "d_ff", 48);
    assert_refused(open(), &["DenseReluDense.wo.weight", "[32, 48]", "[32, 40]"]);
    edit(&model, "vocab_size", 127);
    assert_refused(open(), &["shared.weight", "[127, 32]", "[128, 32]"]);
    edit(&model, "feed_forward_proj", "relu");
    assert_refused(open(), &["DenseReluDense.wi.weight", "DenseReluDense.wi_1.weight"]);
    edit(&model, "relative_attention_num_buckets", 64);
    assert_refused(open(), &["relative_attention_bias.weight", "[64, 3]", "[32, 3]"]);
    // Two tables where the configuration says one is no error: transformers takes the embeddings for both.
    edit(&model, "tie_word_embeddings", true);
    assert!(open().is_ok());

    let model = Model::new("v11", Form::F32);
    let path = model.dir().join("model.safetensors");
    let mut stored = model.geometry.tensors();
    stored.retain(|tensor| tensor.name != "lm_head.weight");
    write_weights(&path, &stored, Form::F32).expect("the weights should be written");
    let open = || T5::new(model.config(), &model.weights(), Precision::F32);
    assert_refused(open(), &["model.safetensors", "lm_head.weight"]);
    stored = model.geometry.tensors();
    stored.push(Stored::new("encoder.block.0.layer.0.SelfAttention.q.bias", &[48]));
    write_weights(&path, &stored, Form::F32).expect("the weights should be written");
    assert_refused(open(), &["encoder.block.0.layer.0.SelfAttention.q.bias"]);

    let model = Model::of("uneven", Geometry { d_ff: 41, ..Geometry::V11 }, Form::F32);
    assert!(T5::new(model.config(), &model.weights(), Precision::F32).is_ok());
    let packed = T5::new(model.config(), &model.weights(), Precision::F16);
    assert_refused(packed, &["model.safetensors", "f16", "d_ff", "41"]);
}

#[test]
fn directories_that_are_not_whole_are_refused() {
    let Some(gpu) = device::gpu() else { return };
    let model = Model::new("tiny", Form::F32);
    let load = || TextGenerator::load(gpu, model.dir(), Precision::F32);
    assert!(load().is_ok());
    for file in ["tokenizer.json", "config.json", "model.safetensors"] {
        let (path, aside) = (model.dir().join(file), model.dir().join("aside"));
        fs::rename(&path, &aside).expect("the file should be moved");
        assert_refused(load(), &[file]);
        fs::write(&path, "{").expect("the file should be written");
        assert_refused(load(), &[file]);
        fs::rename(&aside, &path).expect("the file should be moved back");
    }
    // A tokenizer with more pieces than the model has rows.
    let tokenizer = kiln_tests::t5::tokenizer(Geometry::TINY.vocab_size + 1);
    fs::write(model.dir().join("tokenizer.json"), tokenizer.to_string()).expect("it should be written");
    assert_refused(load(), &["tokenizer.json", "id 640", "640 rows"]);
}

/// More prompts than grow together, by text: each with the ids that it has alone, streamed as they end up.
#[test]
fn texts_come_out_as_they_are_streamed() {
    let Some(gpu) = device::gpu() else { return };
    let model = Model::new("tiny", Form::F32);
    let vocab = model.geometry.vocab_size;
    // Words alone: whatever is behind the characters and the English pieces, which have parts of words among them.
    let ids: Vec<Vec<u32>> =
        (1..=19).map(|length| crate::t5::prompt("tiny", 400, vocab, length, 0)).collect();
    let prompts: Vec<String> = ids.iter().map(|ids| text(vocab, ids)).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let mut generator = TextGenerator::load(gpu, model.dir(), Precision::F32).expect("the model should load");
    assert_eq!((generator.window(), generator.config().vocab_size), (512, vocab));
    let options = GenerateOptions { max_new_tokens: 8, ..GenerateOptions::default() };
    let mut streamed = vec![String::new(); prompts.len()];
    let texts = generator.generate(&prompts, &options, &mut |prompt, text| {
        streamed[prompt].push_str(text);
        ControlFlow::Continue(())
    });
    let texts = texts.expect("the model should generate");
    let mut runner = model.runner(gpu, Precision::F32);
    for (row, ids) in ids.iter().enumerate() {
        assert_eq!(generator.tokens(prompts[row]).expect("a text has tokens"), ids.len());
        assert_eq!(texts[row].prompt_tokens, ids.len());
        assert_eq!(texts[row].text, streamed[row]);
        runner.begin(std::slice::from_ref(ids), 1, 8).expect("the prompt should be encoded");
        let mut token = 0;
        for expected in &texts[row].ids {
            token = runner.argmax(&[token], &[0]).expect("the decoder should run")[0].id;
            assert_eq!(token, *expected, "prompt {row}");
        }
        let ended = texts[row].ids.last() == Some(&1);
        assert_eq!(texts[row].finish, if ended { Finish::Eos } else { Finish::Length });
        assert_eq!(texts[row].ids.len() < 8, ended && texts[row].ids.len() < 8);
    }
    assert!(texts.iter().any(|text| text.text.contains(' ')));

    let long = vec![prompts[18]; 40].join(" ");
    let refused = generator.generate(&[&long], &options, &mut |_, _| ControlFlow::Continue(()));
    assert_refused(refused, &["721", "512"]);
    let options = GenerateOptions { truncate: true, ..options };
    let cut = generator.generate(&[&long], &options, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(cut.expect("it may be cut")[0].prompt_tokens, 512);
}
