//! Runs that are interrupted and go on.

use std::fs;
use std::time::Duration;

use kiln_train::checkpoint::Checkpoint;
use kiln_train::config::RunOptions;
use kiln_train::run::{Control, Outcome, Run};
use proptest::prelude::*;

use crate::support::{Bench, Linear, train};

/// All that a run may have: a schedule with a memory, early stopping, augmentation, a short last batch.
fn rich(bench: &Bench) -> RunOptions {
    RunOptions {
        validation: Some(0.25),
        early_stop: Some(3),
        epochs: Some(8),
        lr: Some(4.0),
        schedule: Some("warmup1,plateau0x0.5".parse().unwrap()),
        augment: Some("flip,jitter0.2".parse().unwrap()),
        ..bench.options()
    }
}

/// Interrupts a run after each of the numbers of steps, then lets it go to its end.
fn in_pieces(bench: &Bench, name: &str, options: RunOptions, pieces: &[usize]) {
    let mut run = bench.start(name, options).unwrap();
    for piece in pieces {
        match train(run, *piece).unwrap() {
            Outcome::Finished(_) => return,
            Outcome::Interrupted(interrupted) => {
                let checkpoint = Checkpoint::read(&interrupted.checkpoint).unwrap();
                assert_eq!(checkpoint.state.step, interrupted.step);
                run = bench.resume(name).unwrap();
            }
        }
    }
    assert!(matches!(train(run, usize::MAX).unwrap(), Outcome::Finished(_)));
}

fn assert_same(bench: &Bench, one: &str, other: &str) {
    for file in ["last.safetensors", "best.safetensors", "curves.svg", "confusion.png", "config.toml"] {
        assert_eq!(bench.bytes(&format!("{one}/{file}")), bench.bytes(&format!("{other}/{file}")), "{file}");
    }
    assert_eq!(bench.metrics(one), bench.metrics(other));
}

#[test]
fn an_interruption_at_any_step_changes_nothing() {
    let bench = Bench::new(50);
    bench.run("whole", bench.options()).unwrap();
    for step in 1..=21 {
        let name = format!("from{step}");
        in_pieces(&bench, &name, bench.options(), &[step]);
        assert_same(&bench, "whole", &name);
    }
    // After each single step.
    in_pieces(&bench, "steps", bench.options(), &[1; 21]);
    assert_same(&bench, "whole", "steps");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nor_do_many_of_a_rich_run(pieces in prop::collection::vec(1_usize..12, 0..12), seed in 0_u64..1000) {
        let bench = Bench::new(50);
        let options = RunOptions { seed: Some(seed), ..rich(&bench) };
        bench.run("whole", options.clone()).unwrap();
        in_pieces(&bench, "pieces", options, &pieces);
        assert_same(&bench, "whole", "pieces");
    }
}

#[test]
fn checkpoints_within_an_epoch_change_nothing() {
    let bench = Bench::new(50);
    bench.run("whole", rich(&bench)).unwrap();
    let run = bench.start("saved", rich(&bench)).unwrap();
    let control = Control { save_every: Duration::ZERO, ..Control::default() };
    run.train(&control, &mut |_: &_| {}).unwrap();
    assert_same(&bench, "whole", "saved");
}

#[test]
fn a_run_goes_on_with_the_same_options_only() {
    let bench = Bench::new(50);
    train(bench.start("run", bench.options()).unwrap(), 5).unwrap();
    let resume = |given: &RunOptions| Run::resume(&bench.path("run"), given, Linear::new).map(drop);
    // Said again, it is the same run.
    resume(&bench.options()).unwrap();
    let given = RunOptions {
        arch: Some("base".into()),
        epochs: Some(40),
        schedule: Some("cosine".parse().unwrap()),
        clip: Some(1.0),
        ..RunOptions::default()
    };
    let error = resume(&given).unwrap_err();
    assert!(error.is_input_error());
    assert_eq!(
        error.to_string().replace(&bench.path("run").display().to_string(), "RUN"),
        "RUN: the run cannot go on with other options: the network is linear in the run, base was given; clip is not \
         set in the run, 1.0 was given; epochs is 3 in the run, 40 was given; schedule is constant in the run, cosine was \
         given"
    );
    let other = crate::support::NETWORK.replace("\"flatten\"", "\"flatten\", \"relu\"");
    fs::write(bench.path("linear.toml"), other).unwrap();
    let error = resume(&bench.options()).unwrap_err().to_string();
    assert!(error.ends_with("network linear has other layers in the run than were given"), "{error}");
}

#[test]
fn data_may_move_but_not_change() {
    let bench = Bench::new(50);
    bench.run("whole", bench.options()).unwrap();
    train(bench.start("run", bench.options()).unwrap(), 5).unwrap();
    fs::rename(bench.path("data"), bench.path("moved")).unwrap();
    let error = bench.resume("run").map(drop).unwrap_err().to_string();
    assert!(error.contains("data: "), "{error}");
    let moved = RunOptions { data: Some(bench.path("moved")), ..RunOptions::default() };
    let resume = || Run::resume(&bench.path("run"), &moved, Linear::new);
    train(resume().unwrap(), usize::MAX).unwrap();
    assert_same(&bench, "whole", "run");
    crate::support::write_data(&bench.path("moved"), 51, 40);
    let error = resume().map(drop).unwrap_err().to_string();
    assert!(error.ends_with("the data are not those that it has learned from so far"), "{error}");
}

#[test]
fn what_cannot_go_on_is_refused() {
    let bench = Bench::new(50);
    let refused = |name: &str| {
        let error = bench.resume(name).map(drop).unwrap_err();
        assert!(error.is_input_error(), "{error}");
        error.to_string().replace(&bench.path(name).display().to_string(), "RUN")
    };
    assert!(refused("nowhere").starts_with("RUN: "));
    assert_eq!(refused("data"), "RUN: no run to go on with: last.safetensors is missing");
    let run = bench.start("run", bench.options()).unwrap();
    assert_eq!(refused("run"), "RUN: another process is working on this run");
    drop(run);
    let bytes = bench.bytes("run/last.safetensors");
    fs::write(bench.path("run/last.safetensors"), &bytes[..bytes.len() - 3]).unwrap();
    assert!(refused("run").contains("last.safetensors: truncated"));
}

#[test]
fn metrics_that_were_lost_come_back_without_their_times() {
    let bench = Bench::new(50);
    bench.run("whole", bench.options()).unwrap();
    train(bench.start("run", bench.options()).unwrap(), 17).unwrap();
    fs::write(bench.path("run/metrics.jsonl"), "{\"epoch\":1,").unwrap();
    train(bench.resume("run").unwrap(), usize::MAX).unwrap();
    assert_same(&bench, "whole", "run");
}
