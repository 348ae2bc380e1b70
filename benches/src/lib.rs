//! Measuring by alternation: this is what makes a ratio mean something on a machine whose speed drifts.
//!
//! Every sample ends in a device sync. Absolute figures are printed with the adapter's name, to be recorded; only
//! ratios of one run are claims.

mod passages;
mod peer;
pub mod peers;
mod product;
mod training;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kiln_gpu::{AdapterChoice, Gpu, GpuError};

pub use passages::{PASSAGES, TOKENS, passages, passages_flop};
pub use peer::{Peer, Reading, ResidentPeer, Unit};
pub use product::{batched, linear, naive, numbers, product};
pub use training::Training;

/// Why something could not be measured.
pub type Failure = Box<dyn std::error::Error>;

/// One thing to measure.
pub struct Subject<'a> {
    /// Name in the table.
    pub name: String,
    /// Floating-point operations of one sample.
    pub flop: f64,
    /// Runs one sample to the end, on the device too.
    pub run: Box<dyn FnMut() + 'a>,
}

/// Median time of a subject, and its rate beside that of the first subject of the same group.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The subject's name.
    pub name: String,
    /// Median of the samples.
    pub median: Duration,
    /// Rate at the median.
    pub gflops: f64,
    /// Median over the rounds of this one's rate divided by the first subject's in the same round.
    pub speedup: f64,
}

/// The adapter that `KILN_ADAPTER` names, or the strongest.
///
/// # Errors
/// Those of [`Gpu::open`].
pub fn open() -> Result<Gpu, GpuError> {
    kiln_gpu::quiet_driver();
    let choice = match std::env::var("KILN_ADAPTER") {
        Ok(name) => name.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
        Err(_) => AdapterChoice::Strongest,
    };
    Gpu::open(&choice)
}

/// Runs all subjects in turn, once to warm up and then `rounds` times (A B C A B C ...).
pub fn alternate(rounds: usize, subjects: &mut [Subject<'_>]) -> Vec<Measured> {
    for subject in subjects.iter_mut() {
        (subject.run)();
    }
    let mut samples: Vec<Vec<f64>> = vec![vec![]; subjects.len()];
    for _ in 0..rounds {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            (subject.run)();
            samples.push(start.elapsed().as_secs_f64());
        }
    }
    subjects
        .iter()
        .zip(&samples)
        .map(|(subject, own)| {
            let seconds = median(own.clone());
            let work = subject.flop / subjects[0].flop;
            let ratios = samples[0].iter().zip(own).map(|(first, own)| work * first / own).collect();
            Measured {
                name: subject.name.clone(),
                median: Duration::from_secs_f64(seconds),
                gflops: subject.flop / seconds / 1e9,
                speedup: median(ratios),
            }
        })
        .collect()
}

/// The middle of some numbers; the mean of the two middle ones where their count is even.
///
/// # Panics
/// Where there are none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 }
}

/// A table of one group; the last column is the rate against that of the first row.
pub fn table(title: &str, rows: &[Measured]) -> String {
    let mut text = format!("{title}\n");
    for row in rows {
        let milliseconds = row.median.as_secs_f64() * 1e3;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {:<28} {milliseconds:>10.2} ms {:>9.2} GFLOP/s {:>8.2}x",
            row.name, row.gflops, row.speedup
        );
    }
    text
}
