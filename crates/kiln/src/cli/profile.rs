//! `kiln profile`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use kiln::models::measure::{LayerTime, rate};
use serde::Serialize;

use super::bench::LoadArgs;
use super::context::Context;
use super::error::CliError;
use super::network::NetworkArgs;
use super::numbers::{at_least_one, counted, milliseconds};
use super::output::OutputArgs;
use super::table::{align_right, write_table};

/// Measure how long each layer of a network takes, by the device's own clock
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln profile vgg16
  kiln profile vgg16 --batch 4 --json | jq '.layers | max_by(.ms)'

The device has to have timestamps; `kiln devices` says whether it does.")]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    load: LoadArgs,

    /// How many runs are measured; each time is the median over them
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    adapter: &'a str,
    batch: usize,
    samples: usize,
    total_ms: f64,
    layers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    layer: &'a str,
    kind: &'a str,
    kernels: &'a [String],
    ms: f64,
    /// Null for a layer without multiply-adds.
    gflops: Option<f64>,
    /// Of the total, from 0 to 1.
    share: f64,
}

impl ProfileArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut output = self.output.open()?;
        let mut workload = self.load.load(&self.network, context, |gpu| match gpu.profile() {
            profile if profile.timestamps => Ok(()),
            profile => Err(CliError::Runtime(format!(
                "{} has no timestamps, which a profile is made of; `kiln bench` measures without them",
                profile.name
            ))),
        })?;
        let times = {
            let progress = context.progress("measuring", self.samples.saturating_add(1));
            // The first run compiles kernels.
            workload.bench.run()?;
            progress.set(1);
            workload.bench.profile(self.samples, &mut |done| progress.set(done as u64 + 1))?
        };
        let total: Duration = times.iter().map(|layer| layer.duration).sum();
        let share =
            |layer: &LayerTime| layer.duration.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
        if self.json {
            let rows = times.iter().map(|layer| Row {
                layer: &layer.name,
                kind: &layer.kind,
                kernels: &layer.kernels,
                ms: milliseconds(layer.duration),
                gflops: layer.gflops(),
                share: share(layer),
            });
            output.json(&Report {
                model: workload.model(),
                adapter: workload.adapter(),
                batch: workload.batch,
                samples: self.samples,
                total_ms: milliseconds(total),
                layers: rows.collect(),
            })?;
            return output.finish();
        }
        writeln!(output, "{}\n", workload.describe())?;
        let mut rows =
            vec![["layer", "kind", "kernels", "ms", "GFLOP/s", "share"].map(str::to_owned).to_vec()];
        for layer in &times {
            rows.push(vec![
                layer.name.clone(),
                layer.kind.clone(),
                layer.kernels.join(" "),
                format!("{:.2}", milliseconds(layer.duration)),
                layer.gflops().map(|rate| format!("{rate:.1}")).unwrap_or_default(),
                format!("{:.1} %", 100.0 * share(layer)),
            ]);
        }
        rows.push(vec![
            "total".to_owned(),
            String::new(),
            String::new(),
            format!("{:.2}", milliseconds(total)),
            rate(workload.bench.multiply_adds(), total).map(|rate| format!("{rate:.1}")).unwrap_or_default(),
            "100.0 %".to_owned(),
        ]);
        align_right(&mut rows, 3..6);
        write_table(&mut output, &rows)?;
        writeln!(output, "\nMedians of {} on {}.", counted(self.samples, "run"), workload.adapter())?;
        output.finish()
    }
}
