//! Tables and plots of what the runs came to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kiln_models::atomic;

use super::file::PARAMETERS;
use super::{Cell, Experiment, Sweep, parameters};
use crate::TrainError;
use crate::plot::{Chart, Line, Panel, Point, Scale};
use crate::run::Test;

const RESULTS: &str = "results.md";

/// Writes all tables and plots, and gives the path of the tables. `tests` has what each job came to.
pub(super) fn write(
    sweep: &Sweep,
    folder: &Path,
    tests: &[Option<Test>],
    failed: &[String],
) -> Result<PathBuf, TrainError> {
    let mut text = String::from(
        "# Results\n\nTest error in percent (test loss of networks that reconstruct): the mean over seeds, and the \
         deviation of a sample.\n",
    );
    for experiment in &sweep.experiments {
        let _ = write!(text, "\n## {}\n\n{}", experiment.title, table(experiment, sweep, tests));
        if experiment.x.is_some() {
            let file = format!("{}.svg", experiment.name);
            let _ = write!(text, "\n![{}]({file})\n", experiment.title);
            let path = folder.join(file);
            put(&path, chart(experiment, tests).to_svg(&path)?.as_bytes())?;
        }
    }
    if !failed.is_empty() {
        let _ = write!(text, "\n## Failed\n\nTheir loss was no number any more: {}.\n", failed.join(", "));
    }
    let path = folder.join(RESULTS);
    put(&path, text.as_bytes())?;
    Ok(path)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    atomic::write_file(path, bytes).map_err(|error| TrainError::io(path, error))
}

/// Runs that differ by their seed alone.
#[derive(Debug, PartialEq)]
struct Group {
    /// Test errors in percent of those that are done.
    errors: Vec<f64>,
    /// How many there are to be.
    runs: usize,
}

impl Group {
    fn of<'a>(cells: impl Iterator<Item = &'a Cell>, tests: &[Option<Test>]) -> Group {
        let mut group = Group { errors: Vec::new(), runs: 0 };
        for cell in cells {
            group.runs += 1;
            // A network that reconstructs has no error, but a loss.
            group.errors.extend(tests[cell.job].as_ref().map(|test| match test.error {
                Some(error) => 100.0 * error,
                None => test.test.loss,
            }));
        }
        group
    }

    fn mean(&self) -> f64 {
        self.errors.iter().sum::<f64>() / self.errors.len() as f64
    }

    /// The deviation of a sample; none of fewer than two.
    fn deviation(&self) -> Option<f64> {
        let (count, mean) = (self.errors.len(), self.mean());
        let squares: f64 = self.errors.iter().map(|error| (error - mean).powi(2)).sum();
        (count > 1).then(|| (squares / (count - 1) as f64).sqrt())
    }

    /// `8.41 ± 0.12`, with how many runs are done where some are not.
    fn text(&self) -> String {
        if self.errors.is_empty() {
            return String::new();
        }
        let mut text = format!("{:.2}", self.mean());
        if let Some(deviation) = self.deviation() {
            let _ = write!(text, " ± {deviation:.2}");
        }
        if self.errors.len() < self.runs {
            let _ = write!(text, " ({} of {})", self.errors.len(), self.runs);
        }
        text
    }
}

/// Rows and columns in the order of the file.
fn rows(experiment: &Experiment) -> Vec<&str> {
    unique(experiment.cells.iter().map(|cell| cell.row.as_str()))
}

fn columns(experiment: &Experiment) -> Vec<f64> {
    let mut columns = unique(experiment.cells.iter().filter_map(|cell| cell.x));
    columns.sort_by(f64::total_cmp);
    columns
}

/// What stands above a column: its number, and the network where each column has its own.
fn column(experiment: &Experiment, sweep: &Sweep, x: f64) -> String {
    if experiment.x.as_deref() != Some(PARAMETERS) {
        return x.to_string();
    }
    let of_column = experiment.cells.iter().filter(|cell| cell.x == Some(x));
    let networks = unique(of_column.map(|cell| sweep.jobs[cell.job].network.name()));
    format!("{}: {x}", networks.join(", "))
}

fn unique<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut unique = Vec::new();
    for value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

fn group(experiment: &Experiment, row: &str, x: Option<f64>, tests: &[Option<Test>]) -> Group {
    Group::of(experiment.cells.iter().filter(|cell| cell.row == row && cell.x == x), tests)
}

fn table(experiment: &Experiment, sweep: &Sweep, tests: &[Option<Test>]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    match &experiment.x {
        Some(x) => {
            let columns = columns(experiment);
            let head = columns.iter().map(|x| column(experiment, sweep, *x));
            lines.push(std::iter::once(x.replace('_', " ")).chain(head).collect());
            for row in rows(experiment) {
                let cells = columns.iter().map(|x| group(experiment, row, Some(*x), tests).text());
                lines.push(std::iter::once(row.to_owned()).chain(cells).collect());
            }
        }
        None => {
            lines.push(["", "parameters", "test error"].map(str::to_owned).to_vec());
            for row in rows(experiment) {
                let of_row = experiment.cells.iter().find(|cell| cell.row == row);
                let size = of_row.map_or(0, |cell| parameters(&sweep.jobs[cell.job].network));
                let error = group(experiment, row, None, tests).text();
                lines.push(vec![row.to_owned(), size.to_string(), error]);
            }
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(line.len() - 1));
        }
    }
    text
}

fn chart(experiment: &Experiment, tests: &[Option<Test>]) -> Chart {
    let line = |(color, row): (usize, &str)| {
        let point = |x: f64| {
            let group = group(experiment, row, Some(x), tests);
            let done = !group.errors.is_empty();
            done.then(|| Point { x, y: group.mean(), deviation: group.deviation().unwrap_or(0.0) })
        };
        let points = columns(experiment).into_iter().filter_map(point).collect();
        Line { name: row.to_owned(), color, dashed: color >= 6, points }
    };
    let reconstructs =
        experiment.cells.iter().any(|cell| tests[cell.job].as_ref().is_some_and(|test| test.error.is_none()));
    let above_zero = columns(experiment).iter().all(|x| *x > 0.0);
    Chart {
        panels: vec![Panel {
            title: experiment.title.clone(),
            x: experiment.x.as_deref().unwrap_or_default().replace('_', " "),
            x_scale: if above_zero { Scale::Logarithmic } else { Scale::Whole },
            lines: rows(experiment).into_iter().enumerate().map(line).collect(),
            y: if reconstructs { "test loss" } else { "test error (%)" }.to_owned(),
            ..Panel::default()
        }],
        size: [800, 500],
    }
}
