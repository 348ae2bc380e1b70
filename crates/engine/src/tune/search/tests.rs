//! The search against a bench whose clock and times are made up.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::choices::Operand;
use crate::error::Mismatch;
use crate::ops::Matmul;
use crate::tensor::TensorDesc;

/// A product of `rows` rows.
fn question(rows: usize) -> Question {
    let operand = |shape: [usize; 2]| Operand { desc: TensorDesc::f32(shape), constant: false };
    Question::new("kernel", &Matmul::new().into(), vec![operand([rows, 64]), operand([64, 64])])
}

fn asked(rows: usize, names: &[&str]) -> Asked {
    let question = question(rows);
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Asked { key: question.key(), question, names, times: 1 }
}

fn key(rows: usize) -> String {
    question(rows).key()
}

/// The times of a candidate by the number of the run, the first of which is not counted; in milliseconds.
type Times = Box<dyn Fn(usize) -> f64>;

fn steady(millis: f64) -> Times {
    Box::new(move |_| millis)
}

/// Rows and name of a candidate, with its times.
#[derive(Default)]
struct Made {
    times: HashMap<(String, String), Times>,
    /// What is asked inside of a candidate.
    inside: HashMap<(String, String), Asked>,
    clock: Rc<Cell<Duration>>,
    runs: Rc<Cell<usize>>,
}

impl Made {
    fn with(mut self, rows: usize, name: &str, times: Times) -> Self {
        self.times.insert((key(rows), name.to_owned()), times);
        self
    }
}

struct MadeRace<'a> {
    key: String,
    bench: &'a Made,
    entrants: Vec<(String, usize)>,
}

impl<'a> Bench for &'a Made {
    type Race = MadeRace<'a>;

    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn questions(&mut self, question: &Question, choices: &Choices) -> Result<Vec<Asked>> {
        let key = question.key();
        let name = choices.get(&key).unwrap_or_default().to_owned();
        Ok(self.inside.get(&(key, name)).cloned().into_iter().collect())
    }

    fn race(&mut self, question: &Question) -> Result<MadeRace<'a>> {
        Ok(MadeRace { key: question.key(), bench: self, entrants: vec![] })
    }
}

