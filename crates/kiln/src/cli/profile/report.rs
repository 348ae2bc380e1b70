//! What a profile says, as tables and as JSON.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::time::Duration;

use kiln::gpu::DeviceProfile;
use kiln::models::measure::{Bound, Ceilings, Profile, Row};
use serde::Serialize;

use super::super::numbers::{counted, milliseconds};
use super::super::table::{align_right, write_table};
use super::By;

/// What was measured.
pub(super) struct Subject<'a> {
    /// `vgg16, batch 4 of 3x224x224, seeded weights`.
    pub(super) title: String,
    pub(super) model: &'a str,
    pub(super) batch: usize,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(skip)]
    title: &'a str,
    model: &'a str,
    adapter: &'a str,
    driver: &'a str,
    batch: usize,
    samples: usize,
    ceilings: CeilingRates,
    /// Sum over the kernels, each measured by itself.
    total_ms: f64,
    /// Median of whole runs by the host's clock.
    run_ms: f64,
    /// What a run takes beyond its kernels; less than 0 where they overlap.
    overhead_ms: f64,
    dispatches: usize,
    #[serde(skip)]
    total: Line,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<Vec<KernelLine>>,
}

#[derive(Serialize)]
struct CeilingRates {
    gflops: f64,
    gigabytes_per_second: f64,
}

#[derive(Serialize)]
struct LayerLine {
    layer: String,
    kind: String,
    kernels: Vec<String>,
    #[serde(skip)]
    shown: String,
    /// When the first kernel of it begins.
    start_ms: f64,
    #[serde(flatten)]
    line: Line,
}

#[derive(Serialize)]
struct KernelLine {
    kernel: String,
    ops: String,
    #[serde(flatten)]
    line: Line,
}

/// What rows of both tables have.
#[derive(Serialize)]
struct Line {
    ms: f64,
    /// Of the total, from 0 to 1.
    share: f64,
    dispatches: usize,
    /// Null where nothing is multiplied.
    gflops: Option<f64>,
    gigabytes_per_second: Option<f64>,
    of_ceiling: Option<f64>,
    bound: Option<&'static str>,
    multiply_adds: u64,
    computed_multiply_adds: u64,
    bytes: u64,
}

impl Line {
    fn new(row: &Row, total: Duration) -> Line {
        let ceiling = row.of_ceiling();
        Line {
            ms: milliseconds(row.duration),
            share: row.duration.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE),
            dispatches: row.dispatches,
            gflops: row.gflops(),
            gigabytes_per_second: row.gigabytes(),
            of_ceiling: ceiling.map(|(share, _)| share),
            bound: ceiling.map(|(_, bound)| match bound {
                Bound::Compute => "compute",
                Bound::Memory => "memory",
            }),
            multiply_adds: row.multiply_adds,
            computed_multiply_adds: row.work.multiply_adds,
            bytes: row.bytes,
        }
    }

    /// Time, rates, share of the ceiling and of the whole.
    fn cells(&self) -> Vec<String> {
        let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
        let ceiling = self.of_ceiling.zip(self.bound);
        vec![
            format!("{:.2}", self.ms),
            rate(self.gflops),
            self.gigabytes_per_second.map(|rate| format!("{rate:.2}")).unwrap_or_default(),
            ceiling.map(|(share, bound)| format!("{:.0} % {bound:<7}", 100.0 * share)).unwrap_or_default(),
            format!("{:.1} %", 100.0 * self.share),
        ]
    }
}

/// How far the whole may pass the ceilings; convolutions that share what they load pass them by a few hundredths.
const PASSED: f64 = 1.15;

/// Whether a profile says that the ceilings are too low: all its kernels together are faster than they allow.
pub(super) fn are_passed(profile: &Profile, ceilings: &Ceilings) -> bool {
    profile.total(Some(ceilings)).of_ceiling().is_some_and(|(share, _)| share > PASSED)
}

/// The columns that [`Line::cells`] gives.
const CELLS: [&str; 5] = ["ms", "GFLOP/s", "GB/s", "of ceiling     ", "share"];

