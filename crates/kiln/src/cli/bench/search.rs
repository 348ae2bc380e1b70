//! `kiln bench search`.

use std::io::Write;

use clap::Args;
use kiln::docqa::measure::{SearchBench, Took};
use kiln::docqa::similarity::GpuSimilarity;
use kiln::gpu::Bytes;
use kiln::models::measure::Samples;
use serde::Serialize;

use super::super::context::Context;
use super::super::encoder::EncoderArgs;
use super::super::error::CliError;
use super::super::numbers::{at_least_one, counted, grouped, milliseconds, whole_number};
use super::super::output::OutputArgs;
use super::super::table::write_table;

/// Measure how long a question to a store in memory takes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln bench search
  kiln bench search --passages 100000 --json

A question is embedded and compared with each of the passages, which are there already; their
embeddings come from a formula.")]
pub(crate) struct BenchSearchArgs {
    /// How many passages the store holds
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    passages: usize,

    #[command(flatten)]
    encoder: EncoderArgs,

    /// How many questions are measured
    #[arg(long, value_name = "N", default_value = "20", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// How many come before them
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole_number,
        allow_negative_numbers = true)]
    warmup: usize,

    /// Print one JSON object {passages, dim, total, embedding, searching, memory: {host, device}, samples, adapter}, times
    /// as {best_ms, median_ms}, memory in bytes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    passages: usize,
    dim: usize,
    total: Times,
    embedding: Times,
    searching: Times,
    memory: Memory,
    samples: usize,
    adapter: &'a str,
}

#[derive(Clone, Copy, Serialize)]
struct Times {
    best_ms: f64,
    median_ms: f64,
}

#[derive(Serialize)]
struct Memory {
    host: u64,
    device: u64,
}

impl BenchSearchArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut output = self.output.open()?;
        let (device, mut encoder) = self.encoder.load(context)?;
        context.announce(device.gpu());
        let similarity = Box::new(GpuSimilarity::new(device.gpu()));
        let mut bench = SearchBench::new(self.passages, &encoder, similarity)?;
        let mut took = Vec::with_capacity(self.samples.min(1 << 20));
        {
            let progress = context.progress("asking", self.warmup.saturating_add(self.samples));
            for run in 0..self.warmup.saturating_add(self.samples) {
                let sample = bench.run(&mut encoder)?;
                if run >= self.warmup {
                    took.push(sample);
                }
                progress.set(run as u64 + 1);
            }
        }
        let times = |of: fn(&Took) -> std::time::Duration| {
            let mut samples = Samples::default();
            took.iter().for_each(|took| samples.push(of(took)));
            Times { best_ms: milliseconds(samples.best()), median_ms: milliseconds(samples.median()) }
        };
        let memory = bench.memory();
        let report = Report {
            passages: bench.passages(),
            dim: encoder.dim(),
            total: times(|took| took.total()),
            embedding: times(|took| took.embedding),
            searching: times(|took| took.searching),
            memory: Memory { host: memory.host, device: memory.device },
            samples: took.len(),
            adapter: &device.profile().name,
        };
        if self.json {
            output.json(&report)?;
            return output.finish();
        }
        let (passages, dim) = (grouped(report.passages as u64), report.dim);
        writeln!(output, "{passages} passages of {dim} values, {}", encoder.name())?;
        let line = |what: &str, times: Times| {
            let [best, median] = [times.best_ms, times.median_ms].map(|time| format!("{time:.2} ms"));
            [what.to_owned(), format!("best {best}"), format!("median {median}")]
        };
        write_table(
            &mut output,
            &[
                line("a question", report.total),
                line("  its embedding", report.embedding),
                line("  the search", report.searching),
            ],
        )?;
        let [host, device] = [memory.host, memory.device].map(Bytes);
        writeln!(output, "{host} in the process, {device} on the device")?;
        writeln!(output, "{} on {}", counted(report.samples, "question"), report.adapter)?;
        output.finish()
    }
}
