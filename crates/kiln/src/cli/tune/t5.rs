//! `kiln tune t5`.

use clap::Args;
use kiln::NoWeights;
use kiln::models::t5::{Runner, T5, T5Config};

use super::super::context::Context;
use super::super::error::CliError;
use super::super::generation::{PrecisionArg, find_generator};
use super::super::numbers::at_least_one;
use super::Measuring;

/// Measure the kernels of a T5 model
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln tune t5
  kiln tune t5 --precision f16 --beams 4

Without --model it has the sizes of flan-t5-small.")]
pub(super) struct TuneT5Args {
    /// The model: a name from `kiln models list`, or a directory with its files [default: the sizes of flan-t5-small]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,

    /// How the matrices are kept on the device; sums are f32 with either
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,

    /// How many beams grow together
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    beams: usize,

    #[command(flatten)]
    measuring: Measuring,
}

impl TuneT5Args {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let config = match &self.model {
            Some(model) => T5Config::open(&find_generator(context, model)?.join("config.json"))?,
            None => T5Config::flan_t5_small(),
        };
        let model = self.model.as_deref().unwrap_or("flan-t5-small");
        let beams = if self.beams > 1 { format!(", {} beams", self.beams) } else { String::new() };
        let described = format!("{model}, {}{beams}", self.precision.name());
        let t5 = T5::without_weights(config, self.precision.precision());
        self.measuring.run(context, &described, |gpu| {
            // Nothing is loaded: the graphs are all that is wanted.
            Ok(Runner::new(gpu, t5, Box::new(NoWeights)).graphs(self.beams)?)
        })
    }
}
