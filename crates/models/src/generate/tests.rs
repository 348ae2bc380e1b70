//! Whole generations on a decoder that follows a formula: against transformers, which has the same formula
//! (`assets/goldens/generate/make.py`), and what transformers has no word for.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::processors::{Processors, Warpers};
use super::*;

/// Logits that follow from the prompt and the last two ids, as `logits` of `make.py` has them. It keeps the history of
/// each row as a device would, and checks what it is asked.
struct Scripted {
    prompts: Vec<u64>,
    vocab: usize,
    /// Of each row what it has read, after the last step that was taken.
    rows: Vec<Vec<u32>>,
    /// The same after each step that was started and not taken.
    under_way: VecDeque<Vec<Vec<u32>>>,
    /// How often it was asked for logits, and for the largest of them alone.
    asked: [usize; 2],
    /// What it was asked, in order.
    calls: Vec<&'static str>,
    /// Replaces a logit from a step on: step, row, token, value.
    fault: Option<(usize, usize, usize, f32)>,
}

impl Scripted {
    fn new(prompts: &[u64], vocab: usize, beams: usize) -> Scripted {
        let rows = vec![Vec::new(); prompts.len() * beams];
        let (under_way, calls) = (VecDeque::new(), Vec::new());
        Scripted { prompts: prompts.to_vec(), vocab, rows, under_way, asked: [0; 2], calls, fault: None }
    }

    /// The rows after a step.
    fn read(&mut self, tokens: &[u32], parents: &[usize]) -> Vec<Vec<u32>> {
        self.under_way.clear();
        assert_eq!([tokens.len(), parents.len()], [self.rows.len(); 2], "as many rows as ever");
        let beams = self.rows.len() / self.prompts.len();
        let step = |(row, (token, parent)): (usize, (&u32, &usize))| {
            assert_eq!(row / beams, parent / beams, "a beam continues one of its own prompt");
            let mut ids = self.rows[*parent].clone();
            ids.push(*token);
            ids
        };
        tokens.iter().zip(parents).enumerate().map(step).collect()
    }

    fn after(&self, rows: &[Vec<u32>]) -> Vec<f32> {
        let beams = rows.len() / self.prompts.len();
        let row = |(row, ids): (usize, &Vec<u32>)| logits(self.prompts[row / beams], ids, self.vocab);
        let mut logits: Vec<f32> = rows.iter().enumerate().flat_map(row).collect();
        if let Some((_, row, token, value)) = self.fault.filter(|fault| rows[0].len() > fault.0) {
            logits[row * self.vocab + token] = value;
        }
        logits
    }

    /// As a device chooses: what is not a number is larger than all.
    fn likeliest(&self, rows: &[Vec<u32>]) -> Vec<Likeliest> {
        let row = |row: &[f32]| {
            let place = row.iter().position(|logit| logit.is_nan()).unwrap_or_else(|| numbers::argmax(row));
            Likeliest { id: place as u32, logit: row[place] }
        };
        self.after(rows).chunks_exact(self.vocab).map(row).collect()
    }
}

impl Decoder for Scripted {
    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn logits(&mut self, tokens: &[u32], parents: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.asked[0] += 1;
        self.calls.push("logits");
        self.rows = self.read(tokens, parents);
        Ok(self.after(&self.rows))
    }

    fn start(&mut self, tokens: &[u32], parents: &[usize]) -> Result<(), ModelError> {
        self.calls.push("start");
        let rows = self.read(tokens, parents);
        self.under_way.push_back(rows);
        Ok(())
    }

    fn follow(&mut self) -> Result<(), ModelError> {
        self.calls.push("follow");
        let mut rows = self.under_way.back().expect("a step should be under way").clone();
        let likeliest = self.likeliest(&rows);
        rows.iter_mut().zip(likeliest).for_each(|(ids, likeliest)| ids.push(likeliest.id));
        self.under_way.push_back(rows);
        Ok(())
    }

    fn chosen(&mut self) -> Result<Vec<Likeliest>, ModelError> {
        self.asked[1] += 1;
        self.calls.push("chosen");
        self.rows = self.under_way.pop_front().expect("a step should be under way");
        Ok(self.likeliest(&self.rows))
    }
}

