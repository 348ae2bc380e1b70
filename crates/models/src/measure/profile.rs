//! Where a run's time goes: kernel by kernel, and added up.

use std::collections::HashMap;
use std::time::Duration;

use kiln_engine::{StepTime, Work};

use super::{Ceilings, Samples};
use crate::summary::{Named, layer_name};

/// The kernels of a run in their order, each with the time that it took by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The kernels, in the order in which they run.
    pub steps: Vec<StepProfile>,
    /// The host's time of whole runs, made in turns with those that were measured: with what goes to the device and
    /// comes back, and all kernels in one go.
    pub runs: Samples,
    layers: Vec<Named>,
}

/// One kernel of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProfile {
    /// The layer's path, without the network's name.
    pub layer: String,
    /// Kernel and variant.
    pub kernel: String,
    /// The op, or the rule of an update, that it belongs to.
    pub op: &'static str,
    /// Median of the runs, by the device's clock.
    pub duration: Duration,
    /// What it computes, as it computes it.
    pub work: Work,
    /// What it reads and writes.
    pub bytes: u64,
}

/// What some of the kernels take together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The layer, or kernel and variant.
    pub name: String,
    /// Of a layer what it is, of a kernel the ops that it is for.
    pub kind: String,
    /// Of a layer its kernels, each once, with what each takes.
    pub kernels: Vec<(String, Duration)>,
    /// How many kernels ran.
    pub dispatches: usize,
    /// Sum of their times.
    pub duration: Duration,
    /// When the first of them began, where they follow each other without a pause.
    pub start: Duration,
    /// Multiply-adds by definition: of a layer those of its convolutions and products as papers count them, of a
    /// kernel those that it makes. A convolution by Winograd's method makes fewer than its layer counts.
    pub multiply_adds: u64,
    /// What the kernels compute, as they compute it.
    pub work: Work,
    /// Bytes that they read and write.
    pub bytes: u64,
    /// The least time that they could take, for products and for memory.
    least: [f64; 2],
}

/// What limits some kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The rate of products.
    Compute,
    /// The rate of memory.
    Memory,
}

impl Profile {
    /// From several runs of one plan of the graph `model`, whose layers are `layers`.
    pub fn new(model: &str, layers: Vec<Named>, timed: &[Vec<StepTime>], runs: Samples) -> Profile {
        let first = timed.first().map(Vec::as_slice).unwrap_or_default();
        let steps = first.iter().enumerate().map(|(index, step)| {
            let samples = timed.iter().filter_map(|run| run.get(index)).map(|step| step.duration);
            StepProfile {
                layer: layer_name(model, &step.path).to_owned(),
                kernel: step.kernel.clone(),
                op: step.op,
                duration: Samples(samples.collect()).median(),
                work: step.work,
                bytes: step.bytes,
            }
        });
        Profile { steps: steps.collect(), runs, layers }
    }

    /// The sum over the kernels. Each is measured by itself, so that a run, where one may begin before another has
    /// ended, can take less.
    pub fn duration(&self) -> Duration {
        self.steps.iter().map(|step| step.duration).sum()
    }

    /// A row for each layer, in the order in which they begin.
    pub fn by_layer(&self, ceilings: Option<&Ceilings>) -> Vec<Row> {
        let mut rows = self.rows(ceilings, |step| &step.layer);
        // Where no layer has the name, it is an update, or what a pass has made of several layers.
        for row in &mut rows {
            row.multiply_adds = row.work.multiply_adds;
        }
        let places: HashMap<String, usize> =
            rows.iter().enumerate().map(|(place, row)| (row.name.clone(), place)).collect();
        // A layer without a kernel of its own may be done by the next one's: a convolution by that of its activation.
        let mut before = Named::default();
        for layer in &self.layers {
            let Some(&place) = places.get(&layer.name) else {
                if layer.multiply_adds > 0 {
                    before = layer.clone();
                }
                continue;
            };
            let (row, before) = (&mut rows[place], std::mem::take(&mut before));
            row.kind.clone_from(&layer.kind);
            if row.work.multiply_adds > layer.multiply_adds && before.multiply_adds > 0 {
                row.kind = format!("{} {}", before.kind, layer.kind);
                row.multiply_adds = layer.multiply_adds.saturating_add(before.multiply_adds);
            } else {
                row.multiply_adds = layer.multiply_adds;
            }
        }
        rows
    }

