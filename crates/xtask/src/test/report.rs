use std::time::Duration;

use super::{Outcome, timed};
use crate::error::Error;
use crate::progress::{Took, heading, say};
use crate::tally::{Tally, TestLog};

/// The steps that have run.
#[derive(Default)]
pub(super) struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    outcome: Result<Outcome, Error>,
}

impl Step {
    fn failed(&self) -> bool {
        match &self.outcome {
            Ok(Outcome::Counted(tally)) => tally.failed > 0,
            Ok(_) => false,
            Err(_) => true,
        }
    }

    fn verdict(&self) -> String {
        match &self.outcome {
            Ok(Outcome::Passed) => "passed".into(),
            Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
            Ok(Outcome::Counted(Tally { passed, failed, skipped })) => {
                let verdict = if *failed == 0 { "passed" } else { "FAILED" };
                format!("{verdict}: {passed} passed, {failed} failed, {skipped} ignored")
            }
            Err(error) => {
                format!("FAILED: {}", error.to_string().lines().next().unwrap_or_default())
            }
        }
    }
}

impl Report {
    /// Announces a step, runs it, and keeps how it went.
    pub(super) fn step(
        &mut self,
        name: &'static str,
        what: &str,
        body: impl FnOnce() -> Result<Outcome, Error>,
    ) {
        heading(&format!("{name}: {what}"));
        let (outcome, took) = timed(body);
        let step = Step { name, took, outcome };
        match &step.outcome {
            Err(error) => say(format_args!("FAILED after {}: {error}", Took(took))),
            Ok(_) => say(format_args!("{} ({})", step.verdict(), Took(took))),
        }
        self.steps.push(step);
    }

    /// Prints the table, the skipped tests, the adapter and, last and alone on its line, the count.
    pub(super) fn close(&self, log: &TestLog) -> Result<(), Error> {
        for step in &self.steps {
            say(format_args!("{:<9} {:>12}  {}", step.name, Took(step.took), step.verdict()));
        }
        let total: Duration = self.steps.iter().map(|step| step.took).sum();
        say(format_args!("{:<9} {:>12}", "total", Took(total)));
        if !log.skips.is_empty() {
            heading("Skipped tests");
            log.skips.iter().for_each(say);
        }
        println!("\nadapter: {}", log.adapter());
        let Tally { passed, failed, skipped } = log.correct(self.tally());
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if self.steps.iter().any(Step::failed) { Err(Error::ChecksFailed) } else { Ok(()) }
    }

    /// The tests of all steps. A step that failed without counting tests is one failure, so that a red run
    /// never closes on `0 failed`.
    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for step in &self.steps {
            sum += match &step.outcome {
                Ok(Outcome::Counted(tally)) => *tally,
                Ok(_) => Tally::default(),
                Err(_) => Tally { failed: 1, ..Tally::default() },
            };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(passed: usize, failed: usize) -> Outcome {
        Outcome::Counted(Tally { passed, failed, skipped: 0 })
    }

    #[test]
    fn all_green_is_green() {
        let mut report = Report::default();
        report.step("fmt", "", || Ok(Outcome::Passed));
        report.step("typos", "", || Ok(Outcome::Skipped("no pip".into())));
        report.step("tests", "", || Ok(counted(7, 0)));
        assert!(report.close(&TestLog::default()).is_ok());
        assert_eq!(report.tally(), Tally { passed: 7, failed: 0, skipped: 0 });
    }

    #[test]
    fn a_failed_test_is_red() {
        let mut report = Report::default();
        report.step("tests", "", || Ok(counted(7, 1)));
        report.step("doctests", "", || Ok(counted(2, 0)));
        assert!(report.close(&TestLog::default()).is_err());
        assert_eq!(report.tally(), Tally { passed: 9, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_failed_check_is_red_and_counts() {
        let mut report = Report::default();
        report.step("fmt", "", || Err(Error::SetUp("two files differ".into())));
        report.step("tests", "", || Ok(counted(7, 0)));
        assert!(report.close(&TestLog::default()).is_err());
        assert_eq!(report.tally().failed, 1);
    }
}
