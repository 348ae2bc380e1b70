//! What every command is given: the global options, and what follows from them.

use std::cell::Cell;
use std::fmt::Display;
use std::io::Write;

use clap::Args;
use kiln::gpu::{AdapterChoice, Gpu};

use super::error::CliError;
use super::progress::Progress;

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The adapter to run on, by its number or a part of its name [default: the strongest]
    #[arg(
        long,
        global = true,
        env = "KILN_ADAPTER",
        value_name = "INDEX|NAME",
        allow_negative_numbers = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    adapter: Option<AdapterChoice>,

    /// Print results and errors alone: no notes, no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,

    /// Tell on stderr what is being done; twice for more, three times for the driver layer too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// The global options at work.
#[derive(Debug)]
pub(crate) struct Context {
    adapter: AdapterChoice,
    quiet: bool,
    announced: Cell<bool>,
}

impl Context {
    pub(crate) fn new(args: GlobalArgs) -> Context {
        let adapter = args.adapter.unwrap_or_default();
        Context { adapter, quiet: args.quiet, announced: Cell::new(false) }
    }

    /// The adapter that was asked for.
    pub(crate) fn adapter(&self) -> &AdapterChoice {
        &self.adapter
    }

    /// Opens that adapter.
    pub(crate) fn open_gpu(&self) -> Result<Gpu, CliError> {
        Ok(Gpu::open(&self.adapter)?)
    }

    /// Tells, once, where the device is a software one. Commands call it when their input has proved
    /// sound and the work begins: wrong input is answered with one line, the error.
    pub(crate) fn announce(&self, gpu: &Gpu) {
        let profile = gpu.profile();
        if profile.kind.is_software() && !self.announced.replace(true) {
            self.note(format_args!("running on a software adapter, {}; a GPU would be faster", profile.name));
        }
    }

    /// One line on stderr that is neither result nor error.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "\u{1b}[1mnote:\u{1b}[0m {text}");
        }
    }

    /// A bar that counts to `total`, shown on a terminal only.
    pub(crate) fn progress(&self, what: &'static str, total: usize) -> Progress {
        Progress::items(what, total as u64, self.quiet)
    }

    /// A bar for the steps of an epoch, shown on a terminal only.
    pub(crate) fn steps(&self) -> Progress {
        Progress::steps(self.quiet)
    }

    /// A clock beside what is being done in one piece, shown on a terminal only.
    pub(crate) fn clock(&self, what: &'static str) -> Progress {
        Progress::clock(what, self.quiet)
    }

    /// A bar that counts bytes to a total not yet known.
    pub(crate) fn download(&self) -> Progress {
        Progress::bytes(self.quiet)
    }
}
