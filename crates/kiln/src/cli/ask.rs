//! `kiln ask`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::docqa::answer::{self, Answer, AskOptions};
use kiln::docqa::history::{self, Entry};
use kiln::docqa::index::{Index, IndexOptions, check_store, check_target};
use kiln::docqa::load::{self, SourceFile};
use kiln::docqa::similarity::{GpuSimilarity, Similarity};
use kiln::gpu::Gpu;
use kiln::models::SentenceEncoder;

use super::context::Context;
use super::documents::{FilterArgs, SplitArgs, index_cache, index_progress, place};
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::numbers::whole_number;
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

The answer is extractive: sentences quoted from the documents. Documents are embedded once: the
index is kept in the cache, or in the folder that --store names, until a document changes."
)]
pub(crate) struct AskArgs {
    /// PDF, text and Markdown files or folders of them, then the question
    #[arg(value_name = "PATH|QUESTION", required = true)]
    paths_and_question: Vec<String>,

    /// Keep the index of the documents in this folder, or without documents, ask the store that is there
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// How many passages to answer from
    #[arg(short = 'k', long, value_name = "N", default_value_t = 3,
        value_parser = whole_number, allow_negative_numbers = true)]
    contexts: usize,

    /// The most sentences to quote
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = whole_number, allow_negative_numbers = true)]
    sentences: usize,

    /// Print one JSON object: question, answer, method, contexts_used, processing_time (the seconds that
    /// answering took), indexing_time (those of indexing before it, 0 where there was an index), adapter,
    /// timestamp and sources
    #[arg(long)]
    json: bool,

    /// Append what --json prints to a file that holds one JSON array
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

impl AskArgs {
    pub(crate) fn run(mut self, context: &Context) -> Result<(), CliError> {
        let question = self.paths_and_question.pop().unwrap_or_default();
        let paths: Vec<PathBuf> = self.paths_and_question.iter().map(PathBuf::from).collect();
        if paths.is_empty() && self.store.is_none() {
            let message = "no document was named: expected PATH... and then QUESTION, or --store DIR";
            return Err(CliError::Input(message.into()));
        }
        if paths.is_empty() && self.split.is_given() {
            let message = "--chunk-size, --chunk-overlap and --separator say how documents are split: expected \
                           documents beside --store, or none of these";
            return Err(CliError::Input(message.into()));
        }
        // Whatever can be refused is refused before a model is loaded.
        let ask =
            AskOptions { contexts: self.contexts, sentences: self.sentences, filter: self.filter.filter() };
        ask.check(&question)?;
        let options = IndexOptions { split: self.split.options()?, ..IndexOptions::default() };
        let files = if paths.is_empty() { Vec::new() } else { load::read(&paths)? };
        if !files.is_empty() {
            let names: Vec<String> = files.iter().map(|file| file.path().display().to_string()).collect();
            self.filter.check(names.iter().map(String::as_str))?;
        }
        if let Some(folder) = &self.store {
            match check_store(folder) {
                Err(_) if !files.is_empty() => check_target(folder)?,
                found => found?,
            }
        }
        if let Some(file) = &self.history {
            history::read(file)?;
        }
        let mut output = self.output.open()?;
        let (gpu, mut encoder) = self.encoder.load(context)?;
        let mut index = match &self.store {
            None => cached(&paths, &options, &mut encoder, &gpu, context)?,
            Some(folder) => self.stored(folder, &files, &options, &mut encoder, &gpu, context)?,
        };
        index.check_model(&encoder)?;
        self.filter.check(index.documents().iter().map(|document| document.source.as_str()))?;
        context.announce(&gpu);
        index.notices().iter().for_each(|notice| context.note(notice));
        let answer = answer::ask(&mut index, &mut encoder, &question, &ask)?;
        if answer.sources.is_empty() {
            self.filter.note_nothing(context);
        }
        let entry = Entry::new(&answer, index.building_time(), &gpu.profile().name);
        if let Some(file) = &self.history {
            history::append(file, &entry)?;
        }
        if self.json {
            output.json(&entry)?;
        } else {
            write_answer(&mut output, &answer, &entry)?;
        }
        output.finish()
    }

    /// The index of a folder. Documents named beside it must be those in it, split alike; where the folder is
    /// not there yet, it is made from them.
    fn stored(
        &self,
        folder: &Path,
        files: &[SourceFile],
        options: &IndexOptions,
        encoder: &mut SentenceEncoder,
        gpu: &Gpu,
        context: &Context,
    ) -> Result<Index, CliError> {
        if check_store(folder).is_err() {
            let progress = &mut index_progress(context, gpu);
            let index = Index::build(files, options, encoder, similarity(gpu), progress)?;
            index.save(folder)?;
            return Ok(index);
        }
        let index = Index::open(folder, similarity(gpu))?;
        if files.is_empty() {
            return Ok(index);
        }
        let other = if load::parse(files)?.documents != index.documents() {
            "from other documents; ask it without naming any"
        } else if self.split.is_given() && options.split != index.options().split {
            "with other split options; ask it without giving any"
        } else {
            return Ok(index);
        };
        let folder = folder.display();
        Err(CliError::Input(format!(
            "{folder}: this store was made {other}, or make it again with `kiln index`"
        )))
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

fn write_answer(out: &mut Output, answer: &Answer, entry: &Entry<'_>) -> io::Result<()> {
    writeln!(out, "{}\n", answer.answer)?;
    if !answer.quotes.is_empty() {
        writeln!(out, "This answer is extractive: its sentences are quoted from the documents.\n")?;
    }
    if !answer.sources.is_empty() {
        writeln!(out, "Sources")?;
        let row = |(source, rank): (&answer::Source, usize)| {
            let place = place(&source.source, source.page, source.page_end, source.chunk_id);
            [format!("  {rank}."), place, format!("distance {:.4}", source.distance)]
        };
        write_table(out, &answer.sources.iter().zip(1..).map(row).collect::<Vec<_>>())?;
        writeln!(out)?;
    }
    let (answering, adapter) = (entry.processing_time, entry.adapter);
    match entry.indexing_time {
        0.0 => writeln!(out, "Answered in {answering:.2} s on {adapter}."),
        indexing => {
            writeln!(out, "Answered in {answering:.2} s, after {indexing:.1} s of indexing, on {adapter}.")
        }
    }
}
