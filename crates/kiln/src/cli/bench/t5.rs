//! `kiln bench t5`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use kiln::gpu::Bytes;
use kiln::models::generate::GenerateOptions;
use kiln::models::measure::Samples;
use kiln::models::t5::T5Config;
use kiln::models::t5::measure::{DECODE_PROMPT, T5Bench, T5Cost};
use serde::Serialize;

use super::super::context::Context;
use super::super::error::CliError;
use super::super::generation::{PrecisionArg, find_generator};
use super::super::numbers::{at_least_one, counted, milliseconds};
use super::super::output::{Output, OutputArgs};
use super::super::table::{align_right, write_table};
use super::memory::MemoryReport;

/// Measure how fast a T5 model reads and writes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln bench t5
  kiln bench t5 --precision f16 --samples 9 --json

Without --model, it has the sizes of flan-t5-small and weights from a formula; the
time does not depend on them. A token reads nearly all weights of the decoder, so
the bound is what the device gives for products of one row with as many bytes of
weights, measured in turns with decoding.")]
pub(crate) struct BenchT5Args {
    /// The model: a name from `kiln models list`, or a directory with its files [default: seeded weights]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,

    /// How the matrices are kept on the device; sums are f32 with either
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,

    /// How many tokens are decoded in a round
    #[arg(long, value_name = "N", default_value = "64", value_parser = steps, allow_negative_numbers = true)]
    tokens: usize,

    /// How many rounds are measured, after one that is not
    #[arg(long, value_name = "N", default_value = "7", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    samples: usize,

    /// Print one JSON object {model, precision, encode: [{tokens, ms}], first_token_ms, tokens_per_second, token_ms,
    /// step_4_ms, last_step_ms, weight_bytes_per_token, dispatches_per_token, products_ms, share_of_products, memory:
    /// {weights, variables, pooled, total, bound, ratio, peak, allocated, allocated_peak}, samples, adapter}, memory in
    /// bytes and without the products'; allocated has them too
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    precision: &'static str,
    encode: Vec<Encode>,
    first_token_ms: f64,
    /// By the medians of all steps but the first, which waits for the encoder.
    tokens_per_second: f64,
    token_ms: f64,
    step_4_ms: f64,
    last_step_ms: f64,
    weight_bytes_per_token: u64,
    dispatches_per_token: usize,
    products_ms: f64,
    /// Median of the turns.
    share_of_products: f64,
    memory: MemoryReport,
    samples: usize,
    adapter: &'a str,
}

#[derive(Serialize)]
struct Encode {
    tokens: usize,
    ms: f64,
}

/// Which steps tell whether a long text is slower than a short one; counted from 1.
const EARLY: usize = 4;
/// How many neighbours are looked at, so that one hiccup does not decide.
const WINDOW: usize = 5;

