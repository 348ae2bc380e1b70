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
use super::screen::Screen;
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
        let mut run = String::new();
        let interrupted = || interrupt::asked() || unread.get();
        let control = Control { interrupted: &interrupted, ..Control::default() };
        let mut tell = |event: &SweepEvent| show(&mut screen, &mut run, event);
        let outcome = sweep.run(&folder, on(&gpu), &control, &mut tell);
        let written = screen.close();
        let outcome = outcome?;
        let standing = format!("{} of {} done", outcome.done, counted(outcome.of, "run"));
        if outcome.interrupted {
            context.note(format_args!("{standing}; the same command goes on"));
        }
        let mut out = written?;
        if !self.json {
            writeln!(out, "{standing}: {}", outcome.results.display())?;
        }
        out.finish()?;
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

/// Shows an event; `run` is the present run, as its line begins.
fn show(screen: &mut Screen<'_>, run: &mut String, event: &SweepEvent) {
    match event {
        SweepEvent::Run { run: Event::Step(step) } => {
            return screen.step(&format!("{run}  {}", standing(step)), step);
        }
        SweepEvent::Job { name, number, of, .. } => {
            let width = of.to_string().len();
            *run = format!("{number:>width$}/{of}  {name}");
        }
        _ => {}
    }
    screen.write(event, |out| tell(out, run, event));
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
