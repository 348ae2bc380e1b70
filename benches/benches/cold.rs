//! How long a network's first run takes once its weights are on the device, beside a run after that: with the driver's
//! own cache of compiled kernels and without it, each in a process of its own.
//!
//! `cargo bench -p kiln-benches --bench cold` prints the medians, and which kernels take how long to be compiled.
//!
//! Software drivers compile a kernel when it is first dispatched, most others when its pipeline is made, which is part of
//! loading. `MESA_SHADER_CACHE_DISABLE=true` is what turns off the cache of Mesa's drivers; with other drivers both rows
//! say the same.
//!
//! Options: `--model NAME` (vgg16), `--batch N` (1), `--rounds N` (3).
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_benches::{Failure, median, open};
use kiln_engine::{Session, Tensor};
use kiln_models::measure::Samples;
use kiln_models::network::Network;
use serde::{Deserialize, Serialize};

/// Runs after the first, whose median is a warm run.
const WARM: usize = 5;
/// Kernels that are listed.
const LISTED: usize = 12;

struct Options {
    model: String,
    batch: usize,
    rounds: usize,
    /// What a process of one measurement is told.
    part: Option<Part>,
}

/// What is measured in a process of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Runs,
    Kernels,
}

/// What comes back from there, in milliseconds.
#[derive(Serialize, Deserialize)]
struct Reading {
    adapter: String,
    load: f64,
    first: f64,
    warm: f64,
    /// Kernel, and how much longer its first dispatch took than one after that.
    kernels: Vec<(String, f64)>,
    /// What it took to make all pipelines one after the other, and then, on another device, side by side.
    pipelines: [f64; 2],
}

impl Options {
    fn parse() -> Result<Options, Failure> {
        let mut options = Options { model: "vgg16".to_owned(), batch: 1, rounds: 3, part: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} has no value"));
            match argument.as_str() {
                "--model" => options.model = value()?,
                "--batch" => options.batch = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--part" if value()? == "runs" => options.part = Some(Part::Runs),
                "--part" => options.part = Some(Part::Kernels),
                "--bench" => {} // cargo's own
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        Ok(options)
    }

    /// Measures in a process of its own, with Mesa's cache or without it.
    fn child(&self, part: Part, cached: bool) -> Result<Reading, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--model", &self.model, "--batch", &self.batch.to_string()]);
        command.args(["--part", if part == Part::Runs { "runs" } else { "kernels" }]);
        command.stderr(Stdio::inherit());
        if cached {
            command.env_remove("MESA_SHADER_CACHE_DISABLE");
        } else {
            command.env("MESA_SHADER_CACHE_DISABLE", "true");
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("a measurement ended with {}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn measure(&self, part: Part) -> Result<Reading, Failure> {
        let network = Network::by_name(&self.model)?;
        let input = network.input();
        let graph = network.graph(self.batch, &input)?;
        let (weights, inputs) = (network.weights(None)?, network.example(self.batch, &input)?);
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let gpu = open()?;
        let mut session = Session::new(&gpu);
        let (plan, load) = timed(|| session.load(&graph, &*weights))?;
        let mut reading = Reading {
            adapter: gpu.profile().name.clone(),
            load: milliseconds(load),
            first: 0.0,
            warm: 0.0,
            kernels: vec![],
            pipelines: [0.0; 2],
        };
        match part {
            Part::Runs => {
                let (_, first) = timed(|| session.run(plan, &inputs))?;
                let mut warm = Samples::default();
                for _ in 0..WARM {
                    warm.push(timed(|| session.run(plan, &inputs))?.1);
                }
                (reading.first, reading.warm) = (milliseconds(first), milliseconds(warm.median()));
            }
            Part::Kernels => {
                let mut kernels: HashMap<String, f64> = HashMap::new();
                for sign in [1.0, -1.0] {
                    for step in session.time(plan, &inputs)? {
                        *kernels.entry(step.kernel).or_default() += sign * milliseconds(step.duration);
                    }
                }
                reading.kernels = kernels.into_iter().collect();
                reading.kernels.sort_by(|one, other| other.1.total_cmp(&one.1));
                let steps = session.plan(plan).dispatches();
                let kernels: Vec<_> = steps.map(|step| (step.kernel, step.overrides.as_slice())).collect();
                let (serial, parallel) = (open()?, open()?);
                let one_by_one = || kernels.iter().try_for_each(|kernel| serial.compile(&[*kernel]));
                reading.pipelines =
                    [timed(one_by_one)?.1, timed(|| parallel.compile(&kernels))?.1].map(milliseconds);
            }
        }
        Ok(reading)
    }
}

fn timed<R, E: Into<Failure>>(work: impl FnOnce() -> Result<R, E>) -> Result<(R, Duration), Failure> {
    let started = Instant::now();
    let result = work().map_err(Into::into)?;
    Ok((result, started.elapsed()))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn main() -> Result<(), Failure> {
    let options = Options::parse()?;
    if let Some(part) = options.part {
        println!("{}", serde_json::to_string(&options.measure(part)?)?);
        return Ok(());
    }
    // Once before: then the driver's cache holds what it can.
    let before = options.child(Part::Runs, true)?;
    println!("{}, batch {}, on {}", options.model, options.batch, before.adapter);
    let mut rows: [Vec<Reading>; 2] = [vec![], vec![]];
    for _ in 0..options.rounds {
        rows[0].push(options.child(Part::Runs, false)?);
        rows[1].push(options.child(Part::Runs, true)?);
    }
    println!("{:<22} {:>10} {:>10} {:>10}", "medians, ms", "loading", "first run", "warm run");
    for (name, readings) in ["no cache", "driver's cache filled"].iter().zip(&rows) {
        let median = |of: fn(&Reading) -> f64| median(readings.iter().map(of).collect());
        let [load, first, warm] = [median(|r| r.load), median(|r| r.first), median(|r| r.warm)];
        println!("{name:<22} {load:>10.1} {first:>10.1} {warm:>10.1}");
    }
    let Reading { kernels, pipelines: [serial, parallel], .. } = options.child(Part::Kernels, false)?;
    println!("\npipelines made one after the other: {serial:.1} ms, side by side {parallel:.1} ms");
    println!("\nfirst dispatch less a later one, ms, without a cache; {} kernels in all", kernels.len());
    for (kernel, cost) in kernels.iter().take(LISTED) {
        println!("{cost:>8.1}  {kernel}");
    }
    let rest: f64 = kernels.iter().skip(LISTED).map(|(_, cost)| cost).sum();
    println!("{rest:>8.1}  all others");
    Ok(())
}
