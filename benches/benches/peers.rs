//! Kiln beside other engines: `cargo xtask peers DIR` runs this. The folder's form is in `benches/README.md`.
//!
//! `cargo bench -p kiln-benches --bench peers -- DIR` measures every row that has a peer or a yardstick, in pairs that
//! take turns, and prints a table in Markdown. What goes on is told on stderr.
//!
//! Options: `--rounds N` (7), `--only NAME,...` (rows, peers, or both as `vgg16/ncnn`; `kiln` for its own yardsticks),
//! `-o FILE` for the table.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a benchmark prints its figures")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use kiln_benches::peers::{Options, ROWS, Report, Specs, open_row, run};
use kiln_benches::{Failure, open};
use kiln_engine::{Device, Tuner};
use kiln_gpu::Gpu;
use kiln_models::{StoreConfig, TuningStore};

struct Arguments {
    options: Options,
    output: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
        let (mut dir, mut rounds, mut only, mut output) = (None, 7, vec![], None);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} has no value"));
            match argument.as_str() {
                "--rounds" => {
                    let number = value()?.parse::<usize>().ok().filter(|&number| number > 0);
                    rounds = number.ok_or("--rounds: expected a whole number, 1 or more")?;
                }
                "--only" => only.extend(value()?.split(',').map(|name| name.trim().to_owned())),
                "-o" | "--output" => output = Some(PathBuf::from(value()?)),
                "--bench" => {} // cargo's own
                name if name.starts_with('-') => return Err(format!("unknown option {name}").into()),
                name => dir = Some(PathBuf::from(name)),
            }
        }
        let dir = dir.ok_or("expected the folder of the peers")?;
        Ok(Arguments { options: Options { dir, rounds, only }, output })
    }
}

/// The commit that the sources are at, with a word where they have been changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        _ => "unknown".to_owned(),
    }
}

/// The device as the command has it: with the choices of earlier measurements, and on a GPU with those of two seconds of
/// new ones for what nobody has measured yet.
fn tuned(gpu: &Gpu) -> Device {
    let Some(cache_dir) = StoreConfig::from_env().cache_dir else { return gpu.into() };
    let budget = if gpu.profile().kind.is_software() { Duration::ZERO } else { Duration::from_secs(2) };
    let choices = TuningStore::new(&cache_dir).choices(gpu.profile());
    Device::tuned(gpu, Tuner::within(choices, budget, |_| {}))
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.to_string().trim_end());
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let Arguments { options, output } = Arguments::parse(std::env::args().skip(1))?;
    let specs = Specs::open(&options.dir, &ROWS)?;
    options.check(&specs, &ROWS)?;
    if let Some(path) = &output {
        // An hour later would be late to find out.
        let opened = std::fs::File::options().append(true).create(true).open(path);
        opened.map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
    }
    let device = tuned(&open()?);
    let outcomes =
        run(&specs, &ROWS, &mut |name| open_row(&device, name), &options, &mut |text| eprintln!("{text}"));
    let profile = device.profile();
    let report = Report {
        date: jiff::Zoned::now().strftime("%Y-%m-%d").to_string(),
        adapter: format!("{} ({})", profile.name, profile.driver),
        commit: commit(),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        outcomes,
    };
    match output {
        Some(path) => std::fs::write(path, report.to_string())?,
        None => print!("{report}"),
    }
    Ok(())
}
