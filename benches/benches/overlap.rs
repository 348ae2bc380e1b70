//! What it gains to submit a run before the outputs of the one before it are fetched: `Session::submit` beside
//! `Session::run`, over runs that follow each other.
//!
//! `cargo bench -p kiln-benches --bench overlap`. Options: `--rounds N` (9).
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::cell::RefCell;

use kiln_benches::{Failure, Subject, alternate, open, table};
use kiln_engine::{Pending, Session, Tensor};
use kiln_models::measure::Bench;
use kiln_models::network::Network;

/// Runs of a sample.
const RUNS: usize = 20;

fn main() -> Result<(), Failure> {
    let mut rounds = 9;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().ok_or("--rounds has no value")?.parse::<usize>()?.max(1),
            "--bench" => {} // cargo's own
            _ => return Err(format!("unknown option {argument}").into()),
        }
    }
    let gpu = open()?;
    println!("{}", gpu.profile());
    for (name, batch) in [("lenet", 1), ("lenet", 64), ("all-MiniLM-L6-v2", 1)] {
        let network = Network::by_name(name)?;
        let input = network.input();
        let graph = network.graph(batch, &input)?;
        let weights = network.weights(None)?;
        let flop =
            2.0 * RUNS as f64 * Bench::load(&gpu, &network, batch, &input, &*weights)?.multiply_adds() as f64;
        let inputs = network.example(batch, &input)?;
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut session = Session::new(&gpu);
        let plan = session.load(&graph, &*weights)?;
        let session = RefCell::new(session);
        let one_by_one = || {
            for _ in 0..RUNS {
                session.borrow_mut().run(plan, &inputs).expect("the network should run");
            }
        };
        let overlapped = || {
            let mut under_way: Option<Pending> = None;
            for _ in 0..RUNS {
                let next = session.borrow_mut().submit(plan, &inputs).expect("the network should run");
                if let Some(before) = under_way.replace(next) {
                    before.wait().expect("the outputs should arrive");
                }
            }
            if let Some(last) = under_way {
                last.wait().expect("the outputs should arrive");
            }
        };
        let rows = alternate(
            rounds,
            &mut [
                Subject { name: "one by one".to_owned(), flop, run: Box::new(one_by_one) },
                Subject { name: "the next submitted first".to_owned(), flop, run: Box::new(overlapped) },
            ],
        );
        println!("{}", table(&format!("{name}, batch {batch}, {RUNS} runs"), &rows));
    }
    Ok(())
}
