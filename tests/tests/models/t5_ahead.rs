//! Greedy search starts a step before anybody knows what the one before chose: the texts are the same as one step at a
//! time, and what was started in vain leaves nothing behind.

use std::ops::ControlFlow;

use kiln_models::generate::{Decoder, Finish, GenerateOptions, Sequence, SpecialIds, generate};
use kiln_models::t5::{Precision, Runner};
use kiln_tests::device;
use kiln_tests::t5::Form;

use crate::t5::{Model, step};

/// The ids of so many steps, one by one: what each row goes on with, whatever it means.
fn one_by_one(runner: &mut Runner, prompts: &[Vec<u32>], steps: usize) -> Vec<Vec<u32>> {
    runner.begin(prompts, 1, steps).expect("the prompts should be encoded");
    let parents: Vec<usize> = (0..prompts.len()).collect();
    let mut ids = vec![vec![]; prompts.len()];
    let mut tokens = vec![0; prompts.len()];
    for _ in 0..steps {
        let likeliest = runner.argmax(&tokens, &parents).expect("the decoder should run");
        tokens = likeliest.into_iter().map(|row| row.id).collect();
        ids.iter_mut().zip(&tokens).for_each(|(ids, token)| ids.push(*token));
    }
    ids
}

/// Generates until `stop` tokens of the first prompt have come.
fn run(
    runner: &mut Runner,
    prompts: &[Vec<u32>],
    eos: &[u32],
    options: &GenerateOptions,
    stop: usize,
) -> Vec<Sequence> {
    runner.begin(prompts, 1, options.max_new_tokens).expect("the prompts should be encoded");
    let special = SpecialIds { decoder_start: 0, eos: eos.to_vec(), pad: 0 };
    let mut told = 0;
    let sequences = generate(runner, 0..prompts.len(), &special, options, &mut |prompt, _| {
        told += usize::from(prompt == 0);
        if told == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    sequences.expect("the model should generate")
}

#[test]
fn texts_are_those_of_one_step_at_a_time() {
    let Some(gpu) = device::gpu() else { return };
    for (name, precision) in [("v10", Precision::F32), ("v11", Precision::F16)] {
        let model = Model::new(name, Form::F32);
        let mut runner = model.runner(gpu, precision);
        let prompts = [17, 5, 40, 16].map(|length| model.prompt(length, 0));
        const STEPS: usize = 20;
        let whole = one_by_one(&mut model.runner(gpu, precision), &prompts, STEPS);
        // Whatever comes in the middle of two of the rows ends them, and the others wherever they have it.
        let eos = [whole[1][4], whole[3][9]];
        let end =
            |ids: &[u32]| ids.iter().position(|id| eos.contains(id)).map_or(usize::MAX, |place| place + 1);
        let ends: Vec<usize> = whole.iter().map(|ids| end(ids)).collect();
        assert!(ends.iter().any(|other| *other != ends[0]), "{name}: {ends:?}");
        let options = |max_new_tokens| GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
        let check = |sequences: Vec<Sequence>, most: usize, what: &str| {
            for ((sequence, ids), end) in sequences.iter().zip(&whole).zip(&ends) {
                assert_eq!(sequence.ids, ids[..most.min(*end)], "{name}, {what}");
                assert_eq!(sequence.finish == Finish::Eos, *end <= most, "{name}, {what}");
            }
        };
        // One runner for all: each generation but the first follows one whose last step may have been in vain.
        for (most, what) in [(STEPS, "with ends"), (1, "a token"), (2, "two"), (STEPS, "again")] {
            check(run(&mut runner, &prompts, &eos, &options(most), usize::MAX), most, what);
        }
        let stopped = run(&mut runner, &prompts, &[], &options(STEPS), 3);
        assert_eq!((&stopped[0].ids[..], stopped[0].finish), (&whole[0][..3], Finish::Stopped));
        check(run(&mut runner, &prompts, &eos, &options(STEPS), usize::MAX), STEPS, "after a stop");
        // The host chooses the first tokens, and the device the rest.
        let late = GenerateOptions { min_length: 3, ..options(STEPS) };
        let mixed = run(&mut runner, &prompts, &[], &late, usize::MAX);
        assert!(mixed.iter().zip(&whole).all(|(sequence, ids)| sequence.ids == *ids), "{name}");
    }
}

/// Rows go on as if what was given up had never been asked for, in any order of the ways to ask.
#[test]
fn what_is_given_up_leaves_no_trace() {
    let Some(gpu) = device::gpu() else { return };
    let model = Model::new("v11", Form::F32);
    let prompts = [17, 5].map(|length| model.prompt(length, 0));
    let begin = |runner: &mut Runner| runner.begin(&prompts, 1, 8).expect("the prompts should be encoded");
    let mut plain = model.runner(gpu, Precision::F32);
    begin(&mut plain);
    let steps = [[0, 0], [7, 9], [11, 3]];
    let expected: Vec<Vec<f32>> = steps.iter().map(|tokens| step(&mut plain, tokens)).collect();

    let mut runner = model.runner(gpu, Precision::F32);
    begin(&mut runner);
    for (tokens, expected) in steps.iter().zip(&expected) {
        // The rows change places in vain.
        runner.start(&[2, 2], &[1, 0]).expect("a step should start");
        (0..3).for_each(|_| runner.follow().expect("a step should start"));
        assert_eq!(step(&mut runner, tokens), *expected);
    }
    begin(&mut runner);
    runner.start(&steps[0], &[0, 1]).expect("a step should start");
    (0..3).for_each(|_| runner.follow().expect("a step should start"));
    let first = runner.chosen().expect("the decoder should run");
    let logits: Vec<f32> = first.iter().map(|row| row.logit).collect();
    let largest = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let rows = expected[0].chunks_exact(expected[0].len() / 2);
    assert_eq!(logits, rows.map(largest).collect::<Vec<_>>(), "the oldest step comes first");
    assert_eq!(step(&mut runner, &steps[1]), expected[1], "the others are given up");
}
