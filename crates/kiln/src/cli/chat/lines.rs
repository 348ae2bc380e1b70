//! Where a conversation's lines come from.

use std::io::{self, BufRead, IsTerminal, StdinLock};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::cli::error::CliError;

const PROMPT: &str = "> ";

/// Lines that are typed, with editing and history, or that a file or another program sends.
pub(super) enum Lines {
    Typed(Box<DefaultEditor>),
    Sent(StdinLock<'static>),
}

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C: what was typed is forgotten.
    Cleared,
    /// There is no more.
    End,
}

impl Lines {
    /// Lines are edited where both sides are a terminal.
    pub(super) fn open() -> Result<Lines, CliError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Lines::Sent(io::stdin().lock()));
        }
        Ok(Lines::Typed(Box::new(DefaultEditor::new().map_err(failed)?)))
    }

    /// Whether somebody types them.
    pub(super) fn are_typed(&self) -> bool {
        matches!(self, Lines::Typed(_))
    }

    /// Waits for the next one.
    pub(super) fn read(&mut self) -> Result<Line, CliError> {
        match self {
            Lines::Typed(editor) => match editor.readline(PROMPT) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Cleared),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(failed(error)),
            },
            Lines::Sent(stdin) => sent(stdin),
        }
    }

    /// Brings a line back when the arrow keys ask for it.
    pub(super) fn remember(&mut self, line: &str) {
        if let Lines::Typed(editor) = self {
            // It can fail where the history is a file, which it is not.
            let _ = editor.add_history_entry(line);
        }
    }
}

fn sent(lines: &mut impl BufRead) -> Result<Line, CliError> {
    let mut bytes = Vec::new();
    if lines.read_until(b'\n', &mut bytes).map_err(|error| failed(error.into()))? == 0 {
        return Ok(Line::End);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        CliError::Input(format!("standard input: not UTF-8 text (byte {offset} of a line)"))
    })?;
    Ok(Line::Text(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn failed(error: ReadlineError) -> CliError {
    CliError::Runtime(format!("cannot read what is typed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_sent_come_one_by_one() {
        let mut lines = &b"one\r\n\ntwo\n\xff\nlast"[..];
        for text in ["one", "", "two"] {
            assert_eq!(sent(&mut lines), Ok(Line::Text(text.into())));
        }
        assert!(matches!(sent(&mut lines), Err(CliError::Input(message)) if message.contains("not UTF-8")));
        assert_eq!(sent(&mut lines), Ok(Line::Text("last".into())));
        assert_eq!(sent(&mut lines), Ok(Line::End));
    }
}