impl BenchT5Args {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut output = self.output.open()?;
        let dir = self.model.as_deref().map(|model| find_generator(context, model)).transpose()?;
        let device = context.open_device()?;
        let precision = self.precision.precision();
        let mut bench = {
            let _clock = context.clock("loading weights");
            match &dir {
                Some(dir) => T5Bench::open(&device, dir, precision)?,
                None => T5Bench::seeded(&device, T5Config::flan_t5_small(), precision)?,
            }
        };
        context.announce(device.gpu());
        let progress = context.progress("measuring", self.samples + 1);
        let cost = bench.measure(self.samples, self.tokens, &mut |round| progress.set(round as u64 + 1))?;
        drop(progress);
        let memory = MemoryReport::new(device.gpu(), bench.memory());
        let report = self.report(&cost, memory, &device.profile().name);
        if self.json {
            output.json(&report)?;
        } else {
            self.write(&mut output, &report)?;
        }
        output.finish()
    }

    fn report<'a>(&'a self, cost: &T5Cost, memory: MemoryReport, adapter: &'a str) -> Report<'a> {
        let steps = cost.steps.len();
        let token = cost.steps[1..].iter().map(Samples::median).sum::<Duration>() / (steps as u32 - 1);
        let mut shares = cost.shares.clone();
        shares.sort_by(f64::total_cmp);
        Report {
            model: self.model.as_deref().unwrap_or("flan-t5-small, seeded weights"),
            precision: self.precision.name(),
            encode: cost
                .encode
                .iter()
                .map(|(tokens, samples)| Encode { tokens: *tokens, ms: milliseconds(samples.median()) })
                .collect(),
            first_token_ms: milliseconds(cost.first_token.median()),
            tokens_per_second: 1.0 / token.as_secs_f64(),
            token_ms: milliseconds(token),
            step_4_ms: milliseconds(around(&cost.steps, EARLY)),
            last_step_ms: milliseconds(around(&cost.steps, steps)),
            weight_bytes_per_token: cost.weight_bytes,
            dispatches_per_token: cost.dispatches,
            products_ms: milliseconds(cost.products.median()),
            share_of_products: (shares[(shares.len() - 1) / 2] + shares[shares.len() / 2]) / 2.0,
            memory,
            samples: self.samples,
            adapter,
        }
    }

    fn write(&self, out: &mut Output, report: &Report<'_>) -> Result<(), CliError> {
        writeln!(out, "{}, {}", report.model, report.precision)?;
        let mut rows: Vec<Vec<String>> = report
            .encode
            .iter()
            .map(|Encode { tokens, ms }| {
                let speed = *tokens as f64 / ms * 1e3;
                vec![format!("encode {tokens} tokens"), format!("{ms:.2} ms"), format!("{speed:.0} tokens/s")]
            })
            .collect();
        let first = format!("first token after {DECODE_PROMPT}");
        rows.push(vec![first, format!("{:.2} ms", report.first_token_ms), String::new()]);
        let speed = format!("{:.1} tokens/s", report.tokens_per_second);
        rows.push(vec![format!("a token of {}", self.tokens), format!("{:.2} ms", report.token_ms), speed]);
        rows.push(vec![format!("token {EARLY}"), format!("{:.2} ms", report.step_4_ms), String::new()]);
        let longer = format!("{:.2} of token {EARLY}", report.last_step_ms / report.step_4_ms);
        rows.push(vec![format!("token {}", self.tokens), format!("{:.2} ms", report.last_step_ms), longer]);
        let share = format!("decoding reaches {:.0} %", 100.0 * report.share_of_products);
        rows.push(vec!["products alone".to_owned(), format!("{:.2} ms", report.products_ms), share]);
        align_right(&mut rows, 1..2);
        write_table(out, &rows)?;
        let (bytes, dispatches) = (Bytes(report.weight_bytes_per_token), report.dispatches_per_token);
        writeln!(out, "a token reads {bytes} of weights and runs {dispatches} kernels")?;
        report.memory.write(out)?;
        writeln!(out, "{} on {}", counted(report.samples, "sample"), report.adapter)?;
        Ok(())
    }
}

/// The time of a step, counted from 1, as the median over it and its neighbours. The first step is no neighbour: it waits
/// for the encoder.
fn around(steps: &[Samples], step: usize) -> Duration {
    let start = step.saturating_sub(1 + WINDOW / 2).clamp(1, steps.len().saturating_sub(WINDOW).max(1));
    let mut medians = Samples::default();
    steps.iter().skip(start).take(WINDOW).for_each(|samples| medians.push(samples.median()));
    medians.median()
}

fn steps(text: &str) -> Result<usize, String> {
    const MOST: usize = GenerateOptions::MAX_NEW_TOKENS;
    match at_least_one::<usize>(text)? {
        1 => Err("expected at least 2: the first token's time holds the encoder's".into()),
        tokens @ 2..=MOST => Ok(tokens),
        _ => Err(format!("expected at most {MOST}, the length of the longest text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_seen_with_its_neighbours() {
        let steps = |count: u64| -> Vec<Samples> {
            let sample = |step| {
                let mut samples = Samples::default();
                samples.push(Duration::from_millis(step));
                samples
            };
            (1..=count).map(sample).collect()
        };
        let around = |count, step| super::around(&steps(count), step).as_millis();
        assert_eq!((around(64, 4), around(64, 64), around(64, 1)), (4, 62, 4));
        assert_eq!((around(6, 4), around(5, 5), around(2, 4)), (4, 3, 2));
    }
}