fn logits(prompt: u64, ids: &[u32], vocab: usize) -> Vec<f32> {
    const NONE: u64 = (1 << 18) - 1;
    let mut back = ids.iter().rev().map(|id| u64::from(*id));
    let last = back.next().expect("a decoder should have read something");
    let before = back.next().unwrap_or(NONE);
    let token = |token| {
        let near = uniform((prompt << 36) + (last << 18) + token);
        let far = uniform((1 << 60) + (before << 36) + (last << 18) + token);
        4.0 * near + far
    };
    (0..vocab as u64).map(token).collect()
}

fn uniform(index: u64) -> f32 {
    let mut z = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / 8_388_608.0 - 1.0
}

#[derive(Deserialize)]
struct Expected {
    logits: Vec<f32>,
    processors: Vec<Processed>,
    generations: Vec<Generation>,
}

#[derive(Deserialize)]
struct Processed {
    kind: String,
    arguments: Arguments,
    ids: Vec<u32>,
    eos: Vec<u32>,
    scores: Vec<Option<f32>>,
    expected: Vec<Option<f32>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    penalty: Option<f64>,
    size: usize,
    length: usize,
    temperature: Option<f64>,
    k: usize,
    p: Option<f64>,
    keep: usize,
}

#[derive(Deserialize)]
struct Generation {
    name: String,
    prompts: Vec<u64>,
    vocab: usize,
    eos: Vec<u32>,
    options: Options,
    sequences: Vec<Vec<u32>>,
    scores: Option<Vec<f32>>,
}

/// Transformers' names; its defaults are those of [`GenerateOptions`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    max_new_tokens: usize,
    #[serde(default)]
    min_length: usize,
    num_beams: Option<usize>,
    length_penalty: Option<f64>,
    #[serde(default)]
    early_stopping: bool,
    repetition_penalty: Option<f64>,
    #[serde(default)]
    no_repeat_ngram_size: usize,
    seed: Option<u64>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
}

impl Options {
    fn options(&self) -> GenerateOptions {
        let (default, draws) = (GenerateOptions::default(), Sampling::default());
        GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            min_length: self.min_length,
            beams: self.num_beams.unwrap_or(default.beams),
            length_penalty: self.length_penalty.unwrap_or(default.length_penalty),
            early_stopping: self.early_stopping,
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            sampling: self.seed.map(|seed| Sampling {
                temperature: self.temperature.unwrap_or(draws.temperature),
                top_k: self.top_k.unwrap_or(draws.top_k),
                top_p: self.top_p.unwrap_or(draws.top_p),
                seed,
            }),
            truncate: false,
        }
    }
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../../../assets/goldens/generate/expected.json"))
        .expect("the golden should be of this form")
}

fn special(eos: &[u32]) -> SpecialIds {
    SpecialIds { decoder_start: 0, eos: eos.to_vec(), pad: 0 }
}

/// Generates, and checks that what was told on the way is what comes out.
fn run(decoder: &mut Scripted, eos: &[u32], options: &GenerateOptions) -> Vec<Sequence> {
    let mut told = vec![Vec::new(); decoder.prompts.len()];
    let prompts = decoder.prompts.len();
    let sequences = generate(decoder, 0..prompts, &special(eos), options, &mut |prompt, id| {
        told[prompt].extend(id);
        ControlFlow::Continue(())
    })
    .unwrap();
    let ids: Vec<_> = sequences.iter().map(|sequence| sequence.ids.clone()).collect();
    assert_eq!(told, ids);
    sequences
}

#[test]
fn the_formula_is_that_of_the_golden() {
    assert_eq!(logits(2, &[0], 4), expected().logits);
}

#[test]
fn generations_are_those_of_transformers() {
    let generations = expected().generations;
    assert!(generations.len() > 40);
    for golden in generations {
        let options = golden.options.options();
        let mut decoder = Scripted::new(&golden.prompts, golden.vocab, options.beams);
        let sequences = run(&mut decoder, &golden.eos, &options);
        let name = &golden.name;
        for (index, (sequence, ids)) in sequences.iter().zip(&golden.sequences).enumerate() {
            assert_eq!(sequence.ids, *ids, "{name}, prompt {index}");
            let ended = ids.last().is_some_and(|id| golden.eos.contains(id));
            assert_eq!(sequence.finish, if ended { Finish::Eos } else { Finish::Length }, "{name}");
            let score = golden.scores.as_ref().map(|scores| scores[index]);
            match (sequence.score, score) {
                (Some(score), Some(expected)) => {
                    assert!((score - expected).abs() <= 2e-6 * expected.abs(), "{name}: {score} {expected}");
                }
                (None, None) => {}
                scores => panic!("{name}: {scores:?}"),
            }
        }
        assert_eq!(sequences.len(), golden.sequences.len());
    }
}

