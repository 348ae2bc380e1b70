//! `kiln bench`.

mod memory;
mod search;
mod t5;
pub(crate) mod train;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use kiln::engine::Device;
use kiln::gpu::Gpu;
use kiln::models::measure::{Bench, Samples, rate};
use kiln::models::network::Network;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::network::{NetworkArgs, Size, building};
use super::numbers::{at_least_one, counted, milliseconds, waited, whole_number};
use super::output::OutputArgs;
use super::table::write_table;
use memory::MemoryReport;

/// Measure how long a network takes
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  kiln bench vgg16
  kiln bench vgg16 --batch 4 --samples 20 --json
  kiln bench all-MiniLM-L6-v2 --input 128 --batch 16
  kiln bench train --arch sk
  kiln bench t5 --precision f16
  kiln bench search --passages 10000

A run is what a program has: inputs go to the device, outputs come back. Weights
come from a formula where no file is named; the time does not depend on them.")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    other: Option<Other>,

    // clap finds an optional group by the arguments that are its own, so this one has the network's name in it.
    #[command(flatten)]
    network: Option<NetworkArgs>,

    #[command(flatten)]
    load: LoadArgs,

    /// How many runs are measured
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// How many runs come before them
    #[arg(long, value_name = "N", default_value = "2", value_parser = whole_number,
        allow_negative_numbers = true)]
    warmup: usize,

    /// Print one JSON object {model, batch, load_ms, first_ms, best_ms, median_ms, memory: {weights, variables,
    /// pooled, total, bound, ratio, peak, allocated, allocated_peak}, samples, adapter}, memory in bytes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What is measured besides a network at work.
#[derive(Debug, Subcommand)]
enum Other {
    Search(search::BenchSearchArgs),
    T5(t5::BenchT5Args),
    Train(train::BenchTrainArgs),
}

/// How a network to be measured is loaded.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// How many inputs go into one run
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    batch: usize,

    /// Take the weights from a file instead of a formula
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// A network on a device.
pub(crate) struct Workload {
    pub(crate) device: Device,
    pub(crate) bench: Bench,
    pub(crate) batch: usize,
    /// How long it took until the network was there, its weights prepared.
    pub(crate) loading: Duration,
    network: Network,
    input: Size,
    is_seeded: bool,
}

impl LoadArgs {
    /// Builds the network, opens the device, lets `fit` refuse it, and loads the network there.
    pub(crate) fn load(
        &self,
        network: &NetworkArgs,
        context: &Context,
        fit: impl FnOnce(&Gpu) -> Result<(), CliError>,
    ) -> Result<Workload, CliError> {
        let (network, input) = network.resolve()?;
        network.graph(self.batch, &input.0).map_err(building)?;
        let weights = network.weights(self.weights.as_deref())?;
        let device = context.open_device()?;
        fit(device.gpu())?;
        context.announce(device.gpu());
        let started = Instant::now();
        let bench = {
            let _clock = context.clock("loading weights");
            Bench::load(&device, &network, self.batch, &input.0, &*weights)?
        };
        let (batch, is_seeded) = (self.batch, self.weights.is_none());
        Ok(Workload { device, bench, network, batch, loading: started.elapsed(), input, is_seeded })
    }
}

impl Workload {
    /// `vgg16, batch 4 of 3x224x224, seeded weights`.
    pub(crate) fn describe(&self) -> String {
        let weights = if self.is_seeded { ", seeded weights" } else { "" };
        format!("{}, batch {} of {}{weights}", self.model(), self.batch, self.input)
    }

    /// What one input of the network is called, in the plural.
    fn unit(&self) -> &'static str {
        match self.network {
            Network::Vgg(_) | Network::Hed | Network::Cnn(_) => "images",
            Network::Encoder(_) => "texts",
        }
    }

    pub(crate) fn model(&self) -> &str {
        self.network.name()
    }

    pub(crate) fn adapter(&self) -> &str {
        &self.device.profile().name
    }
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    batch: usize,
    /// Until the network is on the device, weights prepared.
    load_ms: f64,
    /// The first run after that: software drivers, and some others, compile kernels when they first run.
    first_ms: f64,
    best_ms: f64,
    median_ms: f64,
    memory: MemoryReport,
    samples: usize,
    adapter: &'a str,
}

impl BenchArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self.other {
            Some(Other::Search(args)) => return args.run(context),
            Some(Other::T5(args)) => return args.run(context),
            Some(Other::Train(args)) => return args.run(context),
            None => {}
        }
        // clap asks for a network before it comes to this.
        let network = self.network.ok_or_else(|| CliError::Input("no network is named".to_owned()))?;
        let mut output = self.output.open()?;
        let mut workload = self.load.load(&network, context, |_| Ok(()))?;
        let (mut samples, mut first) = (Samples::default(), None);
        {
            let progress = context.progress("measuring", self.warmup.saturating_add(self.samples));
            for run in 0..self.warmup.saturating_add(self.samples) {
                let duration = workload.bench.run()?;
                first.get_or_insert(duration);
                if run >= self.warmup {
                    samples.push(duration);
                }
                progress.set(run as u64 + 1);
            }
        }
        let (best, median, first) = (samples.best(), samples.median(), first.unwrap_or_default());
        let report = Report {
            model: workload.model(),
            batch: workload.batch,
            load_ms: milliseconds(workload.loading),
            first_ms: milliseconds(first),
            best_ms: milliseconds(best),
            median_ms: milliseconds(median),
            memory: MemoryReport::new(workload.device.gpu(), workload.bench.memory()),
            samples: samples.count(),
            adapter: workload.adapter(),
        };
        if self.json {
            output.json(&report)?;
            return output.finish();
        }
        let per_second = |duration: Duration| workload.batch as f64 / duration.as_secs_f64();
        let gflops = |duration| rate(workload.bench.multiply_adds(), duration).unwrap_or_default();
        let line = |name: &str, duration: Duration| {
            vec![
                name.to_owned(),
                format!("{:.2} ms", milliseconds(duration)),
                format!("{:.2} {}/s", per_second(duration), workload.unit()),
                format!("{:.2} GFLOP/s", gflops(duration)),
            ]
        };
        writeln!(output, "{}", workload.describe())?;
        write_table(&mut output, &[line("best", best), line("median", median)])?;
        let [load, first] = [workload.loading, first].map(waited);
        writeln!(output, "loading took {load}, and the first run after it {first}")?;
        report.memory.write(&mut output)?;
        writeln!(output, "{} on {}", counted(report.samples, "sample"), report.adapter)?;
        output.finish()
    }
}
