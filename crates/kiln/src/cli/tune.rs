//! `kiln tune`.

mod kept;
mod report;
mod t5;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use kiln::engine::{Choices, Graph, TuneOptions, tune};
use kiln::gpu::Gpu;

use super::context::{Context, tuning_store};
use super::error::CliError;
use super::interrupt;
use super::network::{NetworkArgs, building};
use super::numbers::{at_least_one, number};
use super::output::OutputArgs;
use report::{Kept, Report};

/// Measure which kernels are fastest on this device, and keep the choices
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  kiln tune vgg16
  kiln tune vgg16 --batch 8 --budget 120
  kiln tune all-MiniLM-L6-v2 --json
  kiln tune t5 --precision f16
  kiln tune list

For each op of the network that several kernels can compute, the op alone is run with
each of them in turns; where one is clearly faster than the choice of Kiln's table, it
is used from then on, on this adapter with this driver. Weights are not needed. On a
GPU every first use of a network does the same for no more than two seconds.

On a software adapter results stay the same bytes from run to run unless --keep says
that choices are to be kept there too. Training always goes by the table. The global
option --no-tune leaves aside whatever is kept.")]
pub(crate) struct TuneArgs {
    #[command(subcommand)]
    other: Option<Other>,

    // clap finds an optional group by the arguments that are its own, so this one has the network's name in it.
    #[command(flatten)]
    network: Option<NetworkArgs>,

    /// How many inputs go into one run
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    batch: usize,

    #[command(flatten)]
    measuring: Measuring,
}

/// What there is besides a network by its name.
#[derive(Debug, Subcommand)]
enum Other {
    T5(t5::TuneT5Args),
    List(kept::ListArgs),
    Clear(kept::ClearArgs),
}

/// How is measured, and what becomes of it.
#[derive(Debug, Args)]
struct Measuring {
    /// Stop after so many seconds; what costs most is measured first
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds,
        allow_negative_numbers = true)]
    budget: Duration,

    /// Keep the choices of a software adapter too, and use them
    #[arg(long)]
    keep: bool,

    /// Print one JSON object {model, adapter, driver, seconds, kept, choices: [{op, uses, table, chosen, gain, settled,
    /// times_ms}]}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let positive = number(text)?;
    if !positive.is_finite() || positive <= 0.0 {
        return Err("expected a number of seconds above 0");
    }
    // What is more than a clock can tell is as long as it takes, and what is less than it can tell is over at once.
    let duration = Duration::try_from_secs_f64(positive).unwrap_or(Duration::MAX);
    Ok(duration.max(Duration::from_nanos(1)))
}

impl TuneArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self.other {
            Some(Other::T5(args)) => return args.run(context),
            Some(Other::List(args)) => return args.run(),
            Some(Other::Clear(args)) => return args.run(),
            None => {}
        }
        // clap asks for a network before it comes to this.
        let network = self.network.ok_or_else(|| CliError::Input("no network is named".to_owned()))?;
        let (network, input) = network.named()?;
        let input = input.as_ref().map(|size| size.0.as_slice());
        let graphs = network.programs(self.batch, input).map_err(building)?;
        let batch = if self.batch > 1 { format!(", batch {}", self.batch) } else { String::new() };
        let described = format!("{}{batch}", network.name());
        self.measuring.run(context, &described, |_| Ok(graphs))
    }
}

impl Measuring {
    /// Tunes the kernels of a model's graphs, keeps what is found and prints it.
    fn run(
        self,
        context: &Context,
        model: &str,
        graphs: impl FnOnce(&Gpu) -> Result<Vec<Graph>, CliError>,
    ) -> Result<(), CliError> {
        if context.no_tune() {
            return Err(CliError::Input(
                "--no-tune, or KILN_NO_TUNE: there is nothing else to do for `kiln tune`".to_owned(),
            ));
        }
        let mut output = self.output.open()?;
        let gpu = context.open_gpu()?;
        let graphs = graphs(&gpu)?;
        context.announce(&gpu);
        let profile = gpu.profile();
        let start = Instant::now();
        let options = TuneOptions::within(self.budget);
        let _saving = interrupt::saving();
        let findings = {
            let bar = context.progress("measuring", 0);
            let mut tell = |progress: kiln::engine::TuneProgress<'_>| {
                bar.set_all("measuring", progress.settled as u64, (progress.settled + progress.open) as u64);
                if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let graphs: Vec<&Graph> = graphs.iter().collect();
            tune(&gpu, profile, &graphs, &Choices::default(), &options, &mut tell)?
        };
        let seconds = start.elapsed().as_secs_f64();
        // What was measured is told, whatever becomes of the file.
        let mut failed = None;
        let kept = match tuning_store() {
            _ if profile.kind.is_software() && !self.keep => Kept::Software,
            None => Kept::NoCache,
            Some(store) => store.add(profile, &findings).map_or_else(
                |error| {
                    failed = Some(CliError::Runtime(format!("the choices are not kept: {error}")));
                    Kept::Nowhere
                },
                Kept::In,
            ),
        };
        let interrupted = interrupt::asked();
        let report = Report { model, profile, seconds, kept: &kept, findings: &findings };
        if self.json {
            output.json(&report.document())?;
        } else {
            report.write(&mut output)?;
        }
        output.finish()?;
        match failed {
            _ if interrupted => Err(CliError::Interrupted),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