    /// A row for each kernel and variant, the longest first.
    pub fn by_kernel(&self, ceilings: Option<&Ceilings>) -> Vec<Row> {
        let mut rows = self.rows(ceilings, |step| &step.kernel);
        for row in &mut rows {
            row.kernels.clear();
            row.multiply_adds = row.work.multiply_adds;
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.duration));
        rows
    }

    /// All of it. The multiply-adds are those of the layers.
    pub fn total(&self, ceilings: Option<&Ceilings>) -> Row {
        let mut rows = self.rows(ceilings, |_| "total");
        let mut total = rows.pop().unwrap_or_default();
        total.multiply_adds = self.by_layer(None).iter().map(|row| row.multiply_adds).sum();
        total
    }

    /// Rows of equal keys, in the order in which these come up.
    fn rows<'a>(&'a self, ceilings: Option<&Ceilings>, key: impl Fn(&'a StepProfile) -> &'a str) -> Vec<Row> {
        let mut rows: Vec<Row> = vec![];
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut now = Duration::ZERO;
        for step in &self.steps {
            let place = *places.entry(key(step)).or_insert_with_key(|key| {
                rows.push(Row { name: (*key).to_owned(), start: now, ..Row::default() });
                rows.len() - 1
            });
            rows[place].add(step, ceilings);
            now += step.duration;
        }
        rows
    }
}

impl Row {
    fn add(&mut self, step: &StepProfile, ceilings: Option<&Ceilings>) {
        if !self.kind.split(' ').any(|known| known == step.op) {
            self.kind += if self.kind.is_empty() { "" } else { " " };
            self.kind += step.op;
        }
        match self.kernels.iter_mut().find(|(kernel, _)| *kernel == step.kernel) {
            Some((_, duration)) => *duration += step.duration,
            None => self.kernels.push((step.kernel.clone(), step.duration)),
        }
        self.dispatches += 1;
        self.duration += step.duration;
        self.work = self.work + step.work;
        self.bytes = self.bytes.saturating_add(step.bytes);
        if let Some(ceilings) = ceilings {
            let (compute, memory) = ceilings.seconds(step.work, step.bytes);
            self.least[usize::from(compute < memory)] += compute.max(memory);
        }
    }

    /// Billions of floating-point operations a second, two for each multiply-add; none without multiply-adds or time.
    pub fn gflops(&self) -> Option<f64> {
        super::rate(self.multiply_adds, self.duration)
    }

    /// Billions of bytes a second; none without time.
    pub fn gigabytes(&self) -> Option<f64> {
        let seconds = self.duration.as_secs_f64();
        (self.bytes > 0 && seconds > 0.0).then(|| self.bytes as f64 / seconds / 1e9)
    }

