//! Training steps: forward, loss, backward and update, with the upload of each batch, on random images.
//!
//! `cargo bench -p kiln-benches --bench train` measures `base`, `bn` and `sk` in turn.
//!
//! `cargo bench -p kiln-benches --bench train -- --arch base --peer "DIR/burn-train"` runs a program in alternation with
//! one of them, which measures the same: for each line that it reads it prints the milliseconds of a step, a sample each,
//! as a list in brackets (`benches/peers/burn_train`). Of each round the best sample of either counts, over as many; the
//! ratio is the median over the rounds.
//!
//! Options: `--arch NAME` (all three), `--batch N` (100), `--steps N` a sample (5), `--rounds N` (7).
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{ResidentPeer, Training, median, open};

type Failure = Box<dyn std::error::Error>;

struct Options {
    architectures: Vec<String>,
    batch: usize,
    steps: usize,
    rounds: usize,
    peer: Option<String>,
}

impl Options {
    fn parse() -> Result<Options, Failure> {
        let architectures = ["base", "bn", "sk"].map(str::to_owned).to_vec();
        let mut options = Options { architectures, batch: 100, steps: 5, rounds: 7, peer: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} has no value"));
            match argument.as_str() {
                "--arch" => options.architectures = vec![value()?],
                "--batch" => options.batch = value()?.parse::<usize>()?.max(1),
                "--steps" => options.steps = value()?.parse::<usize>()?.max(1),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--peer" => options.peer = Some(value()?),
                "--bench" => {} // cargo's own
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        if options.peer.is_some() {
            options.architectures.truncate(1);
        }
        Ok(options)
    }
}

fn alone(mut trainings: Vec<Training>, rounds: usize) -> Result<(), Failure> {
    let mut samples = vec![vec![]; trainings.len()];
    for training in &mut trainings {
        training.sample()?;
    }
    for _ in 0..rounds {
        for (training, samples) in trainings.iter_mut().zip(&mut samples) {
            samples.push(training.sample()?);
        }
    }
    println!("  {:<16} {:>12} {:>12}", "", "step, ms", "images/s");
    for (training, samples) in trainings.iter().zip(samples) {
        let step = median(samples);
        println!("  {:<16} {step:>12.1} {:>12.0}", training.name(), training.rate(step));
    }
    Ok(())
}

fn beside_peer(mut training: Training, command: &str, rounds: usize) -> Result<(), Failure> {
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let mut peer = ResidentPeer::start(command.to_owned())?;
    // To warm up: kernels are compiled, and tuned by who does that.
    training.sample()?;
    let runs = peer.run()?.len();
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    println!("  images/s: best of {runs} samples each");
    println!("  round         Kiln         peer    ratio");
    for round in 1..=rounds {
        let own = (0..runs).map(|_| training.sample()).collect::<Result<Vec<_>, _>>()?;
        let (own, other) = (training.rate(best(&own)), training.rate(best(&peer.run()?)));
        println!("  {round:>5} {own:>12.0} {other:>12.0} {:>8.2}", own / other);
        ours.push(own);
        theirs.push(other);
        ratios.push(own / other);
    }
    println!(
        "  {:>5} {:>12.0} {:>12.0} {:>8.2}   (medians)",
        "",
        median(ours),
        median(theirs),
        median(ratios)
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let options = Options::parse()?;
    let gpu = open()?;
    let profile = gpu.profile();
    println!(
        "training of {}, batch {}, SGD with momentum, on {} ({}), {} alternating rounds of {} steps\n",
        options.architectures.join(", "),
        options.batch,
        profile.name,
        profile.driver,
        options.rounds,
        options.steps
    );
    let trainings = options
        .architectures
        .iter()
        .map(|name| Training::new(&gpu, name, options.batch, options.steps))
        .collect::<Result<Vec<_>, _>>()?;
    match &options.peer {
        Some(peer) => {
            let training = trainings.into_iter().next().ok_or("an architecture")?;
            beside_peer(training, peer, options.rounds)
        }
        None => alone(trainings, options.rounds),
    }
}
