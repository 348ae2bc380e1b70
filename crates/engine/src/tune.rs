//! Which of the kernels that can do something is fastest on this device: measured, where the table says that it is close.
//!
//! A graph is compiled once to see what the table is asked. Each [question](crate::choices) is then put to the device:
//! the op alone, on inputs of the same shapes and sorts, once for each candidate, in turns. The table's choice stands
//! unless another is clearly faster.

mod race;
mod search;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use kiln_gpu::{DeviceProfile, Gpu};

use crate::choices::{Choices, Journal, Target};
use crate::compile::plan;
use crate::error::Result;
use crate::graph::Graph;
use race::DeviceBench;
use search::Search;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// No candidate is compiled and no round of samples begun after this time.
    pub budget: Duration,
    /// Samples of each candidate, at most.
    pub rounds: usize,
    /// The share of its time by which a candidate must beat the table's choice.
    pub gain: f64,
}

impl TuneOptions {
    /// So much time, and the usual rest: 7 rounds, and a gain of 5 %.
    pub fn within(budget: Duration) -> Self {
        Self { budget, rounds: 7, gain: 0.05 }
    }
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The question's key in [`Choices`]: what is chosen, the op and its shapes.
    pub key: String,
    /// The table's choice.
    pub table: String,
    /// The choice; the table's unless another was clearly faster.
    pub chosen: String,
    /// Candidates with the medians of their times, in the table's order. Those that cannot run here are left out, and those
    /// whose times made no sense.
    pub times: Vec<(String, Duration)>,
    /// How many times the graphs ask it; 0 for what came up inside of a candidate that has not won.
    pub uses: usize,
    /// Whether that is final; no where time was too short to measure.
    pub settled: bool,
}

impl Finding {
    /// The median time of a candidate.
    pub fn time(&self, name: &str) -> Option<Duration> {
        self.times.iter().find(|(other, _)| other == name).map(|&(_, time)| time)
    }

    /// How many times as fast as the table's the choice is; 1 where it is the table's.
    pub fn gain(&self) -> f64 {
        match (self.time(&self.table), self.time(&self.chosen)) {
            (Some(table), Some(chosen)) if self.table != self.chosen && !chosen.is_zero() => {
                table.as_secs_f64() / chosen.as_secs_f64()
            }
            _ => 1.0,
        }
    }
}

/// How far the tuner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TuneProgress<'a> {
    /// The question that is being measured.
    pub key: &'a str,
    /// Questions that are settled.
    pub settled: usize,
    /// Questions that are known to be open, this one among them.
    pub open: usize,
    /// Time since the start.
    pub elapsed: Duration,
}

