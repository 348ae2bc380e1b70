//! Many runs from one file.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use kiln_train::TrainError;
use kiln_train::run::Control;
use kiln_train::sweep::{Status, Sweep, SweepEvent, SweepOutcome};

use crate::support::{Bench, Linear};

/// Two experiments that share runs: 2 x 3 of one, 2 x 3 of the other, 3 of them alike.
fn file(bench: &Bench, more: &str) -> String {
    format!(
        r#"
        [common]
        arch = {:?}
        data = {:?}
        epochs = 2
        batch_size = 8
        {more}

        [[experiment]]
        name = "sizes"
        title = "Test error against training size"
        x = "train_limit"
        train_limit = [20, 40]
        seed = [0, 1, 2]

        [[experiment]]
        name = "rates"
        train_limit = 40
        lr = [0.1, 1.0]
        seed = [0, 1, 2]
        "#,
        bench.path("linear.toml"),
        bench.path("data"),
    )
}

/// Runs a sweep until it is interrupted after so many steps, and tells what it did with each run.
fn run(sweep: &Sweep, folder: &Path, steps: usize) -> (Result<SweepOutcome, TrainError>, Vec<Status>) {
    let (made, mut statuses) = (Cell::new(0), Vec::new());
    let interrupted = || {
        made.set(made.get() + 1);
        made.get() >= steps
    };
    let control = Control { interrupted: &interrupted, ..Control::default() };
    let outcome = sweep.run(folder, Linear::new, &control, &mut |event| {
        assert!(serde_json::to_value(event).unwrap()["event"].is_string());
        if let SweepEvent::Job { status, .. } = event {
            statuses.push(*status);
        }
    });
    (outcome, statuses)
}

#[test]
fn a_sweep_makes_its_runs_and_their_table() {
    let bench = Bench::new(60);
    let sweep = Sweep::parse(&file(&bench, ""), "course.toml").unwrap();
    let names: Vec<&str> = sweep.jobs().iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names[..4], ["linear_n20_s0", "linear_n20_s1", "linear_n20_s2", "linear_n40_s0"]);
    assert_eq!(names[6..9], ["linear_n40_lr0.1_s0", "linear_n40_lr0.1_s1", "linear_n40_lr0.1_s2"]);
    let folder = bench.path("sweep");
    let (outcome, statuses) = run(&sweep, &folder, usize::MAX);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.done, outcome.of, outcome.interrupted), (12, 12, false));
    assert!(outcome.failed.is_empty());
    assert_eq!(statuses, [Status::Started; 12]);
    let text = fs::read_to_string(&outcome.results).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"## Test error against training size") && lines.contains(&"## rates"), "{text}");
    assert!(lines.contains(&"| train limit | 20 | 40 |"), "{text}");
    let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((of("| linear | "), of("| lr 0.1 | 15 | "), of("| lr 1.0 | 15 | ")), (1, 1, 1), "{text}");
    assert!(text.contains(" ± ") && !text.contains(" of 3)"), "{text}");
    let svg = fs::read_to_string(folder.join("sizes.svg")).unwrap();
    assert!(svg.contains("test error (%)") && svg.contains("train limit"));
    assert!(!folder.join("rates.svg").exists());

    let before = text.clone();
    let (outcome, statuses) = run(&sweep, &folder, usize::MAX);
    assert_eq!(outcome.unwrap().done, 12);
    assert_eq!(statuses, [Status::Done; 12]);
    assert_eq!(fs::read_to_string(folder.join("results.md")).unwrap(), before);
}

#[test]
fn a_sweep_that_was_stopped_goes_on() {
    let bench = Bench::new(60);
    let sweep = Sweep::parse(&file(&bench, ""), "course.toml").unwrap();
    run(&sweep, &bench.path("whole"), usize::MAX).0.unwrap();
    let folder = bench.path("pieces");
    let (outcome, statuses) = run(&sweep, &folder, 20);
    assert!(outcome.unwrap().interrupted);
    assert_eq!(statuses, [Status::Started; 4]);
    let text = fs::read_to_string(folder.join("results.md")).unwrap();
    assert!(text.lines().any(|line| line.starts_with("| linear | ") && line.ends_with(" |  |")), "{text}");
    let (outcome, statuses) = run(&sweep, &folder, 21);
    assert!(outcome.unwrap().interrupted);
    assert_eq!(statuses[..4], [Status::Done, Status::Done, Status::Done, Status::Resumed]);
    let (outcome, _) = run(&sweep, &folder, usize::MAX);
    assert_eq!(outcome.unwrap().done, 12);
    for name in ["results.md", "sizes.svg", "runs/linear_n40_s0/last.safetensors"] {
        assert_eq!(bench.bytes(&format!("pieces/{name}")), bench.bytes(&format!("whole/{name}")), "{name}");
    }
}

#[test]
fn a_run_without_numbers_does_not_stop_the_others() {
    let bench = Bench::new(60);
    let text = file(&bench, "").replace("lr = [0.1, 1.0]", "lr = [1e60, 1.0]");
    let sweep = Sweep::parse(&text, "course.toml").unwrap();
    let (outcome, _) = run(&sweep, &bench.path("sweep"), usize::MAX);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.done, outcome.failed.len()), (9, 3));
    let text = fs::read_to_string(outcome.results).unwrap();
    assert!(text.contains("Their loss was no number any more: linear_n40_lr1e60_s0, "), "{text}");
}

#[test]
fn another_file_does_not_take_the_runs_of_the_first() {
    let bench = Bench::new(60);
    let folder = bench.path("sweep");
    run(&Sweep::parse(&file(&bench, ""), "course.toml").unwrap(), &folder, usize::MAX).0.unwrap();
    let other = Sweep::parse(&file(&bench, "momentum = 0.5"), "course.toml").unwrap();
    let error = run(&other, &folder, usize::MAX).0.unwrap_err();
    assert!(error.is_input_error());
    assert!(error.to_string().ends_with("momentum is 0.9 in the run, 0.5 was given"), "{error}");
}

#[test]
fn a_slip_is_named_with_its_experiment() {
    let bench = Bench::new(20);
    let refused = |from: &str, to: &str| {
        let error = Sweep::parse(&file(&bench, "").replace(from, to), "course.toml").unwrap_err();
        assert!(error.is_input_error());
        let message = error.to_string();
        assert!(message.starts_with("course.toml: ") && !message.contains('\n'), "{message}");
        message
    };
    assert!(
        refused("lr = [", "rate = [").starts_with("course.toml: experiment \"rates\": unknown field `rate`")
    );
    assert_eq!(
        refused("lr = [0.1, 1.0]", "lr = [0.1, -1.0]"),
        "course.toml: experiment \"rates\": learning rate -1: expected a finite number above 0"
    );
    assert!(refused("x = \"train_limit\"", "x = \"lr\"").ends_with("\"sizes\": x is lr, which no run has"));
    assert!(
        refused("x = \"train_limit\"", "x = \"data\"")
            .ends_with("x is data: expected an option with numbers, or parameters")
    );
    assert!(
        refused("name = \"rates\"", "name = \"sizes\"").ends_with("\"sizes\": there are two of this name")
    );
    assert!(
        refused("name = \"rates\"", "name = \"../rates\"")
            .ends_with("expected a name of letters, digits, _ and -")
    );
    assert!(refused("[[experiment]]", "[[experiments]]").contains("line "));
    assert!(refused("epochs = 2", "epochs = []").ends_with("there is nothing to run"));
    assert!(Sweep::open(&bench.path("nowhere.toml")).unwrap_err().is_input_error());
}
