//! What every command is given: the global options, and what follows from them.

use std::cell::{Cell, OnceCell};
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use kiln::engine::{Device, Tuner};
use kiln::gpu::{AdapterChoice, Gpu};
use kiln::models::TuningStore;

use super::encoder::store;
use super::error::CliError;
use super::progress::Progress;

/// How long kernels are measured, at most, when a network is first used on a GPU.
const FIRST_USE: Duration = Duration::from_secs(2);

/// What tuning found out on this machine; none where the system names no cache directory.
pub(crate) fn tuning_store() -> Option<TuningStore> {
    Some(TuningStore::new(store().config().cache_dir.as_deref()?))
}

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

    /// Choose kernels by Kiln's table alone: measure none, and use no choices that are kept of earlier measurements
    #[arg(
        long,
        global = true,
        env = "KILN_NO_TUNE",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true,
        help_heading = "Global options"
    )]
    no_tune: bool,

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
    no_tune: bool,
    announced: Cell<bool>,
    cache_dir: OnceCell<Option<PathBuf>>,
}

impl Context {
    pub(crate) fn new(args: GlobalArgs) -> Context {
        let adapter = args.adapter.unwrap_or_default();
        let (announced, cache_dir) = (Cell::new(false), OnceCell::new());
        Context { adapter, quiet: args.quiet, no_tune: args.no_tune, announced, cache_dir }
    }

    /// The adapter that was asked for.
    pub(crate) fn adapter(&self) -> &AdapterChoice {
        &self.adapter
    }

    /// Where what is computed is kept for later runs; none where the system names no cache directory. Where what is there is
    /// none, that is told once, and not by each of those who would read or write there.
    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        let usable = |dir: &PathBuf| {
            // What is not there yet will be made, in what is there.
            let there = dir.ancestors().find_map(|place| fs::metadata(place).ok());
            let usable = there.is_none_or(|there| there.is_dir());
            if !usable {
                log::warn!("nothing is kept in {}: it is not a directory", dir.display());
            }
            usable
        };
        self.cache_dir.get_or_init(|| store().config().cache_dir.clone().filter(usable)).as_deref()
    }

    /// Opens that adapter. Kernels that its driver has compiled before are taken from the cache, where the driver gives
    /// them out.
    pub(crate) fn open_gpu(&self) -> Result<Gpu, CliError> {
        let gpu = Gpu::open(&self.adapter)?;
        if let Some(cache) = self.cache_dir() {
            gpu.keep_pipelines(&cache.join("pipelines"));
        }
        Ok(gpu)
    }

    /// Opens that adapter to run networks on, with the kernels that are fastest there: by what is kept of earlier
    /// measurements, and on a GPU by new ones, of no more than two seconds, where something was not measured yet. A software
    /// adapter measures nothing by itself, so that its results are the same bytes from run to run.
    pub(crate) fn open_device(&self) -> Result<Device, CliError> {
        let gpu = self.open_gpu()?;
        let Some(cache) = self.cache_dir().filter(|_| !self.no_tune) else { return Ok(gpu.into()) };
        let store = TuningStore::new(cache);
        let profile = gpu.profile().clone();
        let budget = if profile.kind.is_software() { Duration::ZERO } else { FIRST_USE };
        let choices = store.choices(&profile);
        let tuner = Tuner::within(choices, budget, move |findings| {
            if let Err(error) = store.add(&profile, findings) {
                log::warn!("what was measured is not kept: {error}");
            }
        });
        Ok(Device::tuned(&gpu, tuner))
    }

    /// Whether only the table is to choose kernels.
    pub(crate) fn no_tune(&self) -> bool {
        self.no_tune
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
