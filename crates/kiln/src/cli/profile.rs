//! `kiln profile`.

mod report;
mod t5;
mod trace;
mod train;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use kiln::engine::Device;
use kiln::gpu::Gpu;
use kiln::models::measure::{Ceilings, Profile};

use super::bench::LoadArgs;
use super::context::Context;
use super::error::CliError;
use super::network::NetworkArgs;
use super::numbers::at_least_one;
use super::output::{Output, OutputArgs};
use report::{Document, Subject};

/// Measure where the time goes: by layer and by kernel, by the device's own clock
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  kiln profile vgg16
  kiln profile vgg16 --batch 4 --json | jq '.layers | max_by(.ms)'
  kiln profile all-MiniLM-L6-v2 --by kernel
  kiln profile vgg16 --trace vgg16.json
  kiln profile train --arch sk
  kiln profile t5 --part step

A layer's GFLOP/s count the multiply-adds of its definition, whatever computes it; a kernel's
those that it makes itself. \"of ceiling\" is the least time that this device would take for
what the kernels multiply and move, as a share of the time that they take; the ceilings are a
large matrix product and a large copy on this device, measured once and kept in the cache
directory: on a machine that was busy then, they are too low, and --ceilings measures them
anew. A trace can be opened at https://ui.perfetto.dev, which keeps it in the browser, and
in chrome://tracing.

The device has to have timestamps; `kiln devices` says whether it does.")]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    other: Option<Other>,

    // clap finds an optional group by the arguments that are its own, so this one has the network's name in it.
    #[command(flatten)]
    network: Option<NetworkArgs>,

    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    measuring: Measuring,
}

/// What is measured besides a network at work.
#[derive(Debug, Subcommand)]
enum Other {
    T5(t5::ProfileT5Args),
    Train(train::ProfileTrainArgs),
}

/// How it is measured and told.
#[derive(Debug, Args)]
struct Measuring {
    /// How many runs are measured; each time is the median over them
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// Add the times up by layer or by kernel [default: both]
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<By>,

    /// Measure the ceilings of this device anew
    #[arg(long)]
    ceilings: bool,

    /// Also write the kernels of a run to a file, as a trace that Perfetto and Chrome show
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,

    /// Print one JSON object {model, adapter, driver, batch, samples, ceilings: {gflops, gigabytes_per_second}, total_ms,
    /// run_ms, overhead_ms, dispatches, layers: [{layer, kind, kernels, start_ms, ..}], kernels: [{kernel, ops, ..}]}, where
    /// .. are {ms, share, dispatches, gflops, gigabytes_per_second, of_ceiling, bound, multiply_adds,
    /// computed_multiply_adds, bytes}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What times are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// A row for each layer, in the order in which they run
    Layer,
    /// A row for each kernel and variant, the longest first
    Kernel,
}

/// The files that a profile goes to, open before it is made.
struct Outputs {
    output: Output,
    trace: Option<Output>,
}

impl ProfileArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self.other {
            Some(Other::T5(args)) => return args.run(context),
            Some(Other::Train(args)) => return args.run(context),
            None => {}
        }
        // clap asks for a network before it comes to this.
        let network = self.network.ok_or_else(|| CliError::Input("no network is named".to_owned()))?;
        let measuring = self.measuring;
        let outputs = measuring.open()?;
        let mut workload = self.load.load(&network, context, has_timestamps)?;
        // The first run compiles kernels.
        workload.bench.run()?;
        let profile =
            measuring.measure(context, |rounds, progress| Ok(workload.bench.profile(rounds, progress)?))?;
        let subject = Subject { title: workload.describe(), model: workload.model(), batch: workload.batch };
        measuring.tell(context, &workload.device, outputs, &subject, &profile)
    }
}

/// Refuses a device that a profile cannot be made on.
fn has_timestamps(gpu: &Gpu) -> Result<(), CliError> {
    match gpu.profile() {
        profile if profile.timestamps => Ok(()),
        profile => Err(CliError::Runtime(format!(
            "{} has no timestamps, which a profile is made of; `kiln bench` measures without them",
            profile.name
        ))),
    }
}

impl Measuring {
    fn open(&self) -> Result<Outputs, CliError> {
        let output = self.output.open()?;
        if self.trace.is_some() && self.output.path() == self.trace.as_deref() {
            return Err(CliError::Input("--trace and -o name the same file".to_owned()));
        }
        let trace = match self.trace.as_deref() {
            Some(path) if path == Path::new("-") => {
                return Err(CliError::Input(
                    "--trace -: expected a file, as stdout takes the tables".to_owned(),
                ));
            }
            path => path.map(Output::bytes).transpose()?,
        };
        Ok(Outputs { output, trace })
    }

    fn measure(
        &self,
        context: &Context,
        profile: impl FnOnce(usize, &mut dyn FnMut(usize)) -> Result<Profile, CliError>,
    ) -> Result<Profile, CliError> {
        let progress = context.progress("measuring", self.samples);
        profile(self.samples, &mut |done| progress.set(done as u64))
    }

    fn tell(
        &self,
        context: &Context,
        device: &Device,
        outputs: Outputs,
        subject: &Subject<'_>,
        profile: &Profile,
    ) -> Result<(), CliError> {
        let ceilings = {
            let _clock = context.clock("measuring the device's ceilings");
            Ceilings::cached(device, context.cache_dir(), self.ceilings)?
        };
        let Outputs { mut output, trace } = outputs;
        if !self.ceilings && report::are_passed(profile, &ceilings) {
            context.note(
                "the kernels pass the ceilings, which may have been measured beside other work: --ceilings measures them anew",
            );
        }
        let document = Document::new(subject, device.profile(), profile, ceilings, self.by);
        if self.json {
            output.json(&document)?;
        } else {
            document.write(&mut output)?;
        }
        if let Some(mut file) = trace {
            trace::write(&mut file, subject, device.profile(), profile)?;
            file.finish()?;
        }
        output.finish()
    }
}
