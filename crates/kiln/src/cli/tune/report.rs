//! What `kiln tune` found, as a table and as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use kiln::engine::Finding;
use kiln::gpu::DeviceProfile;
use serde::Serialize;

use super::super::error::CliError;
use super::super::numbers::{counted, milliseconds};
use super::super::output::Output;
use super::super::table::{align_right, write_table};

/// What became of the choices.
pub(super) enum Kept {
    /// They are in this file.
    In(PathBuf),
    /// Nothing: a software adapter goes by the table.
    Software,
    /// Nothing: there is no place for them.
    NoCache,
    /// Nothing: their place cannot be written, which is told as an error.
    Nowhere,
}

/// All that there is to tell.
pub(super) struct Report<'a> {
    pub(super) model: &'a str,
    pub(super) profile: &'a DeviceProfile,
    pub(super) seconds: f64,
    pub(super) kept: &'a Kept,
    pub(super) findings: &'a [Finding],
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    model: &'a str,
    adapter: &'a str,
    driver: &'a str,
    seconds: f64,
    /// The file.
    kept: Option<&'a PathBuf>,
    choices: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    op: &'a str,
    uses: usize,
    table: &'a str,
    chosen: &'a str,
    /// How many times as fast as the table's.
    gain: f64,
    /// Whether there was time to measure.
    settled: bool,
    times_ms: BTreeMap<&'a str, f64>,
}

impl Row<'_> {
    fn of(finding: &Finding) -> Row<'_> {
        let times = finding.times.iter();
        Row {
            op: &finding.key,
            uses: finding.uses,
            table: &finding.table,
            chosen: &finding.chosen,
            gain: (finding.gain() * 1e3).round() / 1e3,
            settled: finding.settled,
            times_ms: times.map(|(name, time)| (name.as_str(), milliseconds(*time))).collect(),
        }
    }
}

impl Report<'_> {
    pub(super) fn document(&self) -> Document<'_> {
        Document {
            model: self.model,
            adapter: &self.profile.name,
            driver: &self.profile.driver,
            seconds: (self.seconds * 1e3).round() / 1e3,
            kept: if let Kept::In(path) = self.kept { Some(path) } else { None },
            choices: self.findings.iter().map(Row::of).collect(),
        }
    }

    pub(super) fn write(&self, out: &mut Output) -> Result<(), CliError> {
        // The op's key is long: at the end of the line, a narrow terminal breaks nothing else.
        let titles = ["uses", "table ms", "chosen ms", "gain", "table", "chosen", "op"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        for finding in self.findings {
            let millis = |name: &str| match finding.time(name) {
                Some(time) => format!("{:.3}", milliseconds(time)),
                None => "-".to_owned(),
            };
            let same = finding.table == finding.chosen;
            rows.push(vec![
                finding.uses.to_string(),
                millis(&finding.table),
                millis(&finding.chosen),
                if same { "-".to_owned() } else { format!("{:.2}x", finding.gain()) },
                finding.table.clone(),
                match (finding.settled, same) {
                    (false, _) => "not measured",
                    (true, true) => "the table's",
                    (true, false) => &finding.chosen,
                }
                .to_owned(),
                finding.key.clone(),
            ]);
        }
        if self.findings.is_empty() {
            writeln!(out, "{}: the table has but one choice for each of its ops", self.model)?;
        } else {
            align_right(&mut rows, 0..4);
            write_table(out, &rows)?;
            writeln!(out, "{}", self.sum())?;
        }
        match self.kept {
            Kept::In(path) => writeln!(out, "kept in {}", path.display())?,
            Kept::Software => writeln!(
                out,
                "not kept: a software adapter goes by the table, for the same bytes from run to run (--keep)"
            )?,
            Kept::Nowhere => {}
            Kept::NoCache => {
                writeln!(out, "not kept: the system names no cache directory; set KILN_CACHE to one")?;
            }
        }
        Ok(())
    }

    /// `vgg16 on NAME: 12 of 14 choices measured in 20.1 s, 3 differ from the table and save about 4.2 of 61.0 ms`.
    fn sum(&self) -> String {
        let settled = self.findings.iter().filter(|finding| finding.settled).count();
        let differ: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.table != finding.chosen).collect();
        let saved = |finding: &&Finding| {
            let [table, chosen] =
                [&finding.table, &finding.chosen].map(|name| finding.time(name).unwrap_or_default());
            table.saturating_sub(chosen) * finding.uses as u32
        };
        let saved: Duration = differ.iter().map(saved).sum();
        let differing = match differ.len() {
            0 => "none differs from the table".to_owned(),
            count => {
                let verb = if count == 1 { "differs" } else { "differ" };
                let saved = milliseconds(saved);
                format!("{count} {verb} from the table, by which a run should save about {saved:.2} ms")
            }
        };
        let (model, adapter, all) = (self.model, &self.profile.name, counted(self.findings.len(), "choice"));
        format!("{model} on {adapter}: {settled} of {all} measured in {:.1} s; {differing}", self.seconds)
    }
}
