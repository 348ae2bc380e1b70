//! T5 against PyTorch (`assets/goldens/t5/make.py`), with seeded weights: the encoder, the decoder with and without its
//! cache, and what it generates.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use kiln_engine::{GraphBuilder, Session, Tensor};
use kiln_gpu::{DeviceKind, DeviceProfile, Gpu, Limits};
use kiln_models::generate::{Decoder, GenerateOptions, Sequence, SpecialIds, generate};
use kiln_models::t5::{EncoderInputs, Precision, Runner, T5, T5Config};
use kiln_models::weights::Weights;
use kiln_reference::Array;
use kiln_tests::t5::{Form, Geometry};
use kiln_tests::{compare, data, device, golden};
use serde::Deserialize;
use tempfile::TempDir;

use crate::layers::{BOUND, LayerGolden};

/// Lengths of prompts around the borders of buckets, as in the script; the first four are kept whole.
const LENGTHS: [usize; 7] = [1, 15, 16, 17, 127, 128, 129];
/// Those with 20 forced steps.
const FORCED: [usize; 2] = [17, 129];
/// The steps of a long forced run, of the prompt of 16 tokens, that are kept.
const LONG: [usize; 16] = [0, 7, 8, 15, 16, 17, 31, 32, 63, 64, 112, 113, 126, 127, 128, 129];

/// A model of the golden on disk.
pub(crate) struct Model {
    /// Its name in the golden.
    pub(crate) name: &'static str,
    pub(crate) geometry: Geometry,
    dir: TempDir,
}

impl Model {
    pub(crate) fn new(name: &'static str, form: Form) -> Model {
        let (_, geometry) =
            Geometry::ALL.into_iter().find(|(known, _)| *known == name).expect("the name is known");
        Model::of(name, geometry, form)
    }