    /// The least time that a device of these ceilings takes for what the kernels compute and move, as a share of the
    /// time that they took, and which ceiling stands over most of it. None without ceilings or time.
    pub fn of_ceiling(&self) -> Option<(f64, Bound)> {
        let [compute, memory] = self.least;
        let seconds = self.duration.as_secs_f64();
        let bound = if compute >= memory { Bound::Compute } else { Bound::Memory };
        (compute + memory > 0.0 && seconds > 0.0).then(|| ((compute + memory) / seconds, bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(path: &str, kernel: &str, op: &'static str, millis: u64, work: Work, bytes: u64) -> StepTime {
        StepTime {
            path: path.to_owned(),
            kernel: kernel.to_owned(),
            duration: Duration::from_millis(millis),
            op,
            work,
            bytes,
        }
    }

    /// Two runs of a convolution by a transform and a product, and of another product of half the size.
    fn profile() -> Profile {
        let run = |extra: u64| {
            vec![
                step("net/conv", "winograd_input/base", "winograd_input", 10 + extra, Work::MOVES, 8_000_000),
                step("net/conv", "matmul/wide", "matmul", 30 + extra, Work::products(200_000_000), 4_000_000),
                step("net/fc", "matmul/wide", "matmul", 20 + extra, Work::products(100_000_000), 2_000_000),
            ]
        };
        let layer = |name: &str, kind: &str, multiply_adds| Named {
            name: name.to_owned(),
            kind: kind.to_owned(),
            multiply_adds,
        };
        let layers = vec![layer("conv", "conv2d relu", 800_000_000), layer("fc", "linear", 100_000_000)];
        let runs = Samples(vec![Duration::from_millis(70), Duration::from_millis(80)]);
        Profile::new("net", layers, &[run(0), run(2)], runs)
    }

    #[test]
    fn layers_count_as_papers_do_and_kernels_what_they_make() {
        let profile = profile();
        assert_eq!(profile.duration(), Duration::from_millis(63));
        let layers = profile.by_layer(None);
        let [conv, fc] = layers.as_slice() else { panic!("{layers:?}") };
        assert_eq!((conv.name.as_str(), conv.kind.as_str(), conv.dispatches), ("conv", "conv2d relu", 2));
        let kernels = [("winograd_input/base", 11), ("matmul/wide", 31)];
        assert_eq!(conv.kernels, kernels.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms))));
        assert_eq!((conv.multiply_adds, conv.work.multiply_adds), (800_000_000, 200_000_000));
        assert_eq!((conv.duration, fc.start), (Duration::from_millis(42), Duration::from_millis(42)));
        assert_eq!(fc.gflops(), super::super::rate(100_000_000, Duration::from_millis(21)));
        assert_eq!(conv.of_ceiling(), None);

        let kernels = profile.by_kernel(None);
        let [matmul, input] = kernels.as_slice() else { panic!("{kernels:?}") };
        assert_eq!((matmul.name.as_str(), matmul.dispatches), ("matmul/wide", 2));
        assert_eq!((matmul.multiply_adds, matmul.bytes), (300_000_000, 6_000_000));
        assert_eq!((input.kind.as_str(), input.gflops()), ("winograd_input", None));
        assert!(input.gigabytes().is_some_and(|rate| (rate - 0.008 / 0.011).abs() < 1e-9), "{input:?}");
        assert_eq!(profile.total(None).multiply_adds, 900_000_000);
    }

    #[test]
    fn the_nearer_ceiling_counts() {
        // A product of 200 million takes 20 ms at least, the transform's bytes 8 ms.
        let ceilings = Ceilings { gflops: 20.0, gigabytes: 1.0 };
        let rows = profile().by_layer(Some(&ceilings));
        let (share, bound) = rows[0].of_ceiling().expect("there should be a share");
        assert!((share - 28.0 / 42.0).abs() < 1e-9 && bound == Bound::Compute, "{share}");
        let rows = profile().by_kernel(Some(&ceilings));
        let (share, bound) = rows[1].of_ceiling().expect("there should be a share");
        assert!((share - 8.0 / 11.0).abs() < 1e-9 && bound == Bound::Memory, "{share}");
    }

    #[test]
    fn a_fused_layer_counts_where_its_kernel_is() {
        let layer = |name: &str, kind: &str, multiply_adds| Named {
            name: name.to_owned(),
            kind: kind.to_owned(),
            multiply_adds,
        };
        let layers = vec![
            layer("conv", "conv2d", 800),
            layer("relu", "relu", 0),
            layer("q", "linear", 50),
            layer("k", "linear", 50),
            layer("out", "linear", 70),
        ];
        let run = vec![
            step("net/relu", "matmul", "matmul", 1, Work::products(200), 1),
            step("net/q and k", "matmul", "matmul", 1, Work::products(100), 1),
            step("net/out", "matmul", "matmul", 1, Work::products(70), 1),
        ];
        let rows = Profile::new("net", layers, &[run], Samples::default()).by_layer(None);
        let rows: Vec<_> =
            rows.iter().map(|row| (row.name.as_str(), row.kind.as_str(), row.multiply_adds)).collect();
        assert_eq!(rows, [("relu", "conv2d relu", 800), ("q and k", "matmul", 100), ("out", "linear", 70)]);
    }

    #[test]
    fn nothing_is_a_profile_too() {
        let empty = Profile::new("net", vec![], &[], Samples::default());
        assert_eq!((empty.duration(), empty.by_layer(None), empty.total(None)), Default::default());
    }
}
