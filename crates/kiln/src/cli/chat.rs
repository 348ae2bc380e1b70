//! `kiln chat`.

mod commands;
mod lines;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kiln::docqa::chat::Conversation;
use kiln::docqa::history::{self, Entry};
use kiln::models::atomic;

use super::asking::{Asking, AskingArgs, Stream, place_of, write_notices, write_sources};
use super::context::Context;
use super::error::CliError;
use super::interrupt;
use super::numbers::counted;
use super::output::Output;
use commands::{Command, HELP};
use lines::{Line, Lines};

/// Talk about documents: questions one after the other, which may refer to those before
#[derive(Debug, Args)]
#[command(
    override_usage = "kiln chat [OPTIONS] <PATH>...\n       kiln chat [OPTIONS] --store <STORE>",
    after_help = "Examples:
  kiln chat paper.pdf
  kiln chat papers/ notes.md --contexts 5 --answer t5
  kiln chat --store papers.kiln --history talk.json
  printf 'What is dropout?\\nWhy is it used?\\n/sources\\n' | kiln chat paper.pdf

Commands: /sources, /contexts N, /save FILE, /reset, /help, /quit. Ctrl-C stops an answer or clears
the line, Ctrl-D ends. What is not typed at a terminal is read line by line."
)]
pub(crate) struct ChatArgs {
    /// PDF, text and Markdown files or folders of them
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Go on from the conversation in a file that holds one JSON array, and append each answer to it
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    #[command(flatten)]
    asking: AskingArgs,
}

/// A conversation under way.
struct Chat<'a> {
    context: &'a Context,
    asking: Asking,
    conversation: Conversation,
    history: Option<PathBuf>,
    out: Output,
    /// The time that indexing took, told with the first answer.
    indexing: Duration,
}

impl ChatArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        if self.paths.is_empty() && !self.asking.has_store() {
            let message = "no document was named: expected PATH..., or --store STORE";
            return Err(CliError::Input(message.into()));
        }
        let options = self.asking.options(&self.paths)?;
        let conversation = match &self.history {
            Some(file) => Conversation::load(file, options)?,
            None => Conversation::new(options),
        };
        let asking = self.asking.open(&self.paths, context, |_| Ok(()))?;
        let mut lines = Lines::open()?;
        asking.announce(context);
        let indexing = asking.index.building_time();
        let out = Output::stdout();
        let mut chat = Chat { context, asking, conversation, history: self.history, out, indexing };
        chat.greet(&lines);
        chat.conversation.turns().iter().for_each(|turn| lines.remember(&turn.question));
        loop {
            let line = match lines.read()? {
                Line::Text(line) => line,
                Line::Cleared => continue,
                Line::End => break,
            };
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            lines.remember(line);
            match chat.take(line) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) if goes_on(&error, lines.are_typed()) => {
                    chat.out.flush()?;
                    let _ = error.report();
                }
                Err(error) => return Err(error),
            }
        }
        chat.out.finish()
    }
}

/// Whether an error is only told, and the conversation goes on. After a failure it does for somebody at a terminal, who
/// can still save what was said; it may be a server that comes back.
fn goes_on(error: &CliError, is_typed: bool) -> bool {
    match error {
        CliError::Input(_) | CliError::Differences { .. } => true,
        CliError::Runtime(_) => is_typed,
        CliError::Interrupted | CliError::ClosedPipe => false,
    }
}

impl Chat<'_> {
    fn greet(&self, lines: &Lines) {
        if let (Some(file), turns @ 1..) = (&self.history, self.conversation.turns().len()) {
            let turns = counted(turns, "answer");
            self.context.note(format_args!("going on from the {turns} in {}", file.display()));
        }
        if lines.are_typed() {
            let documents = counted(self.asking.index.records().len(), "document");
            self.context.note(format_args!("{documents}; /help shows the commands, Ctrl-D ends"));
        }
    }

    /// Answers a question or does what a command says; breaks off where it says so.
    fn take(&mut self, line: &str) -> Result<ControlFlow<()>, CliError> {
        match Command::parse(line)? {
            None => self.ask(line)?,
            Some(Command::Sources) => self.show_sources()?,
            Some(Command::Contexts(number)) => self.set_contexts(number)?,
            Some(Command::Save(file)) => self.save(&file)?,
            Some(Command::Reset) => {
                self.conversation.reset();
                writeln!(self.out, "A new conversation.\n")?;
            }
            Some(Command::Help) => writeln!(self.out, "{HELP}")?,
            Some(Command::Quit) => return Ok(ControlFlow::Break(())),
        }
        self.out.flush()?;
        Ok(ControlFlow::Continue(()))
    }

    fn ask(&mut self, question: &str) -> Result<(), CliError> {
        let stoppable = interrupt::stoppable();
        let mut stream = Stream::new(&mut self.out, self.context.clock("answering"));
        let (index, encoder, mut answerer) = self.asking.parts();
        let answer = self.conversation.ask(index, encoder, &mut answerer, question, &mut |text| {
            let flow = stream.push(text);
            if interrupt::asked() { ControlFlow::Break(()) } else { flow }
        })?;
        stream.finish()?;
        drop(stoppable);
        writeln!(self.out)?;
        write_notices(&mut self.out, &answer)?;
        write_sources(&mut self.out, &answer.sources)?;
        self.out.flush()?;
        if let Some(file) = &self.history
            && !answer.answer.is_empty()
        {
            let indexing = std::mem::take(&mut self.indexing);
            history::append(file, &Entry::new(&answer, indexing, &self.asking.device.profile().name))?;
        }
        Ok(())
    }

    fn show_sources(&mut self) -> Result<(), CliError> {
        let sources = self.conversation.sources();
        if sources.is_empty() {
            return Ok(writeln!(self.out, "There is no answer with sources yet.\n")?);
        }
        for (source, rank) in sources.iter().zip(1..) {
            let (place, distance) = (place_of(source), source.distance);
            writeln!(self.out, "{rank}. {place}, distance {distance:.4}\n{}\n", source.text)?;
        }
        Ok(())
    }

    fn set_contexts(&mut self, number: Option<usize>) -> Result<(), CliError> {
        if let Some(number) = number {
            self.conversation.set_contexts(number)?;
        }
        let passages = counted(self.conversation.options().contexts, "passage");
        Ok(writeln!(self.out, "Answers are made from {passages}.\n")?)
    }

    fn save(&mut self, file: &Path) -> Result<(), CliError> {
        // What is typed here goes through no shell: `~/talk.json` shall not make a folder of that name.
        let folder = atomic::parent(&atomic::target(file));
        if !folder.is_dir() {
            let (file, folder) = (file.display(), folder.display());
            return Err(CliError::Input(format!("{file}: cannot be written: no folder {folder}")));
        }
        self.conversation.save(file)?;
        let answers = counted(self.conversation.turns().len(), "answer");
        Ok(writeln!(self.out, "{answers} saved in {}.\n", file.display())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_does_not_take_what_was_said() {
        let failure = CliError::Runtime("no server answers".into());
        assert!(goes_on(&failure, true));
        // A script hears of it by the exit code.
        assert!(!goes_on(&failure, false));
        assert!(goes_on(&CliError::Input("/save: expected a file".into()), false));
        assert!(!goes_on(&CliError::Interrupted, true));
        assert!(!goes_on(&CliError::ClosedPipe, true));
    }
}