    /// A model that the golden does not have.
    pub(crate) fn of(name: &'static str, geometry: Geometry, form: Form) -> Model {
        let dir = tempfile::tempdir().expect("there should be room for a model");
        geometry.write(dir.path(), form).expect("the model should be written");
        Model { name, geometry, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> T5Config {
        T5Config::open(&self.dir().join("config.json")).expect("the configuration should be read")
    }

    pub(crate) fn weights(&self) -> Weights {
        Weights::open(&self.dir().join("model.safetensors")).expect("the weights should open")
    }

    pub(crate) fn t5(&self, precision: Precision) -> T5 {
        T5::new(self.config(), &self.weights(), precision).expect("the tensors should be those of the model")
    }

    pub(crate) fn runner(&self, gpu: &Gpu, precision: Precision) -> Runner {
        Runner::new(gpu, self.t5(precision), Box::new(self.weights()))
    }

    /// The script's `prompt`: seeded tokens, then EOS.
    pub(crate) fn prompt(&self, length: usize, draw: usize) -> Vec<u32> {
        prompt(self.name, 3, self.geometry.vocab_size, length, draw)
    }

    /// The script's `forced`: what the decoder is given, whatever it would have said.
    pub(crate) fn forced(&self, steps: usize) -> Vec<u32> {
        let tokens = data::indices(&format!("{}.forced", self.name), steps - 1, self.geometry.vocab_size);
        [vec![0], tokens].concat()
    }
}

/// Tokens of `low..high` by the hash of the harness, then EOS.
pub(crate) fn prompt(model: &str, low: usize, high: usize, length: usize, draw: usize) -> Vec<u32> {
    let tokens = data::indices(&format!("{model}.prompt.{length}.{draw}"), length - 1, high - low);
    tokens.into_iter().map(|token| low as u32 + token).chain([1]).collect()
}

pub(crate) fn tensors() -> BTreeMap<String, Array> {
    golden::tensors("t5/expected.safetensors")
}

/// The device as it is, and as a GPU or a software adapter would be planned for, with other limits on bindings.
fn profiles(gpu: &Gpu, max_bindings: &[u64]) -> Vec<DeviceProfile> {
    let own = gpu.profile();
    let mut profiles = vec![own.clone()];
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
        for &max_binding in max_bindings {
            let limits = Limits { max_binding: max_binding.min(own.limits.max_binding), ..own.limits };
            profiles.push(DeviceProfile { kind, limits, ..own.clone() });
        }
    }
    profiles
}

#[track_caller]
pub(crate) fn assert_near(what: &str, got: &[f32], expected: &[f64], bound: f64) {
    let error = compare::layer_error(got, expected);
    assert!(error <= bound, "{what}: {error:e}");
}

/// One step for each row, which goes on from itself.
pub(crate) fn step(runner: &mut Runner, tokens: &[u32]) -> Vec<f32> {
    let own: Vec<usize> = (0..tokens.len()).collect();
    runner.logits(tokens, &own).expect("the decoder should run")
}

/// The encoder's states of packed prompts.
fn encode(session: &mut Session, t5: &T5, weights: &Weights, prompts: &[Vec<u32>]) -> Vec<f32> {
    let ids = prompts.concat();
    let tokens = ids.len();
    let mut start = 0;
    let mut spans = Vec::new();
    for prompt in prompts {
        let end = start + prompt.len() as u32;
        spans.extend(prompt.iter().flat_map(|_| [start, end]));
        start = end;
    }
    let mut g = GraphBuilder::new("encoder");
    let inputs = EncoderInputs::declare(&mut g, tokens);
    let states = t5.encode(&mut g, inputs).expect("the encoder should build");
    g.output("states", states);
    let plan = session.load(&g.finish(), weights).expect("the encoder should load");
    let tensor = |shape: &[usize], data| Tensor::u32(shape, data).expect("the data should fill the shape");
    let (ids, spans) = (tensor(&[tokens], ids), tensor(&[tokens, 2], spans));
    let mut outputs =
        session.run(plan, &[("token_ids", &ids), ("spans", &spans)]).expect("the encoder should run");
    outputs.take("states").expect("the output should be there").into_f32().expect("states are f32")
}

/// The script lists tensors by transformers' names, the harness by its own list, and the graphs by what they read.
#[test]
fn tensors_are_those_of_transformers() {
    for (name, count) in [("v10", 47), ("v11", 75), ("odd", 42)] {
        let model = Model::new(name, Form::F32);
        let mut listed: Vec<(String, Vec<usize>)> =
            model.geometry.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
        let mut read = model.t5(Precision::F32).tensors().expect("the graphs should build");
        listed.sort();
        read.sort();
        assert_eq!(read, listed, "{name}");
        assert_eq!(read.len(), count, "{name}");
    }
}

/// All lengths packed into one run, and one alone.
#[test]
fn the_encoder_matches_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let (tensors, layers) = (tensors(), LayerGolden::read("t5/expected.safetensors"));
    for name in ["v10", "v11", "odd"] {
        let model = Model::new(name, Form::F32);
        let (t5, weights, width) = (model.t5(Precision::F32), model.weights(), model.geometry.d_model);
        let prompts: Vec<Vec<u32>> = LENGTHS.iter().map(|length| model.prompt(*length, 0)).collect();
        for profile in profiles(gpu, &[u64::MAX, 96 << 10]) {
            let mut session = Session::with_profile(gpu, profile);
            let states = encode(&mut session, &t5, &weights, &prompts);
            let mut rest = &states[..];
            for length in LENGTHS {
                let (own, after) = rest.split_at(length * width);
                rest = after;
                match tensors.get(&format!("{name}.encoder.{length}")) {
                    Some(expected) => assert_near(&format!("{name}, {length}"), own, &expected.data, BOUND),
                    None => {
                        let own = Tensor::f32([1, length, width], own.to_vec()).expect("it should be filled");
                        layers.check(name, &format!("encoder.{length}"), &own);
                    }
                }
            }
            assert!(rest.is_empty());
            let alone = encode(&mut session, &t5, &weights, &prompts[3..4]);
            assert_near(name, &alone, &tensors[&format!("{name}.encoder.17")].data, BOUND);
        }
    }
}

