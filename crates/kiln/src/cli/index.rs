//! `kiln index`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kiln::docqa::index::{Index, IndexOptions, check_target};
use kiln::docqa::similarity::GpuSimilarity;
use kiln::docqa::{load, store};

use super::context::Context;
use super::documents::{SplitArgs, index_progress};
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::numbers::counted;
use super::output::Output;

/// Embed the passages of documents into a store, for `kiln search` and `kiln ask`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln index papers/ --store papers.kiln
  kiln index a.pdf b.md --store both.kiln --metric cosine")]
pub(crate) struct IndexArgs {
    /// PDF, text and Markdown files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// The folder to write; a store that is there is replaced, a folder of anything else refused
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

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
        check_target(&self.store)?;
        let files = load::read(&self.paths)?;
        let (gpu, mut encoder) = self.encoder.load(context)?;
        let similarity = Box::new(GpuSimilarity::new(&gpu));
        let index =
            Index::build(&files, &options, &mut encoder, similarity, &mut index_progress(context, &gpu))?;
        index.notices().iter().for_each(|notice| context.note(notice));
        index.save(&self.store)?;
        let mut output = Output::stdout();
        let passages = counted(index.chunks().len(), "passage");
        let documents = counted(index.documents().len(), "document");
        let (folder, seconds) = (self.store.display(), started.elapsed().as_secs_f64());
        writeln!(output, "{passages} of {documents} in {folder} ({seconds:.2} s)")?;
        output.finish()
    }
}
