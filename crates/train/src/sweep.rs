//! Many runs from one file: a grid of networks, data and options.
//!
//! ```toml
//! [common]                    # options of all runs, as in config.toml
//! data = "fashion-mnist"
//! epochs = 20
//!
//! [[experiment]]
//! name = "sizes"              # its files are sizes.svg and a section of results.md
//! title = "Test error against the number of training images"
//! x = "train_limit"           # what the columns of the table and the axis of the plot stand for
//! arch = ["base", "bn"]       # any option may have a list: there is a run for each combination
//! train_limit = [500, 5000]
//! seed = [0, 1, 2]            # the table has the mean over seeds, and the deviation
//! ```
//!
//! `x` is an option whose values are numbers, or `parameters`: then each network stands at the number of its parameters.
//! Each run has a folder of its own below `runs`, called by the options that vary in the file; experiments that want
//! the same run share it. A sweep that was stopped is started again with the same file and folder: runs that are done
//! are left alone, one that was interrupted goes on where it was. A run whose loss is no number any more is noted as
//! failed, and the sweep goes on with the next.

mod file;
mod results;

use std::path::{Path, PathBuf};

use kiln_models::cnn::Architecture;
use serde::Serialize;

use crate::TrainError;
use crate::config::{RunConfig, RunOptions};
use crate::events::{Event, Observer};
use crate::learner::Learner;
use crate::run::{self, Control, Outcome, Run, Test};

/// A file of experiments, its runs settled.
#[derive(Clone, Debug)]
pub struct Sweep {
    experiments: Vec<Experiment>,
    jobs: Vec<Job>,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Job {
    /// The name of its folder, by the options that vary.
    pub name: String,
    /// Its options as the file says them.
    pub options: RunOptions,
    /// Its options as they are settled.
    pub config: RunConfig,
    /// Its network, before it is fitted to the data.
    pub network: Architecture,
}

/// A table and a plot.
#[derive(Clone, Debug)]
struct Experiment {
    name: String,
    title: String,
    /// The option that the columns stand for.
    x: Option<String>,
    cells: Vec<Cell>,
}

/// A run in a table.
#[derive(Clone, Debug)]
struct Cell {
    /// Which of the sweep's jobs.
    job: usize,
    /// The row it belongs to: what varies besides `x` and the seed.
    row: String,
    /// Its column.
    x: Option<f64>,
}

/// Something that happened in a sweep. As JSON, a map whose `event` names it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum SweepEvent {
    /// A run is looked at.
    Job {
        /// Its name.
        name: String,
        /// Which one, counted from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What happens to it.
        status: Status,
    },
    /// Something happened in the present run.
    Run {
        /// What.
        run: Event,
    },
    /// A run cannot be finished.
    Failed {
        /// Its name.
        name: String,
        /// Why.
        message: String,
    },
    /// Table and plots are up to date with all runs so far.
    Written {
        /// The file with the tables.
        path: PathBuf,
    },
}

/// What a sweep does with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing: it is done.
    Done,
    /// It goes on.
    Resumed,
    /// It starts.
    Started,
}

