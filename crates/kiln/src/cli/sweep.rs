//! `kiln sweep`.

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kiln::train::events::Event;
use kiln::train::learner::on;
use kiln::train::run::Control;
use kiln::train::sweep::{Status, Sweep, SweepEvent};

use super::context::Context;
use super::error::CliError;
use super::interrupt;
use super::numbers::counted;
use super::output::Output;
use super::progress::Progress;
use super::train::{scores, standing};

/// Train many networks by a plan, and compare their test errors in tables and plots
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln sweep course.toml
  kiln sweep course.toml -o results --json

A file with a grid of options:

  [common]
  data = \"fashion-mnist\"
  epochs = 20
  seed = [0, 1, 2]

  [[experiment]]
  name = \"sizes\"
  title = \"Test error against the number of training images\"
  x = \"train_limit\"
  arch = [\"base\", \"bn\"]
  train_limit = [500, 5000]

Each run has a folder below RESULTS/runs; the table is results.md, the plot
sizes.svg. Stopped and started again, a sweep goes on where it was.")]
pub(crate) struct SweepArgs {
    /// The experiments
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,

    /// The folder of the results, new, or that of an earlier start [default: the file's name without .toml]
    #[arg(short, long, value_name = "RESULTS")]
    output: Option<PathBuf>,

    /// Print JSON Lines, an event each
    #[arg(long)]
    json: bool,
}

impl SweepArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let sweep = Sweep::open(&self.file)?;
        let folder = self.output.unwrap_or_else(|| self.file.with_extension(""));
        if folder.is_file() {
            let message = "is a file; -o names a folder for the results";
            return Err(CliError::Input(format!("{}: {message}", folder.display())));
        }
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        interrupt::ask_first();
        let unread = Cell::new(false);
        let mut screen = Screen::new(context, self.json, &unread);
        let interrupted = || interrupt::asked() || unread.get();
        let control = Control { interrupted: &interrupted, ..Control::default() };
        let outcome = sweep.run(&folder, on(&gpu), &control, &mut |event: &SweepEvent| screen.show(event));
        screen.bar = None;
        let outcome = outcome?;
        let standing = format!("{} of {} done", outcome.done, counted(outcome.of, "run"));
        if outcome.interrupted {
            context.note(format_args!("{standing}; the same command goes on"));
        }
        if let Some(error) = screen.failed {
            return Err(error);
        }
        if !self.json {
            writeln!(screen.out, "{standing}: {}", outcome.results.display())?;
        }
        screen.out.finish()?;
        match outcome.failed.as_slice() {
            _ if outcome.interrupted => Err(CliError::Interrupted),
            [] => Ok(()),
            failed => {
                let runs = counted(failed.len(), "run");
                Err(CliError::Runtime(format!("{runs} failed: {}", failed.join(", "))))
            }
        }
    }
}

/// What is shown while a sweep goes on.
struct Screen<'a> {
    context: &'a Context,
    out: Output,
    json: bool,
    bar: Option<Progress>,
    /// The present run, as its line begins.
    run: String,
    /// The first failure to write.
    failed: Option<CliError>,
    /// Whether there is one: the sweep need not go on then.
    unread: &'a Cell<bool>,
}

impl<'a> Screen<'a> {
    fn new(context: &'a Context, json: bool, unread: &'a Cell<bool>) -> Self {
        let (out, run) = (Output::stdout(), String::new());
        Screen { context, out, json, bar: None, run, failed: None, unread }
    }

    fn show(&mut self, event: &SweepEvent) {
        let Screen { context, out, json, bar, run, failed, unread } = self;
        if failed.is_some() {
            return;
        }
        match event {
            SweepEvent::Run { run: Event::Step(step) } => {
                let bar = bar.get_or_insert_with(|| context.steps());
                let line = format!("{run}  {}", standing(step));
                return bar.set_message(&line, step.batch as u64, step.batches as u64);
            }
            SweepEvent::Job { name, number, of, .. } => {
                let width = of.to_string().len();
                *run = format!("{number:>width$}/{of}  {name}");
            }
            _ => {}
        }
        let mut write = || {
            if *json {
                out.json_line(event)?
            } else {
                tell(out, run, event)?
            }
            Ok(out.flush()?)
        };
        let written: Result<(), CliError> = match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        unread.set(written.is_err());
        *failed = written.err();
    }
}

/// Writes a line for each run that has come to an end.
fn tell(out: &mut Output, run: &str, event: &SweepEvent) -> Result<(), CliError> {
    match event {
        SweepEvent::Job { status: Status::Done, .. } => writeln!(out, "{run}  done before")?,
        SweepEvent::Run { run: Event::Finished(finished) } => match finished.test_error {
            Some(error) => writeln!(out, "{run}  test error {:.2} %", error * 100.0)?,
            None => writeln!(out, "{run}  test {}", scores(&finished.test))?,
        },
        SweepEvent::Run { run: Event::Interrupted(_) } => writeln!(out, "{run}  interrupted")?,
        SweepEvent::Failed { message, .. } => writeln!(out, "{run}  failed: {message}")?,
        _ => {}
    }
    Ok(())
}