/// First steps of all lengths at once, then 20 forced steps, and for one of them 130, past the last border of the
/// decoder's buckets: a token at a time, each from the cache.
#[test]
fn steps_with_the_cache_match_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let tensors = tensors();
    for name in ["v10", "v11", "odd"] {
        let model = Model::new(name, Form::F32);
        let prompts: Vec<Vec<u32>> = LENGTHS.iter().map(|length| model.prompt(*length, 0)).collect();
        let forced = model.forced(LONG[LONG.len() - 1] + 1);
        let vocab = model.geometry.vocab_size;
        // The device's own plans take them all; the others are walked as far as the shorter goldens go.
        for (index, profile) in profiles(gpu, &[u64::MAX, 128 << 10]).into_iter().enumerate() {
            let mut runner =
                Runner::with_profile(gpu, model.t5(Precision::F32), Box::new(model.weights()), profile);
            let steps = if index == 0 { forced.len() } else { 20 };
            runner.begin(&prompts, 1, steps).expect("the prompts should be encoded");
            let mut far = 0;
            for (at, token) in forced[..steps].iter().enumerate() {
                let logits = step(&mut runner, &[*token; LENGTHS.len()]);
                let row = |length: usize| {
                    let row = LENGTHS.iter().position(|known| *known == length).expect("it is one of them");
                    &logits[row * vocab..][..vocab]
                };
                if at == 0 {
                    for length in LENGTHS {
                        let expected = &tensors[&format!("{name}.first.{length}")].data;
                        assert_near(&format!("{name}, {length}, first"), row(length), expected, BOUND);
                    }
                }
                if at < 20 {
                    for length in FORCED {
                        let expected = &tensors[&format!("{name}.forced.{length}")].data;
                        let expected = &expected[at * vocab..][..vocab];
                        assert_near(&format!("{name}, {length}, step {at}"), row(length), expected, BOUND);
                    }
                }
                if at == LONG[far] {
                    let expected = &tensors[&format!("{name}.long")].data[far * vocab..][..vocab];
                    assert_near(&format!("{name}, long, step {at}"), row(16), expected, BOUND);
                    far += 1;
                }
            }
            assert!(index != 0 || far == LONG.len());
        }
    }
}

