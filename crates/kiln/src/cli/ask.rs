//! `kiln ask`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::docqa::answer::{self, Answer, AskOptions, Method};
use kiln::docqa::index::{Index, IndexOptions};
use kiln::docqa::similarity::{GpuSimilarity, Similarity};
use kiln::docqa::{DocqaError, history, load, retrieve};
use kiln::gpu::Gpu;
use kiln::models::SentenceEncoder;
use serde::Serialize;

use super::context::Context;
use super::documents::{FilterArgs, SplitArgs, index_cache, index_progress, place};
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::output::{Output, OutputArgs};
use super::table::write_table;

/// Answer a question about documents, with the pages that the answer stands on
#[derive(Debug, Args)]
#[command(
    override_usage = "kiln ask [OPTIONS] <PATH>... <QUESTION>\n       kiln ask [OPTIONS] --store <DIR> <QUESTION>",
    after_help = "Examples:
  kiln ask paper.pdf \"What is a receptive field?\"
  kiln ask papers/ notes.md \"Which loss is used?\" --contexts 5 --json
  kiln ask --store papers.kiln \"Who introduced dropout?\" --history answers.json

The answer is extractive: sentences quoted from the documents. Documents are embedded once: the index
is kept in the cache, or in the folder that --store names, until a document changes."
)]
pub(crate) struct AskArgs {
    /// PDF, text and Markdown files or folders of them, then the question
    #[arg(value_name = "PATH|QUESTION", required = true)]
    paths_and_question: Vec<String>,

    /// Keep the index of the documents in this folder, or without documents, ask the store that is there
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// How many passages to answer from
    #[arg(long, value_name = "N", default_value_t = 3)]
    contexts: usize,

    /// The most sentences to quote
    #[arg(long, value_name = "N", default_value_t = 3)]
    sentences: usize,

    /// Print one JSON object: question, answer, contexts_used, processing_time (seconds), sources and more
    #[arg(long)]
    json: bool,

    /// Append question and answer to a file that holds one JSON array
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    encoder: EncoderArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    adapter: &'a str,
}

impl AskArgs {
    pub(crate) fn run(mut self, context: &Context) -> Result<(), CliError> {
        let question = self.paths_and_question.pop().unwrap_or_default();
        let paths: Vec<PathBuf> = self.paths_and_question.iter().map(PathBuf::from).collect();
        if paths.is_empty() && self.store.is_none() {
            let message = "no document was named: expected PATH... and then QUESTION, or --store DIR";
            return Err(CliError::Input(message.into()));
        }
        // Whatever can be refused is refused before a model is loaded.
        retrieve::check(&question, self.contexts)?;
        let options = IndexOptions { split: self.split.options()?, ..IndexOptions::default() };
        if !paths.is_empty() {
            load::read(&paths)?;
        }
        if let Some(file) = &self.history {
            history::read(file)?;
        }
        let mut output = self.output.open()?;
        let (gpu, mut encoder) = self.encoder.load(context)?;
        let mut index = match &self.store {
            None => cached(&paths, &options, &mut encoder, &gpu, context)?,
            Some(folder) => stored(folder, &paths, &options, &mut encoder, &gpu, context)?,
        };
        index.check_model(&encoder)?;
        context.announce(&gpu);
        index.notices().iter().for_each(|notice| context.note(notice));
        let ask =
            AskOptions { contexts: self.contexts, sentences: self.sentences, filter: self.filter.filter() };
        let answer = answer::ask(&mut index, &mut encoder, &question, &ask)?;
        if let Some(file) = &self.history {
            history::append(file, &answer)?;
        }
        let adapter = &gpu.profile().name;
        if self.json {
            output.json(&Report { answer: &answer, adapter })?;
        } else {
            write_answer(&mut output, &answer, adapter)?;
        }
        output.finish()
    }
}

fn similarity(gpu: &Gpu) -> Box<dyn Similarity> {
    Box::new(GpuSimilarity::new(gpu))
}

fn cached(
    paths: &[PathBuf],
    options: &IndexOptions,
    encoder: &mut SentenceEncoder,
    gpu: &Gpu,
    context: &Context,
) -> Result<Index, CliError> {
    let cache = index_cache()?;
    let progress = &mut index_progress(context, gpu);
    Ok(Index::open_or_build(paths, options, encoder, &cache, similarity(gpu), progress)?)
}

/// The index of a folder. Documents named beside it must be those in it; where the folder is not there
/// yet, it is made from them.
fn stored(
    folder: &Path,
    paths: &[PathBuf],
    options: &IndexOptions,
    encoder: &mut SentenceEncoder,
    gpu: &Gpu,
    context: &Context,
) -> Result<Index, CliError> {
    match Index::open(folder, similarity(gpu)) {
        Ok(index) if paths.is_empty() => Ok(index),
        Ok(index) => {
            let loaded = load::load(paths)?;
            if loaded.documents == index.documents() {
                return Ok(index);
            }
            Err(CliError::Input(format!(
                "{}: this store was made from other documents; ask it without naming any, or make it again with \
                 `kiln index`",
                folder.display()
            )))
        }
        Err(DocqaError::Missing { .. } | DocqaError::NoStore { .. }) if !paths.is_empty() => {
            let files = load::read(paths)?;
            let progress = &mut index_progress(context, gpu);
            let index = Index::build(&files, options, encoder, similarity(gpu), progress)?;
            index.save(folder)?;
            Ok(index)
        }
        Err(error) => Err(error.into()),
    }
}

fn write_answer(out: &mut Output, answer: &Answer, adapter: &str) -> io::Result<()> {
    writeln!(out, "{}\n", answer.answer)?;
    if answer.method == Method::Extractive {
        writeln!(out, "This answer is extractive: its sentences are quoted from the documents.")?;
    }
    writeln!(out, "\nSources")?;
    let row = |(source, rank): (&answer::Source, usize)| {
        let place = place(&source.source, source.page, source.page_end, source.chunk_id);
        [format!("  {rank}."), place, format!("distance {:.4}", source.distance)]
    };
    write_table(out, &answer.sources.iter().zip(1..).map(row).collect::<Vec<_>>())?;
    writeln!(out, "\nAnswered in {:.2} s on {adapter}.", answer.processing_time)
}
