//! `kiln bench train`.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use kiln::models::cnn::Architecture;
use kiln::models::measure::{Samples, rate};
use kiln::models::seeded;
use kiln::train::config::RunOptions;
use kiln::train::loader::Batch;
use kiln::train::measure::{PartCost, StepCost};
use kiln::train::trainer::Trainer;
use serde::Serialize;

use super::super::context::Context;
use super::super::error::CliError;
use super::super::numbers::{at_least_one, counted, grouped, milliseconds, whole_number};
use super::super::output::{Output, OutputArgs};
use super::super::table::{align_right, write_table};
use super::memory::MemoryReport;

/// Measure how fast a network learns
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln bench train
  kiln bench train --arch sk --batch-size 50 --samples 100 --json

A sample is a whole training step: a batch goes to the device, forward, loss,
backward and update are computed there, and the loss comes back. The shares are
by the device's clock, kernel by kernel, in a step of their own.")]
pub(crate) struct BenchTrainArgs {
    /// The network: a name, or a TOML file
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "base")]
    arch: String,

    /// Examples in a step
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    batch_size: usize,

    /// How many steps are measured
    #[arg(long, value_name = "N", default_value = "40", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// How many steps come before them
    #[arg(long, value_name = "N", default_value = "2", value_parser = whole_number,
        allow_negative_numbers = true)]
    warmup: usize,

    /// Print one JSON object {arch, batch_size, images_per_second, best_ms, median_ms, forward: {ms, share,
    /// gflops}, backward, update, memory: {weights, variables, pooled, total, bound, ratio, peak, allocated,
    /// allocated_peak}, samples, adapter}, memory in bytes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    arch: &'a str,
    batch_size: usize,
    /// By the median.
    images_per_second: f64,
    best_ms: f64,
    median_ms: f64,
    /// Absent, as the next two, where the device has no timestamps.
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backward: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Share>,
    memory: MemoryReport,
    samples: usize,
    adapter: &'a str,
}

#[derive(Serialize)]
struct Share {
    ms: f64,
    share: f64,
    /// Absent where nothing is multiplied.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflops: Option<f64>,
}

/// Small, so that noise for examples does no harm.
pub(crate) const RATE: f64 = 1e-3;

impl BenchTrainArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut output = self.output.open()?;
        let options = RunOptions {
            arch: Some(self.arch.clone()),
            // No data are read; the options ask for some.
            data: Some("noise".into()),
            ..RunOptions::default()
        };
        let (config, network) = options.resolve()?;
        let batch = noise(&network, self.batch_size)?;
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        let mut trainer = Trainer::new(&gpu, &network, config.trainer_options())?;
        trainer.initialize()?;
        let mut samples = Samples::default();
        let total = self.warmup.saturating_add(self.samples);
        {
            let progress = context.progress("measuring", total);
            for step in 0..total {
                let start = Instant::now();
                trainer.step(&batch, RATE)?;
                trainer.records()?;
                if step >= self.warmup {
                    samples.push(start.elapsed());
                }
                progress.set(step as u64 + 1);
            }
        }
        let cost = if gpu.profile().timestamps { Some(trainer.measure(&batch, RATE)?) } else { None };
        let share = |part: fn(&StepCost) -> PartCost| cost.as_ref().map(|cost| Share::of(part(cost), cost));
        let median = samples.median();
        let report = Report {
            arch: network.name(),
            batch_size: self.batch_size,
            images_per_second: self.batch_size as f64 / median.as_secs_f64(),
            best_ms: milliseconds(samples.best()),
            median_ms: milliseconds(median),
            forward: share(|cost| cost.forward),
            backward: share(|cost| cost.backward),
            update: share(|cost| cost.update),
            memory: MemoryReport::new(&gpu, trainer.memory()),
            samples: samples.count(),
            adapter: &gpu.profile().name,
        };
        if self.json {
            output.json(&report)?;
        } else {
            write_report(&mut output, &report)?;
        }
        output.finish()
    }
}

/// A batch of noise, with a class for each example.
pub(crate) fn noise(network: &Architecture, examples: usize) -> Result<Batch, CliError> {
    let [channels, height, width] = network.input();
    let shape = [examples, channels, height, width];
    let classes = network.outputs().max(2);
    Ok(Batch {
        index: 0,
        shape,
        images: seeded::image(shape)?.into_f32()?,
        labels: (0..examples).map(|example| (example % classes) as u32).collect(),
        origins: (0..examples as u32).collect(),
    })
}

impl Share {
    fn of(part: PartCost, cost: &StepCost) -> Share {
        Share {
            ms: milliseconds(part.duration),
            share: part.duration.as_secs_f64() / cost.duration().as_secs_f64(),
            gflops: rate(part.multiply_adds, part.duration),
        }
    }
}

fn write_report(out: &mut Output, report: &Report<'_>) -> Result<(), CliError> {
    let Report { arch, batch_size, images_per_second, best_ms, median_ms, samples, adapter, .. } = report;
    writeln!(out, "training {arch}, batch {batch_size}")?;
    let rate = match *images_per_second {
        slow if slow < 100.0 => format!("{slow:.2}"),
        fast => grouped(fast.round() as u64),
    };
    writeln!(out, "{rate} images/s: a step takes {median_ms:.2} ms, at best {best_ms:.2} ms")?;
    let parts = [("forward", &report.forward), ("backward", &report.backward), ("update", &report.update)];
    let mut rows: Vec<Vec<String>> = parts
        .into_iter()
        .filter_map(|(name, share)| share.as_ref().map(|share| (name, share)))
        .map(|(name, share)| {
            let gflops = share.gflops.map_or(String::new(), |gflops| format!("{gflops:.2} GFLOP/s"));
            vec![
                name.to_owned(),
                format!("{:.2} ms", share.ms),
                format!("{:.1} %", share.share * 100.0),
                gflops,
            ]
        })
        .collect();
    align_right(&mut rows, 1..4);
    write_table(out, &rows)?;
    report.memory.write(out)?;
    Ok(writeln!(out, "{} on {adapter}", counted(*samples, "sample"))?)
}
