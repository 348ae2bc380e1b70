//! `kiln ask`.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use kiln::docqa::answer;
use kiln::docqa::history::{self, Entry};
use kiln::docqa::retrieve;

use super::asking::{AskingArgs, Stream, write_remarks, write_sources};
use super::context::Context;
use super::error::CliError;
use super::output::OutputArgs;

/// Answer a question about documents, with the pages that the answer stands on
#[derive(Debug, Args)]
#[command(
    override_usage = "kiln ask [OPTIONS] <PATH>... <QUESTION>\n       kiln ask [OPTIONS] --store <STORE> <QUESTION>",
    after_help = "Examples:
  kiln ask paper.pdf \"What is a receptive field?\"
  kiln ask papers/ notes.md \"Which loss is used?\" --contexts 5 --json
  kiln ask paper.pdf \"Who introduced dropout?\" --answer t5 --sample --seed 7
  kiln ask --store papers.kiln \"Who introduced dropout?\" --history answers.json

An answer is written by a T5 model from the passages closest to the question, or is extractive:
sentences quoted from the documents. Documents are embedded once: the index is kept in the cache, or
in the store that --store names, until a document changes."
)]
pub(crate) struct AskArgs {
    /// PDF, text and Markdown files or folders of them, then the question
    #[arg(value_name = "PATH|QUESTION", required = true)]
    paths_and_question: Vec<String>,

    /// Print one JSON object: question, answer, method, generator (where one wrote the answer),
    /// contexts_used, processing_time (the seconds that answering took), indexing_time (those of indexing
    /// before it, 0 where there was an index), adapter, timestamp, notices (where there are any) and sources
    #[arg(long)]
    json: bool,

    /// Append what --json prints to a file that holds one JSON array
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    asking: AskingArgs,
}

impl AskArgs {
    pub(crate) fn run(mut self, context: &Context) -> Result<(), CliError> {
        let question = self.paths_and_question.pop().unwrap_or_default();
        let paths: Vec<PathBuf> = self.paths_and_question.iter().map(PathBuf::from).collect();
        if paths.is_empty() && !self.asking.has_store() {
            let message = "no document was named: expected PATH... and then QUESTION, or --store STORE";
            return Err(CliError::Input(message.into()));
        }
        let options = self.asking.options(&paths)?;
        retrieve::check(&question, options.contexts)?;
        if let Some(file) = &self.history {
            history::read(file)?;
        }
        let mut output = self.output.open()?;
        let mut asking = self.asking.open(&paths, context, |answerer| answerer.check(&question, &options))?;
        asking.announce(context);
        let (index, encoder, mut answerer) = asking.parts();
        let mut stream = Stream::new(&mut output, context.clock("answering"));
        let answer = answer::ask(index, encoder, &mut answerer, &question, &options, &mut |text| {
            if self.json { ControlFlow::Continue(()) } else { stream.push(text) }
        })?;
        if self.json {
            drop(stream);
        } else {
            stream.finish()?;
        }
        if answer.sources.is_empty() {
            self.asking.note_nothing(context);
        }
        let entry = Entry::new(&answer, asking.index.building_time(), &asking.device.profile().name);
        if let Some(file) = &self.history {
            history::append(file, &entry)?;
        }
        if self.json {
            output.json(&entry)?;
            return output.finish();
        }
        writeln!(output)?;
        write_remarks(&mut output, &answer)?;
        write_sources(&mut output, &answer.sources)?;
        let (answering, adapter) = (entry.processing_time, entry.adapter);
        match entry.indexing_time {
            0.0 => writeln!(output, "Answered in {answering:.2} s on {adapter}.")?,
            indexing => writeln!(
                output,
                "Answered in {answering:.2} s, after {indexing:.1} s of indexing, on {adapter}."
            )?,
        }
        output.finish()
    }
}
