//! What is shown while training goes on: results on stdout, and on a terminal a bar on stderr.

use std::cell::Cell;
use std::io::Write;

use kiln::train::events::StepDone;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::progress::Progress;

/// Shows events as they come, until stdout takes no more.
pub(crate) struct Screen<'a> {
    context: &'a Context,
    out: Output,
    json: bool,
    bar: Option<Progress>,
    /// The first failure to write. Nothing is shown from then on.
    failed: Option<CliError>,
    /// Whether there is one: the work need not go on then.
    unread: &'a Cell<bool>,
}

impl<'a> Screen<'a> {
    /// `unread` becomes true when stdout takes no more.
    pub(crate) fn new(context: &'a Context, json: bool, unread: &'a Cell<bool>) -> Self {
        Screen { context, out: Output::stdout(), json, bar: None, failed: None, unread }
    }

    /// How far it is, with a line beside the bar.
    pub(crate) fn step(&mut self, line: &str, step: &StepDone) {
        if self.failed.is_none() {
            self.bar().set_message(line, step.batch as u64, step.batches as u64);
        }
    }

    /// What is being done besides steps.
    pub(crate) fn note(&mut self, note: &str) {
        if self.failed.is_none() {
            self.bar().set_note(note);
        }
    }

    /// Takes the bar away until there is something for it again.
    pub(crate) fn clear(&mut self) {
        self.bar = None;
    }

    fn bar(&mut self) -> &mut Progress {
        self.bar.get_or_insert_with(|| self.context.steps())
    }

    /// Writes an event: as a line of JSON, or as `tell` puts it for people.
    pub(crate) fn write<E: Serialize>(
        &mut self,
        event: &E,
        tell: impl FnOnce(&mut Output) -> Result<(), CliError>,
    ) {
        if self.failed.is_some() {
            return;
        }
        let (out, json) = (&mut self.out, self.json);
        let write = || {
            if json {
                out.json_line(event)?
            } else {
                tell(out)?
            }
            Ok(out.flush()?)
        };
        let written: Result<(), CliError> = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        self.unread.set(written.is_err());
        self.failed = written.err();
    }

    /// Stdout again, or the first failure to write to it.
    pub(crate) fn close(self) -> Result<Output, CliError> {
        drop(self.bar);
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.out),
        }
    }
}