#[test]
fn processors_are_those_of_transformers() {
    for golden in expected().processors {
        let Processed { kind, arguments, ids, eos, scores, expected } = golden;
        let with = |options: GenerateOptions, scores: &mut [f32]| {
            Processors::new(&options, &special(&eos)).apply(&ids, scores);
        };
        let warp = |sampling: Sampling, scores: &mut [f32]| {
            Warpers::new(&Sampling { seed: 0, ..sampling }, arguments.keep).apply(scores);
        };
        let options = GenerateOptions::default;
        let all = Sampling { top_k: 0, ..Sampling::default() };
        let low = |score: &Option<f32>| score.unwrap_or(f32::NEG_INFINITY);
        let mut actual: Vec<f32> = scores.iter().map(low).collect();
        let row = actual.as_mut_slice();
        match kind.as_str() {
            "repetition_penalty" => {
                let repetition_penalty = arguments.penalty.unwrap();
                with(GenerateOptions { repetition_penalty, ..options() }, row);
            }
            "no_repeat_ngram" => {
                with(GenerateOptions { no_repeat_ngram_size: arguments.size, ..options() }, row);
            }
            "min_length" => with(GenerateOptions { min_length: arguments.length, ..options() }, row),
            "temperature" => warp(Sampling { temperature: arguments.temperature.unwrap(), ..all }, row),
            "top_k" => warp(Sampling { top_k: arguments.k, ..all }, row),
            "top_p" => warp(Sampling { top_p: arguments.p.unwrap(), ..all }, row),
            kind => panic!("no processor {kind}"),
        }
        for (actual, expected) in actual.iter().zip(expected.iter().map(low)) {
            let equal = *actual == expected || (actual - expected).abs() <= 1e-6 * expected.abs();
            assert!(equal, "{kind} {ids:?}: {actual} {expected}");
        }
    }
}

/// Only rows that are changed on the host have to come to it.
#[test]
fn logits_are_asked_for_where_they_are_needed() {
    let asked = |options: GenerateOptions| {
        let mut decoder = Scripted::new(&[2, 3], 24, 1);
        run(&mut decoder, &[1], &GenerateOptions { max_new_tokens: 10, ..options });
        decoder.asked
    };
    let options = GenerateOptions::default;
    assert_eq!(asked(options()), [0, 10]);
    assert_eq!(asked(GenerateOptions { min_length: 4, ..options() }), [3, 7]);
    assert_eq!(asked(GenerateOptions { repetition_penalty: 0.9, ..options() }), [10, 0]);
    // Once all sequences have ended, nothing is asked any more.
    let mut decoder = Scripted::new(&[2, 4], 24, 1);
    let sequences = run(&mut decoder, &[1, 5, 9], &options());
    let longest = sequences.iter().map(|sequence| sequence.ids.len()).max();
    assert_eq!((longest, decoder.asked), (Some(5), [0, 5]));
    // Meanwhile the decoder reads padding for those that have, where the host has a say in what is chosen.
    let padded = SpecialIds { pad: 6, ..special(&[1, 5, 9]) };
    for beams in [1, 2] {
        let repetition_penalty = if beams == 1 { 1.001 } else { 1.0 };
        let options = GenerateOptions { beams, length_penalty: 0.0, repetition_penalty, ..options() };
        let mut decoder = Scripted::new(&[2, 4], 24, beams);
        let sequences =
            generate(&mut decoder, 0..2, &padded, &options, &mut |_, _| ControlFlow::Continue(()));
        assert!(sequences.unwrap().iter().all(|sequence| sequence.finish == Finish::Eos));
        let ended: Vec<bool> = decoder.rows.chunks(beams).map(|rows| rows[0].ends_with(&[6])).collect();
        assert!(ended == [true, false] || ended == [false, true], "{:?}", decoder.rows);
    }
}

