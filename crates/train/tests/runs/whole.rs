//! Runs that nobody interrupts, and those that cannot start.

use std::fs;

use kiln_train::TrainError;
use kiln_train::checkpoint::Checkpoint;
use kiln_train::config::{RunConfig, RunOptions};
use kiln_train::events::Event;
use kiln_train::run::{Control, Outcome, Run};

use crate::support::{Bench, Linear, train};

fn names(bench: &Bench, run: &str) -> Vec<String> {
    let entries = fs::read_dir(bench.path(run)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_its_files() {
    let bench = Bench::new(50);
    let Outcome::Finished(finished) = bench.run("run", bench.options()).unwrap() else {
        panic!("nobody interrupted it")
    };
    assert_eq!((finished.epochs, finished.best_epoch, finished.steps), (3, 3, 21));
    assert!(finished.test_error.unwrap() < 0.5, "{finished:?}");
    let files = [
        "best.safetensors",
        "config.toml",
        "confusion.png",
        "curves.svg",
        "last.safetensors",
        "metrics.jsonl",
    ];
    assert_eq!(names(&bench, "run"), files);
    assert_eq!(bench.bytes("run/best.safetensors"), bench.bytes("run/last.safetensors"));

    let metrics = bench.metrics("run");
    assert_eq!(metrics.len(), 4);
    assert_eq!(
        (&metrics[1]["epoch"], &metrics[1]["steps"], &metrics[1]["lr"]),
        (&2.into(), &14.into(), &0.1.into())
    );
    assert!(metrics[2]["train"]["loss"].as_f64() < metrics[0]["train"]["loss"].as_f64());
    assert!(metrics[0].get("validation").is_none());
    assert_eq!(metrics[3]["error"].as_f64(), finished.test_error);
    assert_eq!(metrics[3]["checkpoint"], "best.safetensors");

    let text = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    let config = RunConfig::parse(&text, "config.toml").unwrap();
    let checkpoint = Checkpoint::read(&finished.last).unwrap();
    assert_eq!((&config, checkpoint.state.step), (&checkpoint.config, 21));
    assert_eq!(checkpoint.classes, ["low", "middle", "high"]);
    // What was written down is all it takes to make the same again.
    Run::start(&bench.path("again"), config.clone(), config.network().unwrap(), Linear::new)
        .and_then(|run| train(run, usize::MAX))
        .unwrap();
    assert_eq!(bench.bytes("again/last.safetensors"), bench.bytes("run/last.safetensors"));
    assert_eq!(bench.metrics("again"), bench.metrics("run"));
}

#[test]
fn the_best_is_that_of_the_validation_part() {
    let bench = Bench::new(60);
    // From too high a rate the loss goes up and down.
    let options = RunOptions { validation: Some(0.3), epochs: Some(12), lr: Some(8.0), ..bench.options() };
    let Outcome::Finished(finished) = bench.run("run", options).unwrap() else { panic!() };
    let last = Checkpoint::read(&finished.last).unwrap();
    let epochs = &last.progress.epochs;
    let loss = |epoch: usize| epochs[epoch].validation.unwrap().loss;
    let best = (0..12).min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap();
    assert_eq!(finished.best_epoch as usize, best + 1);
    assert!(best < 11, "the test should have a best epoch before the last");
    let checkpoint = Checkpoint::read(&finished.best).unwrap();
    assert_eq!(checkpoint.progress.epoch as usize, best + 1);
    let marked: Vec<usize> = (0..12).filter(|epoch| epochs[*epoch].best).collect();
    assert_eq!(marked.last(), Some(&best));
}

#[test]
fn it_stops_when_validation_does_not_get_better() {
    let bench = Bench::new(60);
    let options = RunOptions {
        validation: Some(0.3),
        early_stop: Some(2),
        epochs: Some(50),
        lr: Some(8.0),
        ..bench.options()
    };
    let Outcome::Finished(finished) = bench.run("run", options).unwrap() else { panic!() };
    assert!(finished.epochs < 50 && finished.best_epoch + 2 == finished.epochs, "{finished:?}");
    let progress = Checkpoint::read(&finished.last).unwrap().progress;
    assert!(progress.stopped);
    // There is nothing left to do but to look at the test part again.
    let again = train(bench.resume("run").unwrap(), usize::MAX).unwrap();
    assert_eq!(again, Outcome::Finished(finished));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let bench = Bench::new(50);
    let error = bench.run("run", RunOptions { lr: Some(1e60), ..bench.options() }).unwrap_err();
    let TrainError::NotFinite { step, epoch, what, rate, saved, .. } = &error else { panic!("{error}") };
    assert_eq!((*epoch, *what, *rate, *saved), (1, "loss", 1e60, 0));
    assert!((2..6).contains(step), "{step}");
    assert!(!error.is_input_error());
    let message = error.to_string();
    let end = format!("{} (step 0)", bench.path("run/last.safetensors").display());
    assert!(message.contains("the loss is") && message.ends_with(&end), "{message}");
    assert_eq!(Checkpoint::read(&bench.path("run/last.safetensors")).unwrap().state.step, 0);
}

#[test]
fn the_schedule_goes_by_epochs_or_by_steps() {
    let bench = Bench::new(50);
    let rates = |name: &str, options: RunOptions| {
        bench.run(name, options).unwrap();
        let rate = |line: &serde_json::Value| line["lr"].as_f64().unwrap();
        bench.metrics(name)[..3].iter().map(rate).collect::<Vec<_>>()
    };
    let cosine = RunOptions { schedule: Some("cosine".parse().unwrap()), ..bench.options() };
    assert_eq!(rates("epochs", cosine.clone()), [0.1, 0.07500000000000001, 0.025000000000000012]);
    let by_step = RunOptions { schedule_by: Some("step".parse().unwrap()), ..cosine };
    let expected =
        [6.0, 13.0, 20.0].map(|step: f64| 0.05 * (1.0 + (step / 21.0 * std::f64::consts::PI).cos()));
    for (rate, expected) in rates("steps", by_step).iter().zip(expected) {
        assert!((rate - expected).abs() < 1e-12, "{rate} {expected}");
    }
    let plateau = RunOptions {
        schedule: Some("plateau0x0.5".parse().unwrap()),
        lr: Some(9.0),
        epochs: Some(8),
        ..bench.options()
    };
    bench.run("plateau", plateau).unwrap();
    assert!(bench.metrics("plateau")[7]["lr"].as_f64().unwrap() < 9.0);
}

#[test]
fn what_happens_is_told() {
    let bench = Bench::new(50);
    let mut told = Vec::new();
    let run = bench.start("run", RunOptions { validation: Some(0.2), ..bench.options() }).unwrap();
    run.train(&Control::default(), &mut |event: &Event| told.push(serde_json::to_value(event).unwrap()))
        .unwrap();
    let words: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(words[..5], ["started", "step", "evaluating", "epoch", "saved"]);
    assert_eq!(words.last(), Some(&"finished"));
    assert_eq!(
        (&told[0]["train"], &told[0]["validation"], &told[0]["test"]),
        (&40.into(), &10.into(), &40.into())
    );
    assert_eq!((&told[0]["parameters"], &told[0]["steps_per_epoch"]), (&15.into(), &5.into()));
    assert_eq!((&told[1]["batch"], &told[1]["batches"], &told[1]["step"]), (&5.into(), &5.into(), &5.into()));
    assert!(told[1]["steps_per_second"].as_f64() > Some(0.0) && told[1]["seconds_left"].is_f64());
    assert_eq!((&told[3]["epoch"], &told[3]["epochs"]), (&1.into(), &3.into()));
}

#[test]
fn a_folder_that_is_not_free_is_refused() {
    let bench = Bench::new(20);
    let refused = |name: &str| {
        let error = bench.run(name, bench.options()).unwrap_err();
        assert!(error.is_input_error());
        error.to_string().replace(&bench.path(name).display().to_string(), "RUN")
    };
    assert_eq!(refused("data"), "RUN: not empty: it holds classes.txt; a run needs a folder of its own");
    bench.run("run", bench.options()).unwrap();
    assert_eq!(refused("run"), "RUN: there is a run already; --resume RUN goes on with it, -o names another");
    // What a killed process leaves is in nobody's way.
    fs::create_dir(bench.path("killed")).unwrap();
    fs::write(bench.path("killed/.kiln-abcdef"), "half").unwrap();
    fs::write(bench.path("killed/.lock"), "").unwrap();
    bench.run("killed", bench.options()).unwrap();
    assert!(!bench.path("killed/.kiln-abcdef").exists());
    assert!(!bench.path("killed/.lock").exists());
}

#[test]
fn data_that_do_not_suit_the_network_are_refused() {
    let bench = Bench::new(20);
    let refused = |options: RunOptions| {
        let error = bench.run("run", options).unwrap_err();
        assert!(error.is_input_error() && !bench.path("run").exists());
        error.to_string()
    };
    let error = refused(RunOptions { train_limit: Some(21), ..bench.options() });
    assert!(error.ends_with("examples 0 to 21 were asked for, there are 20"), "{error}");
    let error = refused(RunOptions { data: Some(bench.path("nowhere")), ..bench.options() });
    assert!(error.contains("nowhere: "), "{error}");
    fs::write(bench.path("data/classes.txt"), "a\nb\nc\nd\n").unwrap();
    let error = refused(bench.options());
    assert!(error.ends_with("the network tells 3 classes apart, the data have 4"), "{error}");
    let other = crate::support::NETWORK.replace("[1, 2, 2]", "[1, 3, 2]");
    fs::write(bench.path("linear.toml"), other).unwrap();
    let error = refused(bench.options());
    assert!(
        error.ends_with(
            "the network reads examples of [1, 3, 2] (channels, height, width), these are [1, 2, 2]"
        ),
        "{error}"
    );
}
