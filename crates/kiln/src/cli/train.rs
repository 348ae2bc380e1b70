//! `kiln train`.

use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::train::augment::Augmentation;
use kiln::train::config::RunOptions;
use kiln::train::events::{EpochDone, Event, Finished, Started, StepDone};
use kiln::train::learner::on;
use kiln::train::progress::Score;
use kiln::train::run::{Control, Outcome, Run};
use kiln::train::schedule::Schedule;
use kiln::train::trainer::Trainer;

use super::context::Context;
use super::error::CliError;
use super::interrupt;
use super::numbers::{at_least_one, brief, counted, grouped, number, whole_number};
use super::output::Output;
use super::screen::Screen;

/// Train a network on images
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln train --arch base --data fashion-mnist --train-limit 10000 -o runs/base
  kiln train --arch resnet8 --data cifar-10 --augment flip,crop4 --validation 0.1
  kiln train --resume runs/base

The folder gets metrics.jsonl, curves.svg, confusion.png, config.toml,
last.safetensors and best.safetensors. Ctrl-C saves; --resume goes on, and ends
bit for bit as if it had never stopped.")]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    run: RunArgs,

    /// The run's folder, new or empty [default: runs/ARCH-SEED]
    #[arg(short, long, value_name = "RUN", conflicts_with = "resume")]
    output: Option<PathBuf>,

    /// Go on with the run in this folder; other options are not needed, and have to be those it started with
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,

    /// Print JSON Lines, an event each: started, epoch, saved, evaluating, finished or interrupted
    #[arg(long)]
    json: bool,
}

impl TrainArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let run = self.open(context)?;
        interrupt::ask_first();
        let unread = Cell::new(false);
        let mut screen = Screen::new(context, self.json, &unread);
        let mut epochs = 0;
        let interrupted = || interrupt::asked() || unread.get();
        let control = Control { interrupted: &interrupted, ..Control::default() };
        let outcome = run.train(&control, &mut |event: &Event| show(&mut screen, &mut epochs, event));
        let written = screen.close().and_then(Output::finish);
        let outcome = outcome?;
        if let Outcome::Interrupted(at) = &outcome {
            let folder = quoted(&at.folder);
            context.note(format_args!(
                "saved at epoch {}, step {}; to go on: kiln train --resume {folder}",
                at.epoch, at.step
            ));
        }
        written?;
        match outcome {
            Outcome::Finished(_) => Ok(()),
            Outcome::Interrupted(_) => Err(CliError::Interrupted),
        }
    }

    fn open(&self, context: &Context) -> Result<Run<Trainer>, CliError> {
        let options = self.run.options();
        let run = match &self.resume {
            Some(folder) => {
                let gpu = context.open_gpu()?;
                let run = Run::resume(folder, &options, on(&gpu))?;
                context.announce(&gpu);
                run
            }
            None => {
                let (config, network) = options.resolve()?;
                let folder = self
                    .output
                    .clone()
                    .unwrap_or_else(|| Path::new("runs").join(format!("{}-{}", network.name(), config.seed)));
                Run::<Trainer>::check_folder(&folder)?;
                let gpu = context.open_gpu()?;
                let run = Run::start(&folder, config, network, on(&gpu))?;
                context.announce(&gpu);
                run
            }
        };
        Ok(run)
    }
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Shows an event; `epochs` is how many the run is to have, as its start says.
fn show(screen: &mut Screen<'_>, epochs: &mut u32, event: &Event) {
    match event {
        Event::Step(step) => return screen.step(&standing(step), step),
        Event::Evaluating { part, .. } => {
            screen.note(if *part == "test" { "testing" } else { "validating" });
        }
        Event::Started(started) => *epochs = started.epochs,
        Event::Epoch(EpochDone { epoch, epochs, .. }) => {
            screen.note(&format!("epoch {}/{epochs}", epoch.epoch));
        }
        Event::Finished(_) | Event::Interrupted(_) => screen.clear(),
        _ => {}
    }
    screen.write(event, |out| tell(out, event, *epochs));
}

/// Writes what people read of an event; `epochs` is how many the run is to have.
fn tell(out: &mut Output, event: &Event, epochs: u32) -> Result<(), CliError> {
    match event {
        Event::Started(started) => write_start(out, started),
        Event::Epoch(done) => write_epoch(out, done),
        Event::Finished(finished) => write_end(out, finished, epochs),
        _ => Ok(()),
    }
}

/// The line beside the bar.
pub(super) fn standing(step: &StepDone) -> String {
    let StepDone { epoch, epochs, steps_per_second, train, left, .. } = step;
    let (seconds, minutes) = (left.as_secs(), left.as_secs().div_ceil(60));
    let left = match (seconds, minutes) {
        (..100, _) => format!("{seconds} s"),
        (_, ..100) => format!("{minutes} min"),
        _ => format!("{:.1} h", left.as_secs_f64() / 3600.0),
    };
    format!("epoch {epoch}/{epochs}  {}  {steps_per_second:.1} steps/s  {left} left", scores(train))
}

pub(super) fn scores(score: &Score) -> String {
    let accuracy = score.accuracy.map(|right| format!("  accuracy {:6.2} %", right * 100.0));
    format!("loss {}{}", brief(score.loss), accuracy.unwrap_or_default())
}

