//! `kiln profile train`.

use clap::Args;
use kiln::engine::Device;
use kiln::train::config::RunOptions;
use kiln::train::trainer::Trainer;

use super::super::bench::train::{RATE, noise};
use super::super::context::Context;
use super::super::error::CliError;
use super::super::numbers::at_least_one;
use super::report::Subject;
use super::{Measuring, has_timestamps};

/// Where the time of a training step goes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln profile train
  kiln profile train --arch sk --by kernel --trace sk.json")]
pub(super) struct ProfileTrainArgs {
    /// The network: a name, or a TOML file
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "base")]
    arch: String,

    /// Examples in a step
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    batch_size: usize,

    #[command(flatten)]
    measuring: Measuring,
}

impl ProfileTrainArgs {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let outputs = self.measuring.open()?;
        let options = RunOptions {
            arch: Some(self.arch),
            // No data are read; the options ask for some.
            data: Some("noise".into()),
            ..RunOptions::default()
        };
        let (config, network) = options.resolve()?;
        let batch = noise(&network, self.batch_size)?;
        let gpu = context.open_gpu()?;
        has_timestamps(&gpu)?;
        context.announce(&gpu);
        let mut trainer = Trainer::new(&gpu, &network, config.trainer_options())?;
        trainer.initialize()?;
        // The first step compiles kernels.
        trainer.step(&batch, RATE)?;
        let profile = self
            .measuring
            .measure(context, |rounds, progress| Ok(trainer.profile(&batch, RATE, rounds, progress)?))?;
        let title = format!("training {}, batch {}", network.name(), self.batch_size);
        let subject = Subject { title, model: network.name(), batch: self.batch_size };
        self.measuring.tell(context, &Device::from(&gpu), outputs, &subject, &profile)
    }
}
