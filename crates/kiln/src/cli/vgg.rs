//! The VGG that a command works with, and where its weights come from.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln::models::ModelError;
use kiln::models::store::ENTRIES;
use kiln::models::vgg::{Tap, VggConfig, VggWeights, weights_in};

use super::context::Context;
use super::encoder::store;
use super::error::CliError;

/// The options that name a network and its weights.
#[derive(Debug, Args)]
pub(crate) struct VggArgs {
    /// vgg11, vgg13, vgg16 or vgg19, each also with _bn behind it
    #[arg(long, value_name = "NAME", default_value = "vgg16")]
    model: String,

    /// The weights: a safetensors file in torchvision's or timm's names, a directory with model.safetensors, or
    /// Keras's .h5 [default: those of the model store, for vgg16]
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
}

impl VggArgs {
    pub(crate) fn config(&self) -> Result<VggConfig, CliError> {
        Ok(VggConfig::by_name(&self.model)?)
    }

    /// Opens the weights: of the whole network, or what a few layers need of it. They are fetched where no file is
    /// named and the model is nowhere on this machine.
    pub(crate) fn open(
        &self,
        context: &Context,
        config: &VggConfig,
        taps: Option<&[Tap]>,
    ) -> Result<VggWeights, CliError> {
        let path = match &self.weights {
            Some(path) if path.is_dir() => weights_in(path),
            Some(path) => path.clone(),
            None => fetch(context, config)?,
        };
        let Some(taps) = taps else { return Ok(VggWeights::open(&path, config)?) };
        let weights = VggWeights::open_for(&path, config, taps)?;
        if !weights.unknown().is_empty() {
            note_unknown(context, &path, config, weights.unknown());
        }
        Ok(weights)
    }
}

fn fetch(context: &Context, config: &VggConfig) -> Result<PathBuf, CliError> {
    let name = config.store_name();
    if !ENTRIES.iter().any(|entry| entry.name == name) {
        let message =
            format!("{}: the model store has no weights for it; name a file by --weights", config.name);
        return Err(CliError::Input(message));
    }
    let progress = context.download();
    let fetched = store().fetch(&name, &mut |step| progress.set_all(step.file, step.done, step.total));
    let dir = fetched.map_err(|mut error| {
        if let ModelError::Fetch { advice, .. } | ModelError::NotFound { advice, .. } = &mut error {
            advice.push_str(", or name a file by --weights");
        }
        error
    })?;
    Ok(weights_in(&dir))
}

/// No error, since nothing of it is needed; but it may tell that the file is not what was meant.
fn note_unknown(context: &Context, path: &Path, config: &VggConfig, unknown: &[String]) {
    const SHOWN: usize = 3;
    let more =
        if unknown.len() > SHOWN { format!(" and {} more", unknown.len() - SHOWN) } else { String::new() };
    let shown = unknown[..unknown.len().min(SHOWN)].join(", ");
    let (path, name) = (path.display(), &config.name);
    context.note(format_args!("{path} holds tensors that {name} does not know: {shown}{more}"));
}