impl Race for MadeRace<'_> {
    fn enter(&mut self, choices: &Choices) -> Result<usize> {
        let name = choices.get(&self.key).expect("an entrant should be forced");
        if !self.bench.times.contains_key(&(self.key.clone(), name.to_owned())) {
            return Err(Mismatch::new("candidate", "one that runs", name).at("matmul", "tune"));
        }
        self.entrants.push((name.to_owned(), 0));
        Ok(self.entrants.len() - 1)
    }

    fn sample(&mut self, entrant: usize) -> Result<f64> {
        let (name, run) = &mut self.entrants[entrant];
        let seconds = self.bench.times[&(self.key.clone(), name.clone())](*run) / 1e3;
        *run += 1;
        self.bench.runs.set(self.bench.runs.get() + 1);
        let passed = if seconds.is_finite() { seconds.clamp(0.0, 1.0) } else { 0.0 };
        self.bench.clock.set(self.bench.clock.get() + Duration::from_secs_f64(passed));
        Ok(seconds)
    }

    fn clear(&mut self) {
        self.entrants.clear();
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn search(bench: &Made, budget: Duration, asked: &[Asked]) -> Vec<Finding> {
    let options = TuneOptions::within(budget);
    let mut bench = bench;
    let mut go_on = |_: TuneProgress<'_>| ControlFlow::Continue(());
    Search::new(&mut bench, Choices::NONE, &options, &mut go_on)
        .run(|_| Ok(asked.to_vec()))
        .expect("made-up times should do")
}

/// What is chosen among candidates called `table`, `a`, `b` and so on.
fn chosen(times: Vec<Times>) -> Option<String> {
    let names = ["table", "a", "b", "c"];
    let names = &names[..times.len()];
    let bench =
        names.iter().zip(times).fold(Made::default(), |made, (name, times)| made.with(8, name, times));
    let finding = search(&bench, LONG, &[asked(8, names)]).remove(0);
    finding.settled.then_some(finding.chosen)
}

#[test]
fn only_a_clear_gain_unseats_the_table() {
    assert_eq!(chosen(vec![steady(10.0), steady(9.0)]).as_deref(), Some("a"));
    assert_eq!(chosen(vec![steady(10.0), steady(9.6)]).as_deref(), Some("table"));
    assert_eq!(chosen(vec![steady(10.0), steady(10.0)]).as_deref(), Some("table"));
    assert_eq!(chosen(vec![steady(10.0), steady(8.0), steady(7.0), steady(50.0)]).as_deref(), Some("b"));
    // The first of equals.
    assert_eq!(chosen(vec![steady(10.0), steady(7.0), steady(7.0)]).as_deref(), Some("a"));
}

#[test]
fn a_gain_that_comes_and_goes_is_none() {
    // Faster by far in four rounds of seven, slower in the rest; three runs come before.
    let now_and_then: Times = Box::new(|run| if run % 2 == 1 { 5.0 } else { 11.0 });
    assert_eq!(chosen(vec![steady(10.0), now_and_then]).as_deref(), Some("table"));
}

#[test]
fn implausible_samples_are_thrown_away() {
    let broken = |wrong: f64| -> Times { Box::new(move |run| if run % 3 == 2 { wrong } else { 10.0 }) };
    for wrong in [0.0, -5.0, f64::NAN, f64::INFINITY, 1e-9, 1e6] {
        let clock = format!("{wrong} ms now and then");
        assert_eq!(chosen(vec![steady(10.0), broken(wrong)]).as_deref(), Some("table"), "{clock}");
        assert_eq!(chosen(vec![broken(wrong), steady(8.0)]).as_deref(), Some("a"), "{clock}");
    }
    // With too few that are left there is nothing to compare.
    assert_eq!(chosen(vec![steady(10.0), steady(0.0)]).as_deref(), Some("table"));
    assert_eq!(chosen(vec![steady(-1.0), steady(5.0)]).as_deref(), Some("table"));
}

#[test]
fn what_is_hopeless_is_not_run_again() {
    let bench = Made::default().with(8, "table", steady(10.0)).with(8, "a", steady(100.0));
    let finding = search(&bench, LONG, &[asked(8, &["table", "a"])]).remove(0);
    assert_eq!((finding.chosen.as_str(), bench.runs.get()), ("table", 3 + 3));
    assert_eq!(finding.time("a"), Some(Duration::from_millis(100)), "it is told all the same");
}

#[test]
fn a_candidate_that_cannot_run_is_out() {
    let bench = Made::default().with(8, "table", steady(10.0)).with(8, "b", steady(5.0));
    let finding = search(&bench, LONG, &[asked(8, &["table", "a", "b"])]).remove(0);
    assert_eq!(finding.chosen, "b");
    assert_eq!(finding.times.len(), 2);
    // Without the table's there is nothing to compare with, and nobody beside it is no race.
    let bench = Made::default().with(8, "a", steady(5.0)).with(9, "table", steady(1.0));
    let findings = search(&bench, LONG, &[asked(8, &["table", "a"]), asked(9, &["table", "a"])]);
    assert!(findings.iter().all(|finding| finding.times.len() == 1 && finding.chosen == "table"));
    assert!(findings.iter().all(|finding| finding.settled), "more time would not help");
}

#[test]
fn the_budget_goes_to_what_costs_most() {
    let rows = [8, 512, 64];
    let bench = rows.into_iter().fold(Made::default(), |made, rows| {
        made.with(rows, "table", steady(10.0)).with(rows, "a", steady(5.0))
    });
    let questions = rows.map(|rows| asked(rows, &["table", "a"]));
    // A race takes 3 + 7 runs of both, 150 ms, and here the third one cannot end.
    let findings = search(&bench, Duration::from_millis(350), &questions);
    let told: Vec<_> = findings.iter().map(|finding| (finding.key.as_str(), finding.settled)).collect();
    let [small, large, middle] = rows.map(key);
    assert_eq!(told, [(large.as_str(), true), (middle.as_str(), true), (small.as_str(), false)]);
    assert_eq!(findings[2].chosen, "table");
    assert!(bench.clock.get() <= Duration::from_millis(350 + 15), "{:?}", bench.clock.get());
    // Asked often enough, a small one comes first.
    let often = Asked { times: 100, ..questions[0].clone() };
    let findings = search(&bench, LONG, &[questions[1].clone(), often]);
    assert_eq!((findings[0].key.as_str(), findings[0].uses), (small.as_str(), 100));
}

#[test]
fn a_budget_of_nothing_measures_nothing() {
    let bench = Made::default().with(8, "table", steady(10.0)).with(8, "a", steady(5.0));
    let findings = search(&bench, Duration::ZERO, &[asked(8, &["table", "a"])]);
    assert_eq!((findings.len(), findings[0].settled, bench.runs.get()), (1, false, 0));
}

#[test]
fn what_is_known_is_not_asked() {
    let bench = Made::default().with(8, "table", steady(10.0)).with(8, "a", steady(5.0));
    let run = |known: &Choices| {
        let mut made = &bench;
        let mut go_on = |_: TuneProgress<'_>| ControlFlow::Continue(());
        let options = TuneOptions::within(LONG);
        let search = Search::new(&mut made, known, &options, &mut go_on);
        search.run(|_| Ok(vec![asked(8, &["table", "a"])])).expect("made-up times should do").len()
    };
    assert_eq!(run(&Choices::from_iter([(key(8), "table")])), 0);
    assert_eq!(run(&Choices::from_iter([(key(8), "a kernel of an older build")])), 1);
}

#[test]
fn what_is_inside_a_candidate_comes_first() {
    let mut bench = Made::default()
        .with(8, "direct", steady(10.0))
        .with(8, "winograd4", steady(8.0))
        .with(3, "table", steady(4.0))
        .with(3, "a", steady(1.0));
    bench.inside.insert((key(8), "winograd4".to_owned()), asked(3, &["table", "a"]));
    let findings = search(&bench, LONG, &[asked(8, &["direct", "winograd4"])]);
    let told: Vec<_> =
        findings.iter().map(|finding| (finding.key.clone(), finding.chosen.as_str())).collect();
    assert_eq!(told, [(key(3), "a"), (key(8), "winograd4")]);
    assert_eq!([findings[0].uses, findings[1].uses], [0, 1], "nobody asks for what the other needs");
    assert!((findings[0].gain() - 4.0).abs() < 1e-9 && (findings[1].gain() - 1.25).abs() < 1e-9);
}

#[test]
fn time_may_be_up_inside_a_candidate() {
    let bench = || {
        let mut bench = Made::default()
            .with(8, "direct", steady(10.0))
            .with(8, "winograd4", steady(8.0))
            .with(3, "table", steady(4.0))
            .with(3, "a", steady(1.0));
        bench.inside.insert((key(8), "winograd4".to_owned()), asked(3, &["table", "a"]));
        bench
    };
    let whole = bench();
    search(&whole, LONG, &[asked(8, &["direct", "winograd4"])]);
    // Wherever it breaks off: what is settled is sound, and the rest is the table's.
    for millis in 0..whole.clock.get().as_millis() as u64 {
        let findings = search(&bench(), Duration::from_millis(millis), &[asked(8, &["direct", "winograd4"])]);
        for finding in &findings {
            let expected = if finding.key == key(3) { "a" } else { "winograd4" };
            let expected = if finding.settled { expected } else { finding.table.as_str() };
            assert_eq!(finding.chosen, expected, "{} after {millis} ms", finding.key);
        }
        assert!(findings.iter().any(|finding| finding.key == key(8)), "after {millis} ms");
    }
}

#[test]
fn a_choice_may_bring_up_questions() {
    let bench = [8, 9].into_iter().fold(Made::default(), |made, rows| {
        made.with(rows, "table", steady(10.0)).with(rows, "a", steady(5.0))
    });
    let mut made = &bench;
    let mut go_on = |_: TuneProgress<'_>| ControlFlow::Continue(());
    let options = TuneOptions::within(LONG);
    let search = Search::new(&mut made, Choices::NONE, &options, &mut go_on);
    let findings = search.run(|choices| {
        let second = choices.get(&key(8)) == Some("a");
        let first = asked(8, &["table", "a"]);
        Ok(if second { vec![first, asked(9, &["table", "a"])] } else { vec![first] })
    });
    assert_eq!(findings.expect("made-up times should do").len(), 2);
}

#[test]
fn progress_may_break_off() {
    let rows = [8, 9];
    let bench = rows.into_iter().fold(Made::default(), |made, rows| {
        made.with(rows, "table", steady(10.0)).with(rows, "a", steady(5.0))
    });
    let mut made = &bench;
    let mut told = 0;
    let mut once = |progress: TuneProgress<'_>| {
        assert_eq!((progress.settled, progress.open), (told, 2 - told));
        told += 1;
        if told == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = TuneOptions::within(LONG);
    let search = Search::new(&mut made, Choices::NONE, &options, &mut once);
    let findings = search.run(|_| Ok(rows.map(|rows| asked(rows, &["table", "a"])).to_vec()));
    let findings = findings.expect("made-up times should do");
    assert_eq!(findings.iter().map(|finding| finding.settled).collect::<Vec<_>>(), [true, false]);
    assert_eq!(told, 2);
}

#[test]
fn equal_times_give_equal_choices() {
    let run = || {
        let jitter = |seed: usize, base: f64| -> Times {
            Box::new(move |run| base + ((run * 7 + seed * 3) % 5) as f64 / 5.0)
        };
        let bench = [16, 8, 64].into_iter().fold(Made::default(), |made, rows| {
            let names = ["table", "a", "b"].into_iter().enumerate();
            names.fold(made, |made, (seed, name)| made.with(rows, name, jitter(seed, 10.0 - seed as f64)))
        });
        search(&bench, LONG, &[16, 8, 64].map(|rows| asked(rows, &["table", "a", "b"])))
    };
    let first = run();
    assert_eq!(first.len(), 3);
    assert_eq!(first, run());
}
