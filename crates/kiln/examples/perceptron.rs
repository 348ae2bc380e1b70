//! Builds a small network by hand and runs it: exclusive or, as two layers of two neurons.
//!
//! `cargo run --example perceptron`

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;

use kiln::{AdapterChoice, DType, Gpu, GraphBuilder, Session, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    kiln::gpu::quiet_driver();

    // The graph names its weights; values come later, as they would from a file.
    let mut g = GraphBuilder::new("xor");
    let x = g.input("x", &[4, 2], DType::F32);
    let hidden = g.scope("hidden", |g| {
        let weight = g.constant("hidden.weight", &[2, 2]);
        let bias = g.constant("hidden.bias", &[2]);
        let sum = g.linear(x, weight, Some(bias))?;
        g.relu(sum)
    })?;
    let weight = g.constant("output.weight", &[1, 2]);
    let y = g.linear(hidden, weight, None)?;
    g.output("y", y);

    let weights = HashMap::from([
        ("hidden.weight".to_owned(), Tensor::f32([2, 2], vec![1.0, 1.0, 1.0, 1.0])?),
        ("hidden.bias".to_owned(), Tensor::f32([2], vec![0.0, -1.0])?),
        ("output.weight".to_owned(), Tensor::f32([1, 2], vec![1.0, -2.0])?),
    ]);

    let gpu = Gpu::open(&AdapterChoice::Strongest)?;
    let mut session = Session::new(&gpu);
    let plan = session.load(&g.finish(), &weights)?;
    let x = Tensor::f32([4, 2], vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    let outputs = session.run(plan, &[("x", &x)])?;

    println!("on {}", gpu.profile().name);
    for (pair, y) in x.as_f32()?.chunks(2).zip(outputs["y"].as_f32()?) {
        println!("{} xor {} = {y}", pair[0], pair[1]);
    }
    Ok(())
}
