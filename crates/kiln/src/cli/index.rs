//! `kiln index`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kiln::docqa::index::IndexOptions;
use kiln::docqa::load;
use kiln::docqa::store::{self, StoreLocation};

use super::context::Context;
use super::documents::SplitArgs;
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::numbers::counted;
use super::output::Output;
use super::stores;

/// Embed the passages of documents into a store, for `kiln search` and `kiln ask`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln index papers/ --store papers.kiln
  kiln index a.pdf b.md --store both.kiln --metric cosine
  kiln index papers/ --store chroma:http://localhost:8000/papers

The store comes to hold these documents and no others. What it holds already is not embedded
again: run it once more when documents have changed, or to go on where it was interrupted.")]
pub(crate) struct IndexArgs {
    /// PDF, text and Markdown files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// The folder to write, or a collection on a Chroma server (chroma:http://localhost:8000/COLLECTION); one
    /// that holds anything else is refused
    #[arg(long, value_name = "STORE")]
    store: StoreLocation,

    /// How distance is measured: l2, squared and Euclidean, 0 to 4, or cosine, one minus it, 0 to 2
    #[arg(long, value_enum, value_name = "l2|cosine", default_value_t = Metric::L2, hide_possible_values = true)]
    metric: Metric,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    encoder: EncoderArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Metric {
    L2,
    Cosine,
}

impl IndexArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let started = Instant::now();
        let metric = match self.metric {
            Metric::L2 => store::Metric::SquaredL2,
            Metric::Cosine => store::Metric::Cosine,
        };
        let options = IndexOptions { split: self.split.options()?, metric };
        self.store.check_target()?;
        load::find(&self.paths)?;
        let (device, mut encoder) = self.encoder.load(context)?;
        let index = stores::update(&self.store, &self.paths, &options, &mut encoder, device.gpu(), context)?;
        index.notices().iter().for_each(|notice| context.note(notice));
        let mut output = Output::stdout();
        let passages = counted(index.passages(), "passage");
        let documents = counted(index.records().len(), "document");
        let changes = index.changes().copied().unwrap_or_default();
        let (store, seconds) = (&self.store, started.elapsed().as_secs_f64());
        writeln!(output, "{passages} of {documents} in {store} ({changes}; {seconds:.2} s)")?;
        output.finish()
    }
}
