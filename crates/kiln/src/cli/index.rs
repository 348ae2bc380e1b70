//! `kiln index`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use kiln::docqa::index::{Index, IndexOptions};
use kiln::docqa::similarity::{GpuSimilarity, HostSimilarity};
use kiln::docqa::{DocqaError, load, store};

use super::context::Context;
use super::documents::{SplitArgs, count, index_progress};
use super::encoder::EncoderArgs;
use super::error::CliError;
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

    /// The folder to write; a store that is there is replaced
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// How distance is measured
    #[arg(long, value_enum, default_value_t = Metric::L2)]
    metric: Metric,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    encoder: EncoderArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Metric {
    /// Squared Euclidean distance, 0 to 4
    L2,
    /// One minus the cosine, 0 to 2
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
        let files = load::read(&self.paths)?;
        check_target(&self.store)?;
        let (gpu, mut encoder) = self.encoder.load(context)?;
        let similarity = Box::new(GpuSimilarity::new(&gpu));
        let index =
            Index::build(&files, &options, &mut encoder, similarity, &mut index_progress(context, &gpu))?;
        index.notices().iter().for_each(|notice| context.note(notice));
        index.save(&self.store)?;
        let mut output = Output::stdout();
        let passages = count(index.chunks().len(), "passage");
        let documents = count(index.documents().len(), "document");
        let (folder, seconds) = (self.store.display(), started.elapsed().as_secs_f64());
        writeln!(output, "{passages} of {documents} in {folder} ({seconds:.2} s)")?;
        output.finish()
    }
}

/// Saving refuses a folder of other things; this tells before the work is done.
fn check_target(folder: &Path) -> Result<(), CliError> {
    let is_store = !matches!(
        Index::open(folder, Box::new(HostSimilarity::default())),
        Err(DocqaError::Missing { .. } | DocqaError::NoStore { .. })
    );
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if is_store || is_empty { Ok(()) } else { Err(DocqaError::NotAStore { path: folder.to_owned() }.into()) }
}