/// The same logits, from the whole text at once.
#[test]
fn forced_texts_without_the_cache_match_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let tensors = tensors();
    for name in ["v10", "v11", "odd"] {
        let model = Model::new(name, Form::F32);
        let vocab = model.geometry.vocab_size;
        let (t5, weights) = (model.t5(Precision::F32), model.weights());
        for profile in profiles(gpu, &[u64::MAX, 96 << 10]) {
            let mut session = Session::with_profile(gpu, profile);
            for (length, steps) in FORCED.map(|length| (length, 20)).into_iter().chain([(16, 130)]) {
                let prompt = model.prompt(length, 0);
                let mut g = GraphBuilder::new("forced");
                let inputs = EncoderInputs::declare(&mut g, length);
                let encoded = t5.encode(&mut g, inputs).expect("the encoder should build");
                let logits = t5.forced(&mut g, "text", steps, encoded).expect("the decoder should build");
                g.output("logits", logits);
                let plan = session.load(&g.finish(), &weights).expect("the model should load");
                let tensor =
                    |shape: &[usize], data| Tensor::u32(shape, data).expect("the data should fill the shape");
                let spans = tensor(&[length, 2], [0, length as u32].repeat(length));
                let inputs = [
                    ("token_ids", &tensor(&[length], prompt)),
                    ("spans", &spans),
                    ("text_token_ids", &tensor(&[steps], model.forced(steps))),
                ];
                let mut outputs = session.run(plan, &inputs).expect("the model should run");
                let logits = outputs.take("logits").expect("the output should be there");
                let logits = logits.into_f32().expect("logits are f32");
                if steps == 20 {
                    let expected = &tensors[&format!("{name}.forced.{length}")].data;
                    assert_near(&format!("{name}, {length}"), &logits, expected, BOUND);
                } else {
                    let kept: Vec<f32> =
                        LONG.iter().flat_map(|at| &logits[at * vocab..][..vocab]).copied().collect();
                    assert_near(
                        &format!("{name}, long"),
                        &kept,
                        &tensors[&format!("{name}.long")].data,
                        BOUND,
                    );
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Generated {
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Prompt {
    pub(crate) length: usize,
    pub(crate) draw: usize,
}

/// What transformers makes of each prompt with some options.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) options: Options,
    pub(crate) ids: Vec<Vec<u32>>,
    /// Of a beam search.
    pub(crate) scores: Option<Vec<f64>>,
}

/// Under transformers' names, with its defaults; `eos` is the model's own unless it is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    max_new_tokens: Option<usize>,
    num_beams: Option<usize>,
    length_penalty: Option<f64>,
    early_stopping: Option<bool>,
    repetition_penalty: Option<f64>,
    no_repeat_ngram_size: Option<usize>,
    min_length: Option<usize>,
    eos: Option<Vec<u32>>,
}

impl Options {
    fn special(&self) -> SpecialIds {
        SpecialIds { decoder_start: 0, eos: self.eos.clone().unwrap_or_else(|| vec![1]), pad: 0 }
    }

    fn generate(&self) -> GenerateOptions {
        GenerateOptions {
            max_new_tokens: self.max_new_tokens.unwrap_or(24),
            beams: self.num_beams.unwrap_or(1),
            length_penalty: self.length_penalty.unwrap_or(1.0),
            early_stopping: self.early_stopping.unwrap_or(false),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram_size: self.no_repeat_ngram_size.unwrap_or(0),
            min_length: self.min_length.unwrap_or(0),
            ..GenerateOptions::default()
        }
    }
}

/// Generates from ids. What is streamed is what comes out at the end.
pub(crate) fn run(
    runner: &mut Runner,
    prompts: &[Vec<u32>],
    special: &SpecialIds,
    options: &GenerateOptions,
) -> Vec<Sequence> {
    runner.begin(prompts, options.beams, options.max_new_tokens).expect("the prompts should be encoded");
    let mut streamed = vec![vec![]; prompts.len()];
    let texts = generate(runner, 0..prompts.len(), special, options, &mut |prompt, id| {
        streamed[prompt].extend(id);
        ControlFlow::Continue(())
    });
    let texts = texts.expect("the model should generate");
    assert!(
        texts.iter().map(|text| &text.ids).eq(&streamed),
        "{streamed:?} was streamed, {texts:?} came out"
    );
    texts
}

#[track_caller]
fn check_case(what: &str, texts: &[Sequence], case: &Case, rows: impl Iterator<Item = usize>) {
    for (text, row) in texts.iter().zip(rows) {
        assert_eq!(text.ids, case.ids[row], "{what}, {:?}, prompt {row}", case.options);
        let expected = case.scores.as_ref().map(|scores| scores[row]);
        match (text.score, expected) {
            (Some(score), Some(expected)) => {
                let error = (f64::from(score) - expected).abs() / expected.abs().max(1.0);
                assert!(
                    error <= BOUND,
                    "{what}, {:?}, prompt {row}: score {score}, not {expected}",
                    case.options
                );
            }
            (None, None) => {}
            (score, expected) => panic!("{what}, {:?}: score {score:?}, not {expected:?}", case.options),
        }
    }
}

/// Every way of choosing, for prompts of 1 to 300 tokens in one batch, and for some of them alone.
#[test]
fn texts_are_those_of_transformers() {
    let Some(gpu) = device::gpu() else { return };
    let all: BTreeMap<String, serde_json::Value> = golden::json("t5/expected.json");
    for name in ["v10", "v11", "odd"] {
        let expected: Generated =
            serde_json::from_value(all[name].clone()).expect("the golden should have this form");
        let model = Model::new(name, Form::F32);
        let prompts: Vec<Vec<u32>> =
            expected.prompts.iter().map(|prompt| model.prompt(prompt.length, prompt.draw)).collect();
        let mut runner = model.runner(gpu, Precision::F32);
        for case in &expected.cases {
            let (special, options) = (case.options.special(), case.options.generate());
            let texts = run(&mut runner, &prompts, &special, &options);
            check_case(name, &texts, case, 0..prompts.len());
            for row in [4, 6] {
                let alone = run(&mut runner, &prompts[row..=row], &special, &options);
                check_case(&format!("{name} alone"), &alone, case, std::iter::once(row));
            }
        }
    }
}

/// The same under plans for other devices; greedy and with beams.
#[test]
fn plans_for_other_devices_choose_the_same_texts() {
    let Some(gpu) = device::gpu() else { return };
    let all: BTreeMap<String, serde_json::Value> = golden::json("t5/expected.json");
    for name in ["v10", "v11"] {
        let expected: Generated =
            serde_json::from_value(all[name].clone()).expect("the golden should have this form");
        let model = Model::new(name, Form::F32);
        // Twice as many as fit the first size of sources.
        let both = || expected.prompts.iter().chain(&expected.prompts);
        let prompts: Vec<Vec<u32>> = both().map(|prompt| model.prompt(prompt.length, prompt.draw)).collect();
        for profile in profiles(gpu, &[u64::MAX]).into_iter().skip(1) {
            let weights = Box::new(model.weights());
            let mut runner = Runner::with_profile(gpu, model.t5(Precision::F32), weights, profile);
            for beams in [None, Some(4)] {
                let case = expected
                    .cases
                    .iter()
                    .find(|case| case.options.num_beams == beams && case.options.eos.is_some());
                let case = case.expect("there should be such a case");
                let texts = run(&mut runner, &prompts, &case.options.special(), &case.options.generate());
                let rows = (0..prompts.len()).map(|row| row % expected.prompts.len());
                check_case(name, &texts, case, rows);
            }
        }
    }
}

/// An embedding table and a last layer in several pieces, on both kinds of device, as f32 and as f16: the same numbers.
#[test]
fn tables_that_are_cut_change_nothing() {
    let Some(gpu) = device::gpu() else { return };
    let model = Model::of("cut", Geometry { vocab_size: 3001, ..Geometry::V11 }, Form::F32);
    let prompts = [5, 17, 40].map(|length| model.prompt(length, 0));
    // 384 kB, or 192 kB as f16, where a piece has at most 128 kB: enough for the source of 512 tokens.
    for precision in [Precision::F32, Precision::F16] {
        for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
            let [whole, cut] = [gpu.profile().limits.max_binding, 128 << 10].map(|max_binding| {
                let limits = Limits { max_binding, ..gpu.profile().limits };
                let profile = DeviceProfile { kind, limits, ..gpu.profile().clone() };
                let weights = Box::new(model.weights());
                let mut runner = Runner::with_profile(gpu, model.t5(precision), weights, profile);
                runner.begin(&prompts, 1, 4).expect("the prompts should be encoded");
                let logits: Vec<f32> =
                    model.forced(3).iter().flat_map(|token| step(&mut runner, &[*token; 3])).collect();
                let best = runner.argmax(&[7; 3], &[0, 1, 2]).expect("the decoder should run");
                (logits, best)
            });
            let wide: Vec<f64> = whole.0.iter().map(|x| f64::from(*x)).collect();
            assert_near(&format!("{kind:?}, {precision:?}"), &cut.0, &wide, 1e-6);
            assert_eq!(cut.1, whole.1, "{kind:?}, {precision:?}");
        }
    }
}
