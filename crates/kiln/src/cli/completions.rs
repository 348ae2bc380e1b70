//! `kiln completions`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::context::Context;
use super::error::CliError;
use super::output::Output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln")]
pub(crate) struct CompletionsArgs {
    /// The shell that will read it
    shell: Shell,
}

impl CompletionsArgs {
    pub(crate) fn run(self, _: &Context) -> Result<(), CliError> {
        // clap_complete panics on a closed pipe, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "kiln", &mut script);
        let mut output = Output::stdout();
        output.write_all(&script)?;
        output.finish()
    }
}
