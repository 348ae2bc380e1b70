//! `kiln search`.

use std::io::Write;

use clap::Args;
use kiln::docqa::retrieve;
use kiln::docqa::store::StoreLocation;
use serde::Serialize;

use super::context::Context;
use super::documents::{FilterArgs, place};
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::numbers::whole_number;
use super::output::OutputArgs;
use super::stores;

/// Find the passages of a store that are closest to a query
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln search --store papers.kiln \"weight sharing\"
  kiln search --store papers.kiln \"pooling\" --contexts 10 --source papers/vgg.pdf --json")]
pub(crate) struct SearchArgs {
    /// What to look for
    query: String,

    /// The store, as `kiln index` made it: a folder, or chroma:http://localhost:8000/COLLECTION
    #[arg(long, value_name = "STORE")]
    store: StoreLocation,

    /// How many passages to find
    #[arg(short = 'k', long, value_name = "N", default_value_t = 5,
        value_parser = whole_number, allow_negative_numbers = true)]
    contexts: usize,

    /// Print an array of {text, source, page, page_end, chunk_id, chunk_size, distance}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    encoder: EncoderArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    chunk: kiln::docqa::chunk::ChunkView<'a>,
    distance: f32,
}

impl SearchArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        retrieve::check(&self.query, self.contexts)?;
        self.store.check_present()?;
        let mut output = self.output.open()?;
        let (device, mut encoder) = self.encoder.load(context)?;
        let mut index = stores::open(&self.store, device.gpu())?;
        index.check_model(&encoder)?;
        self.filter.check(index.records().iter().map(|record| record.source.as_str()))?;
        context.announce(device.gpu());
        let filter = self.filter.filter();
        let found = retrieve::retrieve(&mut index, &mut encoder, &self.query, self.contexts, &filter)?;
        if found.hits.is_empty() {
            self.filter.note_nothing(context);
        }
        if self.json {
            let rows = found.hits.iter().map(|hit| Row { chunk: hit.chunk.view(), distance: hit.distance });
            output.json_rows(rows)?;
            return output.finish();
        }
        for (hit, rank) in found.hits.iter().zip(1..) {
            let chunk = &hit.chunk;
            let place = place(&chunk.source, chunk.page, chunk.page_end, chunk.chunk_id);
            writeln!(output, "{rank}. {place}, distance {:.4}\n{}\n", hit.distance, chunk.text)?;
        }
        output.finish()
    }
}