fn write_start(out: &mut Output, started: &Started) -> Result<(), CliError> {
    let Started { arch, parameters, train, validation, test, folder, step, epochs, steps_per_epoch } =
        started;
    let aside = match validation {
        0 => String::new(),
        number => format!(", {} to validate", grouped(*number as u64)),
    };
    writeln!(
        out,
        "{arch}: {} parameters; {} examples to train{aside}, {} to test; the run is in {}",
        grouped(*parameters as u64),
        grouped(*train as u64),
        grouped(*test as u64),
        folder.display()
    )?;
    match *step {
        0 => {}
        all if all == u64::from(*epochs) * *steps_per_epoch as u64 => {
            writeln!(out, "all its steps are made")?
        }
        step => writeln!(out, "going on after step {step}")?,
    }
    Ok(())
}

fn write_epoch(out: &mut Output, done: &EpochDone) -> Result<(), CliError> {
    let EpochDone { epoch, epochs, seconds } = done;
    let width = epochs.to_string().len();
    let (validation, best) = match &epoch.validation {
        Some(score) => (format!("  validation {}", scores(score)), if epoch.best { "  best" } else { "" }),
        None => (String::new(), ""),
    };
    let time = seconds.train + seconds.validation;
    let (number, train, lr) = (epoch.epoch, scores(&epoch.train), brief(epoch.lr));
    Ok(writeln!(out, "epoch {number:>width$}/{epochs}  {train}{validation}  rate {lr}  {time:5.1} s{best}")?)
}

fn write_end(out: &mut Output, finished: &Finished, to_have: u32) -> Result<(), CliError> {
    let Finished { folder, best_epoch, epochs, steps, test, test_error, .. } = finished;
    match test_error {
        Some(error) => writeln!(out, "test error {:.2} %, loss {:.4}", error * 100.0, test.loss)?,
        None => writeln!(out, "test loss {:.6}", test.loss)?,
    }
    let early = if *epochs < to_have { ", stopped early" } else { "" };
    let (epochs, steps) = (counted(*epochs as usize, "epoch"), counted(*steps as usize, "step"));
    Ok(writeln!(
        out,
        "{epochs}, {steps}{early}; the network of epoch {best_epoch} is in {}",
        folder.join("best.safetensors").display()
    )?)
}

/// What decides a run, as options of a command.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The network: a name such as base, bn, sk-0.5, convnet, lenet, resnet8, mobilenet-tiny, autoencoder or xor, or a
    /// TOML file that describes one
    #[arg(long, value_name = "NAME|FILE.toml", required_unless_present = "resume")]
    arch: Option<String>,

    /// The data: a folder of IDX files (MNIST, Fashion-MNIST; plain or .gz), of CIFAR-10's binary batches, or with a
    /// folder of images for each class; or the word fashion-mnist or xor
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    data: Option<PathBuf>,

    /// An activation in place of the network's own, such as sigmoid
    #[arg(long, value_name = "NAME")]
    activation: Option<String>,

    /// Leave out so many training examples at the start
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    train_offset: Option<usize>,

    /// Take so many training examples after these [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    train_limit: Option<usize>,

    /// Set this fraction of them aside, and keep the network that is best on it [default: 0]
    #[arg(long, value_name = "FRACTION", value_parser = number, allow_negative_numbers = true)]
    validation: Option<f64>,

    /// How often to go through the training examples [default: 20]
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>, allow_negative_numbers = true)]
    epochs: Option<u32>,

    /// Examples in a step [default: 100]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    batch_size: Option<usize>,

    /// Compute each batch in so many parts, whose gradients add up [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    accumulate: Option<usize>,

    /// sgd, adam, adamw or rmsprop [default: that of the network]
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,

    /// The learning rate at the start [default: that of the network]
    #[arg(long, value_name = "RATE", value_parser = number, allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Momentum of sgd and rmsprop [default: that of the network]
    #[arg(long, value_name = "M", value_parser = number, allow_negative_numbers = true)]
    momentum: Option<f64>,

    /// Nesterov's momentum, for sgd
    #[arg(long)]
    nesterov: bool,

    /// Weight decay [default: that of the network]
    #[arg(long, value_name = "D", value_parser = number, allow_negative_numbers = true)]
    weight_decay: Option<f64>,

    /// How the learning rate changes, in words: constant, step10x0.1, cosine, plateau5x0.1, with warmup2 before any
    /// [default: that of the network]
    #[arg(long, value_name = "WORDS")]
    schedule: Option<Schedule>,

    /// How examples are changed by chance, in words: flip, crop4, rotate15, jitter0.2 [default: none]
    #[arg(long, value_name = "LIST")]
    augment: Option<Augmentation>,

    /// Stop after so many epochs without a better validation loss
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>, allow_negative_numbers = true)]
    early_stop: Option<u32>,

    /// The most that the norm of all gradients may be; larger ones are scaled down
    #[arg(long, value_name = "NORM", value_parser = number, allow_negative_numbers = true)]
    clip: Option<f64>,

    /// Spread this much of each label over all classes [default: 0]
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    label_smoothing: Option<f64>,

    /// Decides first parameters, order, augmentation and dropout [default: 0]
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
}

fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a whole number")
}

impl RunArgs {
    /// As the library takes them.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            arch: self.arch.clone(),
            data: self.data.clone(),
            activation: self.activation.clone(),
            train_offset: self.train_offset,
            train_limit: self.train_limit,
            validation: self.validation,
            epochs: self.epochs,
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            optimizer: self.optimizer.clone(),
            lr: self.lr,
            momentum: self.momentum,
            nesterov: self.nesterov.then_some(true),
            weight_decay: self.weight_decay,
            schedule: self.schedule.clone(),
            augment: self.augment.clone(),
            early_stop: self.early_stop,
            clip: self.clip,
            label_smoothing: self.label_smoothing,
            seed: self.seed,
            ..RunOptions::default()
        }
    }
}
