mod checks;
mod report;
mod suites;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;

use crate::chroma;
use crate::error::Error;
use crate::machine::Machine;
use crate::model;
use crate::progress::{heading, say};
use crate::python::Pip;
use crate::setup::{self, Wants};
use crate::tally::{Tally, TestLog};
use crate::workspace::{Profile, Workspace};

use report::Report;
use suites::Artifacts;

/// The steps, in the order in which they run: what is quick to fail comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StepName {
    /// rustfmt would change nothing
    Fmt,
    /// No word is misspelled
    Typos,
    /// clippy has no objection
    Clippy,
    /// The documentation builds and its links resolve
    Doc,
    /// Unit tests, then each binary of tests/, a process for each of its modules
    Tests,
    /// The examples in the documentation compile and hold
    Doctests,
    /// The facade's example programs run
    Examples,
}

/// Programs that a user would run know no way to skip.
const NO_ADAPTER: &str = "KILN_ADAPTER is none, and they need one";

impl StepName {
    /// Whether the step runs what the workspace builds.
    fn runs_kiln(self) -> bool {
        matches!(self, StepName::Tests | StepName::Doctests | StepName::Examples)
    }
}

/// How a step ended, short of an error that kept it from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    /// Tests ran; the tally says how they went.
    Counted(Tally),
}

/// Everything that CI runs. A failed step does not keep the later ones from running, unless they need it.
pub(crate) fn run(workspace: &Workspace, no_install: bool, only: &[StepName]) -> Result<(), Error> {
    let wanted = |step: StepName| only.is_empty() || only.contains(&step);
    let runs_kiln = StepName::value_variants().iter().any(|step| wanted(*step) && step.runs_kiln());
    // `none` is how one says that tests which need an adapter may skip.
    let device = std::env::var_os("KILN_ADAPTER").is_none_or(|adapter| adapter != "none");
    let wants = Wants {
        adapter: runs_kiln && device,
        pip: wanted(StepName::Typos),
        images: runs_kiln,
        browser: runs_kiln,
    };
    let mut machine = Machine::look();
    if no_install {
        setup::tell(&machine, wants);
        return Ok(());
    }

    let mut report = Report::default();
    report.step("set-up", "what this machine needs", || {
        setup::ensure(&mut machine, wants).map(|()| Outcome::Passed)
    });
    if wanted(StepName::Fmt) {
        report.step("fmt", "rustfmt would change nothing", || checks::fmt(workspace));
    }
    if wanted(StepName::Typos) {
        let pip: Option<&Pip> = machine.pip.as_ref();
        report.step("typos", "no word is misspelled", || checks::typos(workspace, pip));
    }
    if wanted(StepName::Clippy) {
        report.step("clippy", "the lints (some five minutes on two cores, the first time)", || {
            checks::clippy(workspace)
        });
    }
    if wanted(StepName::Doc) {
        report.step("doc", "the documentation builds and its links resolve", || checks::doc(workspace));
    }
    let mut log = TestLog::default();
    if runs_kiln {
        let log_file = workspace.scratch("log")?.join("tests.log");
        fs::write(&log_file, "").map_err(Error::file("write", &log_file))?;

        let mut artifacts = None;
        report.step(
            "build",
            "everything, for the tests (some three minutes on two cores, the first time)",
            || {
                artifacts = Some(Artifacts::build(workspace)?);
                Ok(Outcome::Passed)
            },
        );
        if let Some(artifacts) = artifacts {
            report.step("models", "the sentence encoder and the edge network, which some tests read", || {
                let kiln = workspace.kiln(Profile::Debug);
                if device {
                    setup::ensure_adapter(&mut machine, &kiln)?;
                }
                model::ensure(workspace, &mut machine, &kiln, &model::ENCODER)?;
                model::ensure(workspace, &mut machine, &kiln, &model::EDGES)?;
                Ok(Outcome::Passed)
            });
            if wanted(StepName::Tests) {
                report.step("tests", "units, then tests/, a process for each module", || {
                    let chroma = chroma(workspace, machine.pip.as_ref());
                    Ok(Outcome::Counted(suites::tests(&artifacts, &log_file, chroma.as_deref())?))
                });
            }
            if wanted(StepName::Examples) {
                report.step("examples", "the facade's example programs run", || {
                    if !device {
                        return Ok(Outcome::Skipped(NO_ADAPTER.into()));
                    }
                    suites::examples(workspace, &artifacts).map(Outcome::Counted)
                });
            }
            if wanted(StepName::Doctests) {
                report.step("doctests", "the examples in the documentation hold", || {
                    if !device {
                        return Ok(Outcome::Skipped(NO_ADAPTER.into()));
                    }
                    suites::doctests(workspace, &log_file).map(Outcome::Counted)
                });
            }
        }
        log = TestLog::parse(&fs::read_to_string(&log_file).map_err(Error::file("read", &log_file))?);
    }
    heading("Summary");
    report.close(&log)
}

/// The folder of a Chroma server; where there is none to be had, the tests that ask one skip.
fn chroma(workspace: &Workspace, pip: Option<&Pip>) -> Option<PathBuf> {
    match chroma::ensure(workspace, pip?) {
        Ok(folder) => Some(folder),
        Err(error) => {
            say(format_args!("going on without: {error}"));
            None
        }
    }
}

/// Runs `body` and returns its outcome with the time it took.
fn timed<T>(body: impl FnOnce() -> T) -> (T, std::time::Duration) {
    let start = Instant::now();
    (body(), start.elapsed())
}