/// How a sweep ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepOutcome {
    /// The file with the tables.
    pub results: PathBuf,
    /// Runs that are done.
    pub done: usize,
    /// Runs there are.
    pub of: usize,
    /// Names of those that failed.
    pub failed: Vec<String>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Sweep {
    /// Reads a file of experiments.
    ///
    /// # Errors
    /// Where it cannot be read, is no TOML, asks for an option that there is not or that has an impossible value, or has
    /// two experiments of one name.
    pub fn open(path: &Path) -> Result<Sweep, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|error| TrainError::io(path, error))?;
        Sweep::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a file of experiments; `origin` stands for it in messages.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn parse(text: &str, origin: &str) -> Result<Sweep, TrainError> {
        file::parse(text, origin)
    }

    /// All runs, each once.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Makes all runs that are not done yet, in a folder, which may hold those of an earlier start.
    ///
    /// # Errors
    /// Where a run there is another one than the file asks for, data cannot be read, or the device fails.
    pub fn run<L: Learner>(
        &self,
        folder: &Path,
        learner: impl Fn(&RunConfig, &Architecture) -> Result<L, TrainError>,
        control: &Control<'_>,
        observer: &mut dyn FnMut(&SweepEvent),
    ) -> Result<SweepOutcome, TrainError> {
        let mut failed = Vec::new();
        let mut interrupted = false;
        for (place, job) in self.jobs.iter().enumerate() {
            let path = job.folder(folder);
            let status = job.status(&path)?;
            let (name, number, of) = (job.name.clone(), place + 1, self.jobs.len());
            observer(&SweepEvent::Job { name: name.clone(), number, of, status });
            let run = match status {
                Status::Done => continue,
                Status::Resumed => Run::resume(&path, &job.config.options(), &learner)?,
                Status::Started => Run::start(&path, job.config.clone(), job.network.clone(), &learner)?,
            };
            let mut tell = |event: &Event| observer(&SweepEvent::Run { run: event.clone() });
            match run.train(control, &mut tell as &mut dyn Observer) {
                Ok(Outcome::Finished(_)) => {
                    let path = self.write(folder, &failed)?;
                    observer(&SweepEvent::Written { path });
                }
                Ok(Outcome::Interrupted(_)) => {
                    interrupted = true;
                    break;
                }
                Err(error @ TrainError::NotFinite { .. }) => {
                    observer(&SweepEvent::Failed { name: name.clone(), message: error.to_string() });
                    failed.push(name);
                }
                Err(error) => return Err(error),
            }
        }
        let results = self.write(folder, &failed)?;
        observer(&SweepEvent::Written { path: results.clone() });
        let done = self.jobs.iter().filter(|job| job.test(folder).is_some()).count();
        Ok(SweepOutcome { results, done, of: self.jobs.len(), failed, interrupted })
    }

    /// Writes tables and plots of what is done so far, and gives the path of the tables.
    fn write(&self, folder: &Path, failed: &[String]) -> Result<PathBuf, TrainError> {
        let tests: Vec<Option<Test>> = self.jobs.iter().map(|job| job.test(folder)).collect();
        results::write(self, folder, &tests, failed)
    }
}

impl Job {
    fn folder(&self, sweep: &Path) -> PathBuf {
        sweep.join("runs").join(&self.name)
    }

    /// What the run came to, if it is done.
    fn test(&self, sweep: &Path) -> Option<Test> {
        run::test_of(&self.folder(sweep))
    }

    /// What is to be done, by what is in its folder.
    fn status(&self, path: &Path) -> Result<Status, TrainError> {
        if !run::is_started(path) {
            return Ok(Status::Started);
        }
        if run::test_of(path).is_none() {
            return Ok(Status::Resumed);
        }
        let config = run::config_of(path)?;
        if config == self.config {
            return Ok(Status::Done);
        }
        let mut differences = config.differences(&config.network()?, &self.config.options())?;
        if differences.is_empty() {
            differences.push("the file asks for others than config.toml has".to_owned());
        }
        Err(TrainError::OtherRun { folder: path.to_owned(), differences })
    }
}

/// Numbers that a network learns.
fn parameters(network: &Architecture) -> usize {
    let specs = network.tensors().into_iter().filter(|spec| spec.trainable);
    specs.map(|spec| spec.shape.iter().product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/sweeps");
        let sweep = Sweep::open(&folder.join("course.toml")).unwrap();
        let names: Vec<&str> = sweep.jobs().iter().map(|job| job.name.as_str()).collect();
        let cells: usize = sweep.experiments.iter().map(|experiment| experiment.cells.len()).sum();
        // Experiments share runs: those of sk with 1000 and 10000 images, and those with the network's own activation.
        assert_eq!((names.len(), cells), (294, 210 + 60 + 72));
        assert_eq!((names[0], names[7]), ("base_n500_s0", "base_n1000_s1"));
        assert!(names.contains(&"sk-0.2_n10000_s5") && names.contains(&"bn_sigmoid_n60000_s0"));
        let rows: Vec<&str> = sweep.experiments[2].cells.iter().map(|cell| cell.row.as_str()).collect();
        assert!(rows.contains(&"base, relu") && rows.contains(&"bn, sigmoid"), "{rows:?}");
        let widths: Vec<f64> = sweep.experiments[1].cells.iter().filter_map(|cell| cell.x).collect();
        assert!(widths.is_sorted() && widths[0] < 50_000.0 && widths[59] > 1e6, "{widths:?}");
    }
}