/// Nobody has to know what a step chose before the next is on its way.
#[test]
fn the_next_step_starts_before_one_is_waited_for() {
    let calls = |options: GenerateOptions, eos: &[u32]| {
        let mut decoder = Scripted::new(&[2, 4], 24, 1);
        let sequences = run(&mut decoder, eos, &options);
        (decoder, sequences)
    };
    let options = |max_new_tokens| GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
    let (decoder, _) = calls(options(4), &[]);
    assert_eq!(
        decoder.calls,
        ["start", "follow", "chosen", "follow", "chosen", "follow", "chosen", "chosen"],
        "and none that would be of no use"
    );
    assert_eq!(calls(options(1), &[]).0.calls, ["start", "chosen"]);
    let (decoder, _) = calls(GenerateOptions { min_length: 3, ..options(4) }, &[]);
    assert_eq!(decoder.calls, ["logits", "logits", "start", "follow", "chosen", "chosen"]);
    // At the end a step has been started in vain.
    let (decoder, sequences) = calls(options(20), &[1, 5, 9]);
    let ends: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
    assert_eq!((decoder.under_way.len(), ends.iter().max()), (1, Some(&5)));
    // Until then the row that had ended went on by itself.
    let early = if ends[0] < ends[1] { 0 } else { 1 };
    let ids = &sequences[early].ids;
    let (alone, whole) = (run(&mut Scripted::new(&[[2, 4][early]], 24, 1), &[], &options(5)), &decoder.rows);
    assert_eq!((whole[early][1..=ids.len()].to_vec(), &whole[early][1..]), (ids.clone(), &alone[0].ids[..4]));
}

#[test]
fn a_prompt_is_answered_alike_in_any_company() {
    let sampling = Some(Sampling { seed: 9, top_k: 0, ..Sampling::default() });
    for (beams, sampling) in [(1, None), (4, None), (1, sampling), (3, sampling)] {
        let options = GenerateOptions { beams, sampling, max_new_tokens: 12, ..Default::default() };
        let alone = run(&mut Scripted::new(&[7], 24, beams), &[1, 5], &options);
        let first = run(&mut Scripted::new(&[7, 2, 7], 24, beams), &[1, 5], &options);
        assert_eq!(alone[0], first[0], "{beams} beams");
        assert_eq!(first[2] == first[0], sampling.is_none(), "the same prompt twice draws twice");
        let again = run(&mut Scripted::new(&[7, 2, 7], 24, beams), &[1, 5], &options);
        assert_eq!(again, first);
    }
}

/// Many prompts are asked for in parts.
#[test]
fn what_is_drawn_goes_by_the_place_among_all_prompts() {
    let sampling = Some(Sampling { seed: 9, top_k: 0, ..Sampling::default() });
    for beams in [1, 3] {
        let options = GenerateOptions { beams, sampling, max_new_tokens: 12, ..Default::default() };
        let whole = run(&mut Scripted::new(&[7, 2, 7], 24, beams), &[1, 5], &options);
        let mut told = vec![];
        let mut decoder = Scripted::new(&[7], 24, beams);
        let last = generate(&mut decoder, 2..3, &special(&[1, 5]), &options, &mut |prompt, id| {
            told.extend(id.map(|id| (prompt, id)));
            ControlFlow::Continue(())
        });
        assert_eq!(last.unwrap(), whole[2..], "{beams} beams");
        assert_eq!(told, whole[2].ids.iter().map(|id| (2, *id)).collect::<Vec<_>>());
    }
}

