//! `kiln tune list` and `kiln tune clear`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kiln::models::TuningStore;
use serde::Serialize;

use super::super::context::tuning_store;
use super::super::error::CliError;
use super::super::numbers::counted;
use super::super::output::Output;
use super::super::table::{align_right, write_table};

/// List the adapters that choices are kept for
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln tune list
  kiln tune list --json")]
pub(super) struct ListArgs {
    /// Print a JSON array of {adapter, driver, backend, choices, changed, current, file}
    #[arg(long)]
    json: bool,
}

/// Forget all choices that are kept
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kiln tune clear")]
pub(super) struct ClearArgs {}

#[derive(Serialize)]
struct Row {
    adapter: String,
    driver: String,
    backend: String,
    /// How many.
    choices: usize,
    /// How many of them differ from the table's.
    changed: usize,
    /// Whether this build uses them.
    current: bool,
    file: PathBuf,
}

impl ListArgs {
    pub(super) fn run(self) -> Result<(), CliError> {
        let kept = place()?.list().into_iter().map(|(file, tuning)| Row {
            choices: tuning.choices.len(),
            changed: tuning.choices.values().filter(|choice| choice.chosen != choice.table).count(),
            current: tuning.is_current(),
            adapter: tuning.adapter,
            driver: tuning.driver,
            backend: tuning.backend,
            file,
        });
        let kept: Vec<Row> = kept.collect();
        let mut output = Output::stdout();
        if self.json {
            output.json_rows(&kept)?;
            return output.finish();
        }
        if kept.is_empty() {
            writeln!(output, "no choices are kept")?;
            return output.finish();
        }
        let titles = ["choices", "changed", "adapter", "driver", "backend", "file"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(kept.into_iter().map(|row| {
            let note = if row.current { "" } else { " (of another build: not used)" };
            vec![
                row.choices.to_string(),
                row.changed.to_string(),
                row.adapter,
                row.driver,
                row.backend,
                format!("{}{note}", row.file.display()),
            ]
        }));
        align_right(&mut rows, 0..2);
        write_table(&mut output, &rows)?;
        output.finish()
    }
}

impl ClearArgs {
    pub(super) fn run(self) -> Result<(), CliError> {
        let removed = place()?.clear()?;
        let mut output = Output::stdout();
        writeln!(output, "{} removed", counted(removed, "file"))?;
        output.finish()
    }
}

fn place() -> Result<TuningStore, CliError> {
    tuning_store().ok_or_else(|| {
        CliError::Runtime("the system names no cache directory; set KILN_CACHE to one".to_owned())
    })
}
