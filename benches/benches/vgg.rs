//! VGG-16 with seeded weights, beside another engine or beside matrix products in the same rounds.
//!
//! `cargo bench -p kiln-benches --bench vgg` compares its rate with that of products.
//!
//! `cargo bench -p kiln-benches --bench vgg -- --peer "cd DIR && python3 bench.py vk 2"` runs a program in alternation
//! with it, which measures the same network and prints its milliseconds as a list in brackets. Of each round the best
//! time of either counts, over as many runs; the ratio is the median over the rounds.
//!
//! Options: `--model NAME` (vgg16), `--batch N` (1), `--rounds N` (7).
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{Peer, Subject, alternate, median, open, product, table};
use kiln_gpu::Gpu;
use kiln_models::measure::{Bench, rate};
use kiln_models::network::Network;

type Failure = Box<dyn std::error::Error>;

struct Options {
    model: String,
    batch: usize,
    rounds: usize,
    peer: Option<Peer>,
}

impl Options {
    fn parse() -> Result<Options, Failure> {
        let mut options = Options { model: "vgg16".to_owned(), batch: 1, rounds: 7, peer: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} has no value"));
            match argument.as_str() {
                "--model" => options.model = value()?,
                "--batch" => options.batch = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--peer" => options.peer = Some(Peer::new(value()?)),
                "--bench" => {} // cargo's own
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        Ok(options)
    }
}

fn beside_products(gpu: &Gpu, mut bench: Bench, options: &Options) -> Result<(), Failure> {
    let flop = 2.0 * bench.multiply_adds() as f64;
    let mut subjects = [
        product(gpu, [512; 3])?,
        product(gpu, [1024; 3])?,
        Subject {
            name: format!("{}, batch {}", options.model, options.batch),
            flop,
            run: Box::new(move || {
                bench.run().expect("the network should run");
            }),
        },
    ];
    let rows = alternate(options.rounds, &mut subjects);
    println!("{}", table("f32, rates against the product of 512^3", &rows));
    Ok(())
}

fn beside_peer(mut bench: Bench, peer: &Peer, rounds: usize) -> Result<(), Failure> {
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let milliseconds = |bench: &mut Bench| -> Result<f64, Failure> { Ok(bench.run()?.as_secs_f64() * 1e3) };
    // To warm up: kernels are compiled, and the peer makes what it keeps between runs.
    milliseconds(&mut bench)?;
    let runs = peer.run()?.len();
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    println!("  round     Kiln, ms     peer, ms    ratio   (best of {runs} each)");
    for round in 1..=rounds {
        let own = (0..runs).map(|_| milliseconds(&mut bench)).collect::<Result<Vec<_>, _>>()?;
        let (own, other) = (best(&own), best(&peer.run()?));
        println!("  {round:>5} {own:>12.1} {other:>12.1} {:>8.2}", own / other);
        ours.push(own);
        theirs.push(other);
        ratios.push(own / other);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("  {:>5} {ours:>12.1} {theirs:>12.1} {:>8.2}   (medians)", "", median(ratios));
    let gflops = |ms: f64| {
        rate(bench.multiply_adds(), std::time::Duration::from_secs_f64(ms / 1e3)).unwrap_or_default()
    };
    println!("  GFLOP/s {:>10.2} {:>12.2}", gflops(ours), gflops(theirs));
    Ok(())
}

fn main() -> Result<(), Failure> {
    let options = Options::parse()?;
    let network = Network::by_name(&options.model)?;
    let gpu = open()?;
    let (profile, input) = (gpu.profile(), network.input());
    println!(
        "{}, batch {}, on {} ({}), {} alternating rounds\n",
        options.model, options.batch, profile.name, profile.driver, options.rounds
    );
    let bench = Bench::load(&gpu, &network, options.batch, &input, &*network.weights(None)?)?;
    match &options.peer {
        Some(peer) => beside_peer(bench, peer, options.rounds),
        None => beside_products(&gpu, bench, &options),
    }
}