/// Settles the questions that come up when graphs are compiled for a device, those on which most depends first: the
/// findings, in that order, where those that no time was left for come last, not settled.
///
/// Questions that `known` answers are left as they are. `progress` is told of each question and may break off; what is
/// settled by then is given back.
///
/// # Errors
/// [`EngineError`](crate::EngineError) for a malformed graph or where the device fails at what worked before. A candidate
/// that cannot run is no error, but out.
pub fn tune(
    gpu: &Gpu,
    profile: &DeviceProfile,
    graphs: &[&Graph],
    known: &Choices,
    options: &TuneOptions,
    progress: &mut dyn FnMut(TuneProgress<'_>) -> ControlFlow<()>,
) -> Result<Vec<Finding>> {
    let mut bench = DeviceBench { gpu, profile, start: Instant::now() };
    let questions = |choices: &Choices| {
        let journal = Journal::default();
        graphs.iter().try_for_each(|graph| note(graph, profile, choices, &journal))?;
        Ok(journal.into_asked())
    };
    Search::new(&mut bench, known, options, progress).run(questions)
}

/// What findings hold for: they say nothing about a build with other kernels.
pub fn kernels_fingerprint() -> String {
    format!("{:016x}", kiln_kernels::fingerprint())
}

/// Writes down what is asked when a graph is compiled. What is prepared once, at load, is not worth a measurement.
fn note(graph: &Graph, profile: &DeviceProfile, choices: &Choices, journal: &Journal) -> Result<()> {
    plan(graph, Target::new(profile, choices).noting(journal)).map(drop)
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Limits};

    use super::*;
    use crate::builder::GraphBuilder;
    use crate::ops::ConvOptions;
    use crate::tensor::DType;
    use crate::window::Padding;

    fn convolution(
        image: [usize; 4],
        filter: [usize; 4],
        options: ConvOptions<2>,
        constant: bool,
    ) -> Result<Graph> {
        let mut g = GraphBuilder::new("convolution");
        let x = g.input("x", &image, DType::F32);
        let weight = match constant {
            true => g.constant("weight", &filter),
            false => g.input("weight", &filter, DType::F32),
        };
        let bias = g.constant("bias", &filter[..1]);
        let y = g.conv2d(x, weight, Some(bias), options)?;
        let y = g.relu(y)?;
        g.output("y", y);
        Ok(g.finish())
    }

    fn product(lhs: &[usize], rhs: &[usize], constant: bool, halves: bool) -> Result<Graph> {
        let mut g = GraphBuilder::new("product");
        let x = g.input("x", lhs, DType::F32);
        let weight = match constant {
            true => g.constant("weight", rhs),
            false => g.input("weight", rhs, DType::F32),
        };
        let y = match (halves, lhs.last() == rhs.last()) {
            (true, _) => {
                let packed = g.pack_half(weight)?;
                g.linear(x, packed, None)?
            }
            (false, true) => g.matmul_nt(x, weight)?,
            (false, false) => g.matmul(x, weight)?,
        };
        let y = g.gelu(y)?;
        g.output("y", y);
        Ok(g.finish())
    }

    fn graphs() -> Result<Vec<Graph>> {
        let plain = ConvOptions::default();
        let same = ConvOptions { padding: Padding::all(1), ..plain };
        let mut graphs = vec![];
        for constant in [true, false] {
            for (image, filter, options) in [
                ([1, 64, 56, 56], [64, 64, 3, 3], same),
                ([2, 16, 13, 11], [24, 16, 3, 3], same),
                ([1, 3, 224, 224], [64, 3, 3, 3], same),
                ([1, 64, 28, 28], [128, 64, 3, 3], ConvOptions { stride: [2; 2], ..same }),
                ([1, 64, 28, 28], [128, 64, 1, 1], plain),
                ([8, 20, 12, 12], [50, 20, 5, 5], plain),
                ([1, 32, 14, 14], [32, 1, 3, 3], ConvOptions { groups: 32, ..same }),
                ([1, 32, 14, 14], [32, 16, 3, 3], ConvOptions { groups: 2, ..same }),
                ([1, 8, 15, 15], [12, 8, 3, 3], ConvOptions { dilation: [2; 2], ..plain }),
                ([1, 512, 7, 7], [512, 512, 3, 3], same),
            ] {
                graphs.push(convolution(image, filter, options, constant)?);
            }
            for (lhs, rhs) in [
                (&[1, 512][..], &[1024, 512][..]),
                (&[3, 511], &[100, 511]),
                (&[4, 512], &[512, 96]),
                (&[64, 384], &[1536, 384]),
                (&[100, 800], &[500, 800]),
                (&[512, 512], &[512, 500]),
                (&[6, 7], &[7, 9]),
                (&[8, 25_088], &[4096, 25_088]),
                (&[36, 64, 64], &[36, 64, 200]),
                (&[12, 50, 32], &[12, 60, 32]),
            ] {
                graphs.push(product(lhs, rhs, constant, false)?);
            }
            for (lhs, rhs) in
                [(&[1, 512][..], &[1024, 512][..]), (&[4, 64], &[30, 64]), (&[77, 512], &[512, 512])]
            {
                graphs.push(product(lhs, rhs, constant, true)?);
            }
        }
        Ok(graphs)
    }

    fn profiles() -> Vec<DeviceProfile> {
        let mut profiles = vec![];
        for kind in [DeviceKind::Cpu, DeviceKind::Discrete, DeviceKind::Integrated] {
            let base = DeviceProfile::made_up(kind, Limits::BASELINE);
            let small = Limits { max_binding: 1 << 20, max_buffer: 2 << 20, ..Limits::BASELINE };
            profiles.push(base.clone());
            profiles.push(DeviceProfile { subgroup: (8, 8), subgroups: true, int64: true, ..base.clone() });
            profiles.push(DeviceProfile { limits: small, ..base });
        }
        profiles
    }

    /// A candidate is legal wherever it is offered: it can be planned, and the plan is sound. So is every candidate of what
    /// is asked because of it.
    #[test]
    fn every_candidate_can_be_planned() -> Result<()> {
        let graphs = graphs()?;
        let mut planned = 0;
        for profile in profiles() {
            for graph in &graphs {
                planned += candidates(graph, &profile, &Choices::default(), 0);
            }
        }
        assert!(planned > 500, "{planned}");
        Ok(())
    }

    /// Plans a graph with each candidate of each question; gives how many there were.
    fn candidates(graph: &Graph, profile: &DeviceProfile, choices: &Choices, depth: usize) -> usize {
        let journal = Journal::default();
        if let Err(error) = note(graph, profile, choices, &journal) {
            // What the table cannot do on a device with small limits need not be possible otherwise.
            assert!(choices.is_empty(), "{} on {profile}: {error}, with {choices:?}", graph.name());
            return 0;
        }
        let mut planned = 0;
        for asked in journal.into_asked() {
            if choices.get(&asked.key).is_some() {
                continue;
            }
            assert!(asked.names.len() > 1, "{}: {:?}", asked.key, asked.names);
            let mut names = asked.names.clone();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), asked.names.len(), "{}: {:?} are not told apart", asked.key, asked.names);
            for name in &asked.names {
                let mut forced = choices.clone();
                forced.set(asked.key.clone(), name.as_str());
                planned += 1;
                if depth < 2 {
                    planned += candidates(graph, profile, &forced, depth + 1);
                }
            }
        }
        planned
    }
}
