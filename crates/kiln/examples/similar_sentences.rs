//! Ranks sentences by how near they are in meaning to the first one.
//!
//! `cargo run --release -p kiln --example similar_sentences -- "How tall is the tower?" "It is 300 m high." "I like tea."`
//!
//! The model is all-MiniLM-L6-v2, wherever `kiln models list` finds it.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use kiln::models::{ModelStore, SentenceEncoder, StoreConfig};
use kiln::{AdapterChoice, Gpu};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kiln::gpu::quiet_driver();
    let mut texts: Vec<String> = std::env::args().skip(1).collect();
    if texts.len() < 2 {
        texts = [
            "How does a network learn?",
            "Training adjusts the weights to make the loss smaller.",
            "The cat sleeps on the warm windowsill.",
            "Gradients tell each parameter which way to move.",
        ]
        .map(str::to_owned)
        .to_vec();
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let folder = ModelStore::new(StoreConfig::from_env()).path("all-MiniLM-L6-v2")?;
    let gpu = Gpu::open(&AdapterChoice::Strongest)?;
    let mut encoder = SentenceEncoder::load(&gpu, &folder)?;
    let embeddings = encoder.encode(&texts, &mut |_| {})?;

    // The embeddings have length 1, so their product is the cosine of the angle between them.
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut ranked: Vec<(f32, &str)> =
        embeddings[1..].iter().zip(&texts[1..]).map(|(e, text)| (cosine(&embeddings[0], e), *text)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{}", texts[0]);
    for (similarity, text) in ranked {
        println!("  {similarity:6.3}  {text}");
    }
    Ok(())
}
