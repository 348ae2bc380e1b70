//! How a command fails: one line on stderr and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use kiln::EngineError;
use kiln::docqa::DocqaError;
use kiln::gpu::GpuError;
use kiln::models::ModelError;
use kiln::serve::ServeError;
use kiln::train::TrainError;

use super::interrupt;

/// Why a command did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CliError {
    /// What the user gave is at fault: exit code 2.
    Input(String),
    /// The same, with a few more lines: exit code 2.
    Differences {
        /// What is wrong.
        message: String,
        /// In what way.
        lines: Vec<String>,
    },
    /// The machine is at fault: exit code 1.
    Runtime(String),
    /// Ctrl-C, after everything has been saved: exit code 130.
    Interrupted,
    /// Nobody reads the output any more (`kiln ... | head`), which is how pipes end: exit code 0.
    ClosedPipe,
}

/// Exit codes.
const INPUT: u8 = 2;
const RUNTIME: u8 = 1;

/// A list of differences is no longer than this, and its lines no wider.
const DIFFERENCES: usize = 9;
const WIDTH: usize = 200;

impl CliError {
    /// Tells the user and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, lines, code) = match self {
            CliError::Input(message) => (message, vec![], INPUT),
            CliError::Differences { message, lines } => (message, lines, INPUT),
            CliError::Runtime(message) => (message, vec![], RUNTIME),
            CliError::Interrupted => return ExitCode::from(interrupt::INTERRUPTED),
            CliError::ClosedPipe => return ExitCode::SUCCESS,
        };
        print_error(&message);
        for line in lines {
            let _ =
                writeln!(anstream::stderr(), "  {}", one_line(&line).chars().take(WIDTH).collect::<String>());
        }
        ExitCode::from(code)
    }

    fn classed(is_input: bool, message: String) -> CliError {
        if is_input { CliError::Input(message) } else { CliError::Runtime(message) }
    }
}

/// Everything that the commands do with `std::io` by themselves is write their output; files that they
/// read get messages of their own.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
            _ => CliError::Runtime(format!("cannot write the output: {error}")),
        }
    }
}

impl From<GpuError> for CliError {
    fn from(error: GpuError) -> CliError {
        CliError::classed(matches!(error, GpuError::UnknownAdapter { .. }), error.to_string())
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> CliError {
        match error {
            // The library's message names every tensor; of another network's file that is a page of names.
            ModelError::WrongTensors { file, differences } if differences.len() > 1 => {
                let (file, remark, count) = (file.display(), differences.remark(), differences.len());
                CliError::Differences {
                    message: format!("{file}: wrong tensors for this model{remark}: {count} differences"),
                    lines: differences.lines(DIFFERENCES),
                }
            }
            error => CliError::classed(error.is_input_error(), error.to_string()),
        }
    }
}

impl From<DocqaError> for CliError {
    fn from(error: DocqaError) -> CliError {
        match error {
            DocqaError::Model(error) => error.into(),
            DocqaError::Interrupted => CliError::Interrupted,
            error => CliError::classed(error.is_input_error(), error.to_string()),
        }
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> CliError {
        ModelError::from(error).into()
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> CliError {
        CliError::classed(error.is_input_error(), error.to_string())
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> CliError {
        match error {
            TrainError::Model(error) => error.into(),
            error => CliError::classed(error.is_input_error(), error.to_string()),
        }
    }
}

/// Prints what clap has to say: help and version as they are, a mistake as one line.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // The only way for this to fail is a reader that has gone.
            let _ = error.print();
        }
        _ => print_error(&fold_usage(&error.render().to_string())),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(INPUT))
}

fn print_error(message: &str) {
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "\u{1b}[1;31merror:\u{1b}[0m {}", one_line(message));
}

/// Folds clap's paragraphs into one line: what is wrong and its tips, without the usage.
fn fold_usage(report: &str) -> String {
    let report = report.trim().trim_start_matches("error: ");
    let mut paragraphs = report.split("\n\n");
    let mut line = one_line(paragraphs.next().unwrap_or_default());
    for tip in paragraphs.flat_map(str::lines).map(str::trim).filter(|text| text.starts_with("tip: ")) {
        line.push_str("; ");
        line.push_str(tip.trim_start_matches("tip: "));
    }
    line
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_become_one_line() {
        let report = "error: the following required arguments were not provided:\n  <PATH>...\n  <QUESTION>\n\n\
                      Usage: kiln ask <PATH>... <QUESTION>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            fold_usage(report),
            "the following required arguments were not provided: <PATH>... <QUESTION>"
        );
        let report = "error: unexpected argument '--jsn' found\n\n  tip: a similar argument exists: '--json'\n\n\
                      Usage: kiln devices --json\n\nFor more information, try '--help'.\n";
        assert_eq!(
            fold_usage(report),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(CliError::from(io::Error::from(io::ErrorKind::BrokenPipe)), CliError::ClosedPipe);
        let full = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, CliError::Runtime(_)));
    }

    #[test]
    fn faults_have_an_owner() {
        let unknown = GpuError::UnknownAdapter { asked: "9".into(), present: "0: x".into() };
        assert!(matches!(CliError::from(unknown), CliError::Input(_)));
        assert!(matches!(CliError::from(GpuError::Lost { reason: "x".into() }), CliError::Runtime(_)));
    }
}
