//! `kiln profile t5`.

use clap::{Args, ValueEnum};
use kiln::models::t5::T5Config;
use kiln::models::t5::measure::T5Bench;

use super::super::context::Context;
use super::super::error::CliError;
use super::super::generation::{PrecisionArg, find_generator};
use super::super::numbers::{at_least_one, counted};
use super::report::Subject;
use super::{Measuring, has_timestamps};

/// Where the time goes when a T5 model reads a prompt, or writes a token
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln profile t5
  kiln profile t5 --part encode --prompt 256
  kiln profile t5 --precision f16 --by kernel --json

Without --model, it has the sizes of flan-t5-small and weights from a formula; the
time does not depend on them. Attention counts as if it read all that a plan has room
for, which a prompt of 512 tokens fills.")]
pub(super) struct ProfileT5Args {
    /// The model: a name from `kiln models list`, or a directory with its files [default: seeded weights]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,

    /// How the matrices are kept on the device; sums are f32 with either
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,

    /// What is measured
    #[arg(long, value_enum, default_value_t, value_name = "PART")]
    part: Part,

    /// How many tokens the prompt has
    #[arg(long, value_name = "N", default_value = "512", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    prompt: usize,

    #[command(flatten)]
    measuring: Measuring,
}

/// A part of generation.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Part {
    /// Reading the prompt
    Encode,
    /// Writing one token
    #[default]
    Step,
}

impl ProfileT5Args {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let outputs = self.measuring.open()?;
        let dir = self.model.as_deref().map(|model| find_generator(context, model)).transpose()?;
        let config = match &dir {
            Some(dir) => T5Config::open(&dir.join("config.json"))?,
            None => T5Config::flan_t5_small(),
        };
        if self.prompt > config.n_positions {
            let (prompt, most) = (self.prompt, config.n_positions);
            return Err(CliError::Input(format!(
                "--prompt {prompt}: expected at most {most}, which the model reads"
            )));
        }
        let device = context.open_device()?;
        has_timestamps(device.gpu())?;
        let precision = self.precision.precision();
        let mut bench = {
            let _clock = context.clock("loading weights");
            match &dir {
                Some(dir) => T5Bench::open(&device, dir, precision)?,
                None => T5Bench::seeded(&device, config, precision)?,
            }
        };
        context.announce(device.gpu());
        let profile = self.measuring.measure(context, |rounds, progress| {
            Ok(match self.part {
                Part::Encode => bench.profile_encoder(self.prompt, rounds, progress)?,
                Part::Step => bench.profile_step(self.prompt, rounds, progress)?,
            })
        })?;
        let model = self.model.as_deref().unwrap_or("flan-t5-small");
        let seeded = if dir.is_none() { ", seeded weights" } else { "" };
        let what = match self.part {
            Part::Encode => "encoding a prompt",
            Part::Step => "a token behind a prompt",
        };
        let (tokens, precision) = (counted(self.prompt, "token"), self.precision.name());
        let title = format!("{model}, {what} of {tokens}, {precision}{seeded}");
        let subject = Subject { title, model, batch: 1 };
        self.measuring.tell(context, &device, outputs, &subject, &profile)
    }
}
