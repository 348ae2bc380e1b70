//! Set-up, demo and tests for people who work on Kiln.
//!
//! `cargo xtask demo` takes a fresh machine to three answered questions and a drawing, `cargo xtask test` runs all
//! that CI runs, `cargo xtask peers` measures Kiln beside other engines. The first two install what is missing; this
//! crate has few dependencies so that it is there in seconds.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person on a terminal"
)]

mod chroma;
mod command;
mod demo;
mod error;
mod machine;
mod model;
mod peers;
mod progress;
mod python;
mod setup;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Error;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what is missing, build Kiln, and let it answer three questions about the sample PDF and draw the edges
    /// of the sample image
    Demo {
        /// Only tell what is missing and how it would be installed; then stop
        #[arg(long)]
        no_install: bool,
    },
    /// Run everything that CI runs: format, spelling, lints, documentation, tests, examples
    ///
    /// Of the generated configurations of convolution and pooling, 120 are run; KILN_SWEEP=2000 runs two thousand, in
    /// under a minute.
    Test {
        /// Only tell what is missing and how it would be installed; then stop
        #[arg(long)]
        no_install: bool,
        /// Run only this step; may be given more than once
        #[arg(long, value_name = "STEP", value_enum)]
        only: Vec<test::StepName>,
    },
    /// Measure Kiln beside other engines, and print the table of ratios as Markdown
    ///
    /// The engines are built in a folder; benches/README.md says what lies there, and what the table means. Kiln is built in
    /// release. Pairs of samples take turns, so that a machine that slows down does so for both.
    Peers(peers::PeersArgs),
}

fn main() -> ExitCode {
    let outcome = Workspace::find().and_then(|workspace| match Cli::parse().task {
        Task::Demo { no_install } => demo::run(&workspace, no_install),
        Task::Test { no_install, only } => test::run(&workspace, no_install, &only),
        Task::Peers(args) => peers::run(&workspace, &args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The test run has already shown, step by step, what failed, and its last line is its verdict.
        Err(Error::ChecksFailed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
