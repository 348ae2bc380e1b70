//! `kiln split`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kiln::docqa::{chunk, load};

use super::context::Context;
use super::documents::{SplitArgs, place};
use super::error::CliError;
use super::output::OutputArgs;

/// Show the passages that documents are split into
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln split paper.pdf
  kiln split notes/ --chunk-size 1000 --chunk-overlap 100 --json
  kiln split log.txt --separator '\\n' --separator ' '")]
pub(crate) struct DocumentSplitArgs {
    /// PDF, text and Markdown files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Print an array of {text, source, page, page_end, chunk_id, chunk_size}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl DocumentSplitArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let options = self.split.options()?;
        let mut output = self.output.open()?;
        let loaded = load::load(&self.paths)?;
        loaded.notices().iter().for_each(|notice| context.note(notice));
        let chunks = chunk::chunks(&loaded.documents, &options)?;
        if self.json {
            output.json_rows(chunks.iter().map(|chunk| chunk.view()))?;
            return output.finish();
        }
        for chunk in &chunks {
            let place = place(&chunk.source, chunk.page, chunk.page_end, chunk.chunk_id);
            writeln!(output, "[{place}, {} characters]\n{}\n", chunk.chunk_size, chunk.text)?;
        }
        output.finish()
    }
}
