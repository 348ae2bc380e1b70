//! Matrix products through the engine: in f32 against one invocation per output, alone and in the batches of Winograd
//! convolutions, and the few rows of a decoder or classifier with weights in f32 against f16.
//!
//! `cargo bench -p kiln-benches --bench matmul`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{alternate, batched, linear, naive, open, product, table};

const ROUNDS: usize = 9;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let gpu = open()?;
    println!("matmul on {} ({}), {ROUNDS} alternating rounds\n", gpu.profile().name, gpu.profile().driver);
    // Squares, MiniLM's on 1024 tokens, one of a training step, a row.
    for size in [
        [512; 3],
        [1024; 3],
        [1024, 384, 384],
        [1024, 384, 1536],
        [1024, 1536, 384],
        [100, 800, 500],
        [1, 1024, 1024],
    ] {
        let mut subjects = [naive(&gpu, size)?, product(&gpu, size)?];
        let [m, k, n] = size;
        println!("{}", table(&format!("[{m} x {k}] x [{k} x {n}]"), &alternate(ROUNDS, &mut subjects)));
    }
    // VGG-16's: 36 products a layer, by output channels, input channels and tiles.
    for size in [[64, 64, 3136], [128, 128, 784], [256, 256, 200], [512, 512, 56], [512, 512, 16]] {
        let mut subjects = [naive(&gpu, size)?, batched(&gpu, 36, size)?];
        let [m, k, n] = size;
        println!("{}", table(&format!("36 of [{m} x {k}] x [{k} x {n}]"), &alternate(ROUNDS, &mut subjects)));
    }
    for size in [
        [1, 512, 2048],
        [1, 512, 32_128],
        [4, 512, 2048],
        [4, 512, 32_128],
        [8, 512, 32_128],
        [1, 4096, 4096],
    ] {
        let mut subjects = [linear(&gpu, size, false)?, linear(&gpu, size, true)?];
        let [m, k, n] = size;
        let measured = alternate(ROUNDS, &mut subjects);
        println!("{}", table(&format!("linear [{m} x {k}] to {n}"), &measured));
        for (row, bytes) in measured.iter().zip([4, 2]) {
            let rate = (k * n * bytes) as f64 / row.median.as_secs_f64() / 1e9;
            println!("  {:<28} {rate:>10.2} GB/s of weights", row.name);
        }
        println!();
    }
    Ok(())
}
