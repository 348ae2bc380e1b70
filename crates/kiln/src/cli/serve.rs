//! `kiln serve`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kiln::docqa::answer::AskOptions;
use kiln::docqa::index::IndexOptions;
use kiln::models::ModelError;
use kiln::models::vgg::{VggConfig, VggWeights, weights_in};
use kiln::serve::{Classifier, DEFAULT_PORT, Engine, EngineOptions, Options, Server};

use super::asking::{AnswerArg, refuse_generation};
use super::context::Context;
use super::encoder::{DEFAULT_MODEL, store};
use super::error::CliError;
use super::generation::{DEFAULT_GENERATOR, GenerationArgs, PrecisionArg};
use super::interrupt;
use super::numbers::whole_number;

/// A web page on this machine: ask documents, and classify pictures
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln serve
  kiln serve --port 0 --max-upload 200MB
  kiln serve --answer extract --contexts 5

The page's address is printed on standard output. What the page needs and is not on this machine, it
names with the command that fetches it; nothing is fetched by itself. Ctrl-C stops the server (exit
code 0); what is being computed is cancelled, and uploads are removed.")]
pub(crate) struct ServeArgs {
    /// The port; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT, allow_negative_numbers = true)]
    port: u16,

    /// The address to listen on. Anything but this machine's own lets others use the page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,

    /// Another name by which browsers may reach the page, such as a proxy's; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// The largest file that is taken
    #[arg(long, value_name = "SIZE", default_value = "50MB", value_parser = size)]
    max_upload: u64,

    /// How many passages to answer from
    #[arg(short = 'k', long, value_name = "N", default_value_t = 3,
        value_parser = whole_number, allow_negative_numbers = true)]
    contexts: usize,

    /// How to answer
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    answer: AnswerArg,

    /// The sentence encoder: a name from `kiln models list`, or a directory with its files
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_MODEL)]
    model: String,

    /// What classifies pictures: vgg11, vgg13, vgg16 or vgg19, each also with _bn behind it
    #[arg(long, value_name = "NAME", default_value = "vgg16", help_heading = "Pictures")]
    classifier: String,

    /// Its weights, as for kiln classify [default: those of the model store, for vgg16]
    #[arg(long, value_name = "FILE|DIR", help_heading = "Pictures")]
    weights: Option<PathBuf>,

    /// The T5 model: a name from `kiln models list`, or a directory with its files [default: flan-t5-small]
    #[arg(long, value_name = "NAME|DIR", help_heading = "Generation")]
    generator: Option<String>,

    /// How its matrices are kept on the device; sums are f32 with either [default: f32]
    #[arg(
        long,
        value_name = "f32|f16",
        value_enum,
        hide_possible_values = true,
        help_heading = "Generation"
    )]
    precision: Option<PrecisionArg>,

    #[command(flatten)]
    generation: GenerationArgs,
}

impl ServeArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        // Whatever can be refused is refused before the device is opened.
        let options = self.engine()?;
        let server = Server::bind(Options {
            host: self.host,
            port: self.port,
            names: self.names,
            max_upload: self.max_upload,
        })?;
        let device = context.open_device()?;
        context.announce(device.gpu());
        if server.is_public() {
            context.note(format_args!(
                "{} is not this machine's alone: whoever reaches it can use the page, unencrypted and without a \
                 password",
                server.address()
            ));
        }
        let engine = Engine::new(device, options);
        let about = engine.about();
        let _stoppable = interrupt::stoppable();
        let mut out = std::io::stdout();
        writeln!(out, "{}", server.url())?;
        out.flush()?;
        context.note("the page is ready; Ctrl-C stops the server");
        Ok(server.run(engine, about, interrupt::asked)?)
    }

    fn engine(&self) -> Result<EngineOptions, CliError> {
        let ask = AskOptions {
            contexts: self.contexts,
            generate: self.generation.options()?,
            ..AskOptions::default()
        };
        ask.check()?;
        check_name(&self.model)?;
        let generator = self.generator.as_deref().unwrap_or(DEFAULT_GENERATOR);
        let generator = match self.answer {
            AnswerArg::Extract => {
                let given =
                    [("--generator", self.generator.is_some()), ("--precision", self.precision.is_some())];
                refuse_generation(&given, &self.generation)?;
                None
            }
            AnswerArg::T5 => {
                store().locate(generator)?;
                Some(generator.to_owned())
            }
            AnswerArg::Auto => {
                check_name(generator)?;
                Some(generator.to_owned())
            }
        };
        let config = VggConfig::by_name(&self.classifier)?;
        let classifier = match &self.weights {
            None => Classifier::Stored(config),
            Some(path) => {
                let path = if path.is_dir() { weights_in(path) } else { path.clone() };
                VggWeights::open(&path, &config)?;
                Classifier::Weights { config, path }
            }
        };
        Ok(EngineOptions {
            store: store(),
            encoder: self.model.clone(),
            generator,
            precision: self.precision.unwrap_or_default().precision(),
            ask,
            index: IndexOptions::default(),
            classifier,
        })
    }
}

/// Refuses the name of no model. One that only is not on this machine is told of by the page.
fn check_name(name_or_dir: &str) -> Result<(), CliError> {
    match store().locate(name_or_dir) {
        Ok(_) | Err(ModelError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Parses a number of bytes, as people say it: `50MB`, `1.5 GB`, `800000`.
fn size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a size above 0, such as 50MB or 1GB";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        _ => return Err(EXPECTED),
    };
    let bytes = number.parse::<f64>().map_err(|_| EXPECTED)? * factor;
    // As far as a float counts bytes one by one.
    if (1.0..9e15).contains(&bytes) { Ok(bytes as u64) } else { Err(EXPECTED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::serve::DEFAULT_MAX_UPLOAD;

    #[test]
    fn sizes_are_read_as_people_say_them() {
        for (text, bytes) in
            [("50MB", DEFAULT_MAX_UPLOAD), ("1.5 gb", 1_500_000_000), ("800000", 800_000), ("2k", 2000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "MB", "-1MB", "50TB", "1e3", "nan", "0.5", "99999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
