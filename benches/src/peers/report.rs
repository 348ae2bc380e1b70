//! The table, as Markdown.

use std::fmt;

use super::Row;
use crate::median;

/// What came of a peer of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was measured.
    pub row: String,
    /// By whom.
    pub peer: String,
    /// The figures, or why there are none.
    pub result: Result<Figures, String>,
}

/// Figures of some pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Median of Kiln's milliseconds.
    pub kiln_ms: f64,
    /// Median of the peer's.
    pub peer_ms: f64,
    /// The peer's time divided by Kiln's, pair by pair.
    pub times_as_fast: Spread,
    /// How many pairs.
    pub pairs: usize,
    /// What a sample does, and what that is a second.
    pub amount: (f64, &'static str),
}

/// Median and ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// # Panics
    /// Of no numbers.
    fn of(numbers: Vec<f64>) -> Spread {
        let end = |pick: fn(f64, f64) -> f64| numbers.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        let (least, most) = (end(f64::min), end(f64::max));
        Spread { median: median(numbers), least, most }
    }
}

impl Outcome {
    pub(super) fn failed(row: &str, peer: &str, reason: String) -> Outcome {
        Outcome { row: row.to_owned(), peer: peer.to_owned(), result: Err(reason) }
    }

    pub(super) fn measured(row: &Row<'_>, peer: &str, own: &[f64], other: &[f64]) -> Outcome {
        let ratios = own.iter().zip(other).map(|(own, other)| other / own).collect();
        let figures = Figures {
            kiln_ms: median(own.to_vec()),
            peer_ms: median(other.to_vec()),
            times_as_fast: Spread::of(ratios),
            pairs: own.len(),
            amount: (row.amount, row.unit),
        };
        Outcome { row: row.title.clone(), peer: peer.to_owned(), result: Ok(figures) }
    }
}

/// A table with where and when it was made.
#[derive(Debug, Clone)]
pub struct Report {
    /// `2026-11-22`.
    pub date: String,
    /// The device, with its driver.
    pub adapter: String,
    /// The state of the sources.
    pub commit: String,
    /// Threads that the machine runs at once.
    pub threads: usize,
    /// What came out.
    pub outcomes: Vec<Outcome>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { date, adapter, commit, threads, outcomes } = self;
        writeln!(
            f,
            "Measured on {date}, {adapter}, {threads} threads, commit {commit}. Medians of alternating pairs.\n"
        )?;
        writeln!(
            f,
            "| measurement | Kiln | peer | its figure | Kiln is so many times as fast | least to most | pairs |"
        )?;
        writeln!(f, "|---|---:|---|---:|---:|---:|---:|")?;
        for Outcome { row, peer, result } in outcomes {
            write!(f, "| {} | ", cell(row))?;
            match result {
                Ok(figures) => {
                    let (amount, unit) = figures.amount;
                    let time = |ms: f64| format!("{} ms, {} {unit}", digits(ms), digits(amount / ms * 1e3));
                    let Spread { median, least, most } = figures.times_as_fast;
                    let (own, other) = (time(figures.kiln_ms), time(figures.peer_ms));
                    let ends = format!("{} to {}", digits(least), digits(most));
                    let (median, pairs) = (digits(median), figures.pairs);
                    writeln!(f, "{own} | {} | {other} | {median} | {ends} | {pairs} |", cell(peer))?;
                }
                Err(reason) => {
                    writeln!(f, "– | {} | – | not measured: {} | – | 0 |", cell(peer), cell(reason))?
                }
            }
        }
        Ok(())
    }
}

/// Three digits that tell something, or all before the point.
fn digits(number: f64) -> String {
    let before = if number >= 1.0 { number.log10().floor() as usize + 1 } else { 1 };
    format!("{number:.*}", 3_usize.saturating_sub(before))
}

/// Text that does not end its cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_outcome() {
        let figures = Figures {
            kiln_ms: 612.34,
            peer_ms: 930.21,
            times_as_fast: Spread::of(vec![1.49, 1.6, 1.525]),
            pairs: 3,
            amount: (30.94, "GFLOP/s"),
        };
        let report = Report {
            date: "2026-11-22".to_owned(),
            adapter: "llvmpipe, Mesa".to_owned(),
            commit: "abc1234".to_owned(),
            threads: 2,
            outcomes: vec![
                Outcome { row: "VGG-16".to_owned(), peer: "ncnn 1.0".to_owned(), result: Ok(figures) },
                Outcome::failed("VGG-16", "burn", "the peer `a | b` failed:\nno room".to_owned()),
            ],
        };
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("2026-11-22, llvmpipe, Mesa, 2 threads, commit abc1234"), "{text}");
        assert_eq!(
            lines[4],
            "| VGG-16 | 612 ms, 50.5 GFLOP/s | ncnn 1.0 | 930 ms, 33.3 GFLOP/s | 1.52 | 1.49 to 1.60 | 3 |"
        );
        assert_eq!(
            lines[5],
            "| VGG-16 | – | burn | – | not measured: the peer `a \\| b` failed: no room | – | 0 |"
        );
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (number, text) in [
            (0.0421, "0.04"),
            (0.5, "0.50"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (999.6, "1000"),
            (7796.4, "7796"),
        ] {
            assert_eq!(digits(number), text);
        }
    }
}