impl<'a> Document<'a> {
    pub(super) fn new(
        subject: &'a Subject<'_>,
        device: &'a DeviceProfile,
        profile: &Profile,
        ceilings: Ceilings,
        by: Option<By>,
    ) -> Document<'a> {
        let total = profile.duration();
        let (run, kernels) = (milliseconds(profile.runs.median()), milliseconds(total));
        let layers = profile.by_layer(Some(&ceilings)).into_iter().map(|row| LayerLine {
            line: Line::new(&row, total),
            start_ms: milliseconds(row.start),
            layer: row.name,
            kind: row.kind,
            shown: shown(&row.kernels),
            kernels: row.kernels.into_iter().map(|(kernel, _)| kernel).collect(),
        });
        let by_kernel = profile.by_kernel(Some(&ceilings)).into_iter().map(|row| KernelLine {
            line: Line::new(&row, total),
            kernel: row.name,
            ops: row.kind,
        });
        Document {
            title: &subject.title,
            model: subject.model,
            adapter: &device.name,
            driver: &device.driver,
            batch: subject.batch,
            samples: profile.runs.count(),
            ceilings: CeilingRates { gflops: ceilings.gflops, gigabytes_per_second: ceilings.gigabytes },
            total_ms: kernels,
            run_ms: run,
            overhead_ms: ((run - kernels) * 1e3).round() / 1e3,
            dispatches: profile.steps.len(),
            total: Line::new(&profile.total(Some(&ceilings)), total),
            layers: (by != Some(By::Kernel)).then(|| layers.collect()),
            kernels: (by != Some(By::Layer)).then(|| by_kernel.collect()),
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.title)?;
        if let Some(layers) = &self.layers {
            let rows = layers
                .iter()
                .map(|row| (vec![named(&row.layer), row.shown.clone()], &row.line, row.start_ms));
            self.table(out, &["layer", "kernels"], rows)?;
            writeln!(out)?;
        }
        if let Some(kernels) = &self.kernels {
            let rows = kernels
                .iter()
                .map(|row| (vec![row.kernel.clone(), row.line.dispatches.to_string()], &row.line, 0.0));
            self.table(out, &["kernel", "runs"], rows)?;
            writeln!(out)?;
        }
        let Document { total_ms, run_ms, overhead_ms, dispatches, .. } = self;
        write!(out, "{}, one by one: {total_ms:.2} ms. ", counted(*dispatches, "kernel"))?;
        write!(out, "A run by the host's clock: {run_ms:.2} ms, ")?;
        let each = 1e3 * overhead_ms / (*dispatches).max(1) as f64;
        match *overhead_ms {
            over if over >= 0.0 => {
                writeln!(out, "{over:.2} ms more ({each:.0} µs a kernel) for launches and transfers.")?;
            }
            under => writeln!(out, "{:.2} ms less, as kernels follow each other without a pause.", -under)?,
        }
        let CeilingRates { gflops, gigabytes_per_second } = self.ceilings;
        writeln!(
            out,
            "Ceilings: {gflops:.1} GFLOP/s, a matrix product; {gigabytes_per_second:.1} GB/s, a copy, read and written."
        )?;
        writeln!(out, "Medians of {} on {}.", counted(self.samples, "run"), self.adapter)
    }

    /// A table with its total. Each row has the cells before the numbers, the numbers, and when its bar begins.
    fn table<'b>(
        &self,
        out: &mut impl Write,
        heads: &[&str; 2],
        rows: impl Iterator<Item = (Vec<String>, &'b Line, f64)>,
    ) -> io::Result<()> {
        let mut cells: Vec<Vec<String>> =
            vec![heads.iter().chain(&CELLS).map(|head| (*head).to_owned()).collect()];
        for (mut row, line, start) in rows {
            row.extend(line.cells());
            row.push(bar(start, line.ms, self.total_ms));
            cells.push(row);
        }
        let mut total = vec!["total".to_owned(), String::new()];
        if heads[1] == "runs" {
            total[1] = self.dispatches.to_string();
        }
        total.extend(self.total.cells());
        cells.push(total);
        let first = if heads[1] == "runs" { 1 } else { 2 };
        align_right(&mut cells, first..7);
        write_table(out, &cells)
    }
}

/// A layer's name; what belongs to none has a dash, so that its row does not look broken.
fn named(layer: &str) -> String {
    if layer.is_empty() { "-".to_owned() } else { layer.to_owned() }
}

/// The kernels of a layer, in their order: where they are many, those that take longest.
fn shown(kernels: &[(String, Duration)]) -> String {
    const MOST: usize = 3;
    let mut longest: Vec<usize> = (0..kernels.len()).collect();
    if kernels.len() > MOST {
        longest.sort_by_key(|&place| Reverse(kernels[place].1));
        longest.truncate(MOST - 1);
        longest.sort_unstable();
    }
    let mut text = longest.iter().map(|&place| kernels[place].0.as_str()).collect::<Vec<_>>().join(" ");
    if longest.len() < kernels.len() {
        text += &format!(" and {} more", kernels.len() - longest.len());
    }
    text
}

/// Characters of the longest bar.
const WIDTH: f64 = 24.0;

/// A bar as long as its share of the whole, at the place in time where it begins, to an eighth of a character.
fn bar(start: f64, length: f64, whole: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if whole <= 0.0 {
        return String::new();
    }
    let first = (start / whole * WIDTH).min(WIDTH - 1.0).floor();
    let end = ((start + length) / whole * WIDTH).min(WIDTH);
    // What takes any time at all is seen.
    let eighths = (((end - first) * 8.0).round() as usize).max(1);
    format!("{}{}{}", " ".repeat(first as usize), "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_kernels_are_cut_short() {
        let kernels = |times: &[u64]| -> Vec<(String, Duration)> {
            times.iter().map(|&time| (format!("k{time}"), Duration::from_millis(time))).collect()
        };
        for (times, expected) in [
            (&[][..], ""),
            (&[1], "k1"),
            (&[1, 9, 2], "k1 k9 k2"),
            (&[1, 5, 2, 9], "k5 k9 and 2 more"),
            (&[9, 1, 5, 2, 3], "k9 k5 and 3 more"),
        ] {
            assert_eq!(shown(&kernels(times)), expected);
        }
    }

    #[test]
    fn bars_stand_where_their_time_is() {
        for (start, length, expected) in [
            (0.0, 24.0, "████████████████████████"),
            (0.0, 12.0, "████████████"),
            (12.0, 1.5, "            █▌"),
            (23.9, 0.1, "                       █"),
            (0.0, 0.0, "▏"),
        ] {
            assert_eq!(bar(start, length, 24.0), expected, "{start} {length}");
        }
        assert_eq!(bar(0.0, 0.0, 0.0), "");
    }
}