#[test]
fn the_caller_may_stop_it() {
    for beams in [1, 2, 4] {
        let options = GenerateOptions { beams, max_new_tokens: 30, ..Default::default() };
        let whole = run(&mut Scripted::new(&[2, 3], 24, beams), &[1, 5], &options);
        let mut told = [Vec::new(), Vec::new()];
        let mut decoder = Scripted::new(&[2, 3], 24, beams);
        let stopped = generate(&mut decoder, 0..2, &special(&[1, 5]), &options, &mut |prompt, id| {
            told[prompt].extend(id);
            if told[1].len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        for ((stopped, told), whole) in stopped.iter().zip(&told).zip(&whole) {
            assert!(stopped.ids.starts_with(told) && whole.ids.starts_with(told), "{beams} beams");
            assert_eq!(stopped.score.is_some(), beams > 1);
        }
        assert_eq!(told[1].len(), 2);
        assert!(decoder.rows[0].len() < 30, "it stopped");
        if beams == 1 {
            assert_eq!(stopped[1], Sequence { ids: told[1].clone(), finish: Finish::Stopped, score: None });
        }
    }
}

/// Where beams do not agree nothing is settled for a while; the caller is asked all the same.
#[test]
fn a_search_that_settles_nothing_can_be_stopped() {
    let options = GenerateOptions { beams: 4, max_new_tokens: 30, ..Default::default() };
    let mut decoder = Scripted::new(&[2], 24, 4);
    let stopped = generate(&mut decoder, 0..1, &special(&[]), &options, &mut |_, id| match id {
        None => ControlFlow::Break(()),
        Some(_) => ControlFlow::Continue(()),
    })
    .unwrap();
    assert_eq!(
        (stopped[0].finish, decoder.rows[0].len()),
        (Finish::Stopped, 1),
        "four beams begin differently"
    );
}

/// Tokens of a beam search come before its end where all beams agree.
#[test]
fn beams_tell_what_is_settled() {
    let options = GenerateOptions { beams: 2, max_new_tokens: 40, ..Default::default() };
    let mut decoder = Scripted::new(&[2], 24, 2);
    let (mut told, mut stopped_at) = (0, 0);
    generate(&mut decoder, 0..1, &special(&[1]), &options, &mut |_, id| {
        told += usize::from(id.is_some());
        if told == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    stopped_at += decoder.rows[0].len();
    assert!(told == 5 && stopped_at < 40, "{told} told at step {stopped_at}");
}

#[test]
fn what_is_no_number_is_refused() {
    for (beams, repetition_penalty) in [(1, 1.0), (1, 1.1), (2, 1.1)] {
        let options = GenerateOptions { beams, repetition_penalty, ..Default::default() };
        let mut decoder = Scripted::new(&[2, 3], 24, beams);
        decoder.fault = Some((3, beams, 7, f32::NAN));
        let error =
            generate(&mut decoder, 0..2, &special(&[1]), &options, &mut |_, _| ControlFlow::Continue(()));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "prompt 2: the logit of token 7 at step 3 is NaN");
    }
    // What becomes of a text behind its end is nobody's business.
    for repetition_penalty in [1.0, 1.1] {
        let options = GenerateOptions { repetition_penalty, ..Default::default() };
        let ended = run(&mut Scripted::new(&[2], 24, 1), &[1, 5, 9], &options).remove(0).ids.len();
        let mut decoder = Scripted::new(&[2, 3], 24, 1);
        decoder.fault = Some((ended, 0, 7, f32::NAN));
        let sequences = run(&mut decoder, &[1, 5, 9], &options);
        assert!(ended < sequences[1].ids.len(), "the other should go on: {sequences:?}");
    }
}

#[test]
fn odd_requests_are_answered() {
    let options = GenerateOptions { beams: 4, ..Default::default() };
    let mut nothing = |_, _| ControlFlow::Continue(());
    let mut generate = |vocab: usize, prompts: &[u64], eos: &[u32], options: &GenerateOptions| {
        let mut decoder = Scripted::new(prompts, vocab, options.beams);
        super::generate(&mut decoder, 0..prompts.len(), &special(eos), options, &mut nothing)
    };
    assert_eq!(generate(24, &[], &[1], &options).unwrap(), []);
    assert!(generate(24, &[2], &[1], &GenerateOptions { beams: 0, ..options.clone() }).is_err());
    let error = generate(2, &[2], &[0, 1], &options).unwrap_err().to_string();
    assert_eq!(error, "beams: expected 1 for a model of 2 tokens of which 2 end a sequence, got 4");
    // Fewer tokens than candidates, and none that ends a sequence.
    let sequence = generate(3, &[2], &[], &options).unwrap().remove(0);
    assert_eq!((sequence.ids.len(), sequence.finish), (20, Finish::Length));
    // Every token excluded: the first, as transformers' greedy decoding.
    let once = GenerateOptions { no_repeat_ngram_size: 1, max_new_tokens: 6, ..Default::default() };
    let drawn = GenerateOptions { sampling: Some(Sampling::default()), ..once.clone() };
    for options in [once, drawn] {
        assert_eq!(generate(3, &[2], &[], &options).unwrap()[0].ids[2..], [0; 4]);
    }
}
