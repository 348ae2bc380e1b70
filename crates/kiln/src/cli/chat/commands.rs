//! What can be said in a conversation besides questions.

use std::path::PathBuf;

use crate::cli::error::CliError;

/// A line that begins with a slash.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Show the passages of the last answer.
    Sources,
    /// Answer from so many passages; without a number, tell how many it is.
    Contexts(Option<usize>),
    /// Save the conversation.
    Save(PathBuf),
    /// Begin anew.
    Reset,
    /// Show what there is.
    Help,
    /// End.
    Quit,
}

/// What `/help` shows.
pub(super) const HELP: &str = "\
/sources      show the passages that the last answer was made from
/contexts N   answer from N passages; without N, tell how many it is
/save FILE    save the conversation as JSON
/reset        begin a new conversation
/help         show this
/quit         end; so does Ctrl-D

Anything else is a question. Ctrl-C stops an answer, or clears the line.
";

impl Command {
    /// `None` for a line that is none. A command that does not exist or lacks something is an error.
    pub(super) fn parse(line: &str) -> Result<Option<Command>, CliError> {
        let Some(rest) = line.trim().strip_prefix('/') else { return Ok(None) };
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let argument = argument.trim();
        let command = match name {
            "sources" => Command::Sources,
            "contexts" if argument.is_empty() => Command::Contexts(None),
            "contexts" => {
                let message = || format!("/contexts {argument}: expected a whole number");
                let number = argument.parse().map_err(|_| CliError::Input(message()))?;
                return Ok(Some(Command::Contexts(Some(number))));
            }
            "save" if argument.is_empty() => {
                return Err(CliError::Input("/save: expected a file to save to".into()));
            }
            "save" => return Ok(Some(Command::Save(argument.into()))),
            "reset" => Command::Reset,
            "help" | "?" => Command::Help,
            "quit" | "exit" => Command::Quit,
            _ => return Err(CliError::Input(format!("unknown command /{name}; /help shows what there is"))),
        };
        if argument.is_empty() {
            return Ok(Some(command));
        }
        Err(CliError::Input(format!("/{name} {argument}: expected nothing after /{name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Command> {
        Command::parse(line).expect("it should be well formed")
    }

    #[test]
    fn commands_begin_with_a_slash() {
        assert_eq!(parse("What is 1/2?"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse(" /sources "), Some(Command::Sources));
        assert_eq!(parse("/contexts"), Some(Command::Contexts(None)));
        assert_eq!(parse("/contexts  5"), Some(Command::Contexts(Some(5))));
        assert_eq!(parse("/save my talk.json"), Some(Command::Save("my talk.json".into())));
        assert_eq!(parse("/reset"), Some(Command::Reset));
        assert_eq!(parse("/help"), Some(Command::Help));
        assert_eq!((parse("/quit"), parse("/exit")), (Some(Command::Quit), Some(Command::Quit)));
    }

    #[test]
    fn what_is_none_is_told_in_one_line() {
        for (line, message) in [
            ("/passages", "unknown command /passages; /help shows what there is"),
            ("/", "unknown command /; /help shows what there is"),
            ("/contexts five", "/contexts five: expected a whole number"),
            ("/contexts -1", "/contexts -1: expected a whole number"),
            ("/save", "/save: expected a file to save to"),
            ("/reset all", "/reset all: expected nothing after /reset"),
        ] {
            assert_eq!(Command::parse(line), Err(CliError::Input(message.into())), "{line}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for command in ["/sources", "/contexts N", "/save FILE", "/reset", "/help", "/quit"] {
            assert!(HELP.lines().any(|line| line.starts_with(command)), "{command}");
        }
    }
}
