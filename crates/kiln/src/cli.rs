//! The command line: parses, calls the library, prints. One file a command; the rest is what they share.

mod ask;
mod asking;
mod bench;
mod chat;
mod classify;
mod completions;
mod context;
mod devices;
mod documents;
mod edges;
mod embed;
mod encoder;
mod error;
mod eval;
mod features;
mod filter;
mod generate;
mod generation;
mod index;
mod interrupt;
mod logging;
mod models;
mod network;
mod numbers;
mod output;
mod picture;
mod profile;
mod progress;
mod screen;
mod search;
mod serve;
mod split;
mod stores;
mod summary;
mod sweep;
mod table;
mod train;
mod tune;
mod vgg;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::{Context, GlobalArgs};
use error::CliError;

/// Columns of a help text, at most.
const WIDTH: usize = 100;

/// Run neural networks on any GPU: Vulkan, Metal, DX12, or a software driver.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = WIDTH,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  kiln ask paper.pdf \"What is a receptive field?\"
  kiln edges photo.jpg -o edges.png
  kiln devices

Exit codes: 0 success, 1 failure at run time, 2 wrong input, 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ask(ask::AskArgs),
    Chat(chat::ChatArgs),
    Search(search::SearchArgs),
    Index(index::IndexArgs),
    Split(split::DocumentSplitArgs),
    Embed(embed::EmbedArgs),
    Serve(serve::ServeArgs),
    Generate(generate::GenerateArgs),
    Models(models::ModelsArgs),
    Classify(classify::ClassifyArgs),
    Features(features::FeaturesArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Sweep(sweep::SweepArgs),
    Summary(summary::SummaryArgs),
    Bench(bench::BenchArgs),
    Profile(profile::ProfileArgs),
    Tune(tune::TuneArgs),
    Filter(filter::FilterArgs),
    Edges(edges::EdgesArgs),
    Devices(devices::DevicesArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return error::report_usage(&error),
    };
    logging::start(&cli.global);
    interrupt::watch();
    let context = Context::new(cli.global);
    let outcome = match cli.command {
        Command::Ask(args) => args.run(&context),
        Command::Chat(args) => args.run(&context),
        Command::Search(args) => args.run(&context),
        Command::Index(args) => args.run(&context),
        Command::Split(args) => args.run(&context),
        Command::Embed(args) => args.run(&context),
        Command::Serve(args) => args.run(&context),
        Command::Generate(args) => args.run(&context),
        Command::Models(args) => args.run(&context),
        Command::Classify(args) => args.run(&context),
        Command::Features(args) => args.run(&context),
        Command::Train(args) => args.run(&context),
        Command::Eval(args) => args.run(&context),
        Command::Sweep(args) => args.run(&context),
        Command::Summary(args) => args.run(&context),
        Command::Bench(args) => args.run(&context),
        Command::Profile(args) => args.run(&context),
        Command::Tune(args) => args.run(&context),
        Command::Filter(args) => args.run(&context),
        Command::Edges(args) => args.run(&context),
        Command::Devices(args) => args.run(&context),
        Command::Completions(args) => args.run(&context),
    };
    match outcome {
        // What the user asked for may still sit in a buffer: a full disk shows here.
        Ok(()) => match std::io::stdout().flush() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => CliError::from(error).report(),
        },
        Err(error) => error.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example"), "`{}` has no example in its help", command.get_name());
            // Wider lines are broken in odd places.
            let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= WIDTH, "the help of `{}` is {widest} wide", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
