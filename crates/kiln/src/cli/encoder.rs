//! The sentence encoder that a command works with.

use clap::Args;
use kiln::engine::Device;
use kiln::models::SentenceEncoder;
use kiln::models::store::{ModelStore, StoreConfig};

use super::context::Context;
use super::error::CliError;

/// The model that is used where none is named.
pub(crate) const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";

/// The option that names the encoder.
#[derive(Debug, Args)]
pub(crate) struct EncoderArgs {
    /// The sentence encoder: a name from `kiln models list`, or a directory with its files
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_MODEL)]
    model: String,
}

impl EncoderArgs {
    /// Finds the model, fetches it where it is nowhere on this machine, and opens the device for it.
    pub(crate) fn load(&self, context: &Context) -> Result<(Device, SentenceEncoder), CliError> {
        let dir = {
            let progress = context.download();
            store().fetch(&self.model, &mut |step| progress.set_all(step.file, step.done, step.total))?
        };
        let gpu = context.open_device()?;
        let encoder = SentenceEncoder::load(&gpu, &dir)?;
        Ok((gpu, encoder))
    }
}

/// The model store, as the environment sets it up.
pub(crate) fn store() -> ModelStore {
    ModelStore::new(StoreConfig::from_env())
}
