//! `kiln sweep`.

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

Each run has a folder below RESULTS/runs; the table is results.md, the plot sizes.svg. Stopped and
started again, a sweep goes on where it was.")]
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
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        interrupt::ask_first();
        let mut screen = Screen { context, out: Output::stdout(), json: self.json, bar: None, failed: None };
        let control = Control { interrupted: &interrupt::asked, ..Control::default() };
        let outcome = sweep.run(&folder, on(&gpu), &control, &mut |event: &SweepEvent| screen.show(event));
        screen.bar = None;
        if let Some(error) = screen.failed {
            return Err(error);
        }
        let outcome = outcome?;
        let runs = format!("{} of {} done", counted(outcome.done, "run"), outcome.of);
        if !self.json {
            writeln!(screen.out, "{runs}: {}", outcome.results.display())?;
        }
        screen.out.finish()?;
        if outcome.interrupted {
            context.note(format_args!("{runs}; the same command goes on"));
            return Err(CliError::Interrupted);
        }
        Ok(())
    }
}

/// What is shown while a sweep goes on.
struct Screen<'a> {
    context: &'a Context,
    out: Output,
    json: bool,
    bar: Option<Progress>,
    /// The first failure to write.
    failed: Option<CliError>,
}

impl Screen<'_> {
    fn show(&mut self, event: &SweepEvent) {
        if self.failed.is_some() {
            return;
        }
        if let SweepEvent::Run { run: Event::Step(step) } = event {
            let bar = self.bar.get_or_insert_with(|| self.context.steps());
            bar.set_message(&standing(step), step.batch as u64, step.batches as u64);
            return;
        }
        self.bar = None;
        let written = if self.json { self.out.json_line(event) } else { self.tell(event) };
        self.failed = written.and_then(|()| Ok(self.out.flush()?)).err();
    }

    fn tell(&mut self, event: &SweepEvent) -> Result<(), CliError> {
        let out = &mut self.out;
        match event {
            SweepEvent::Job { name, number, of, status } => {
                let width = of.to_string().len();
                let end = match status {
                    Status::Done => "  done before\n",
                    Status::Resumed => "  goes on",
                    Status::Started => "",
                };
                write!(out, "{number:>width$}/{of}  {name}{end}")?;
            }
            SweepEvent::Run { run: Event::Finished(finished) } => match finished.test_error {
                Some(error) => writeln!(out, "  test error {:.2} %", error * 100.0)?,
                None => writeln!(out, "  test {}", scores(&finished.test))?,
            },
            SweepEvent::Run { run: Event::Interrupted(_) } => writeln!(out, "  interrupted")?,
            SweepEvent::Failed { message, .. } => writeln!(out, "  failed: {message}")?,
            _ => {}
        }
        Ok(())
    }
}
